"""Security groups as firewall rules: what reaches an instance, from which addresses."""

from __future__ import annotations

from collections import defaultdict
from ipaddress import IPv4Network
from typing import Any

from rehearsal.hosts.firewall import Rule

PROTOCOLS = ("tcp", "udp", "icmp", "-1")


def rules_of(instance: Any) -> tuple[Rule, ...]:
    """Resolve an instance's groups to rules; a source group becomes its members' private addresses.

    IPv6 ranges and prefix lists are left out: the rehearsal's hosts have IPv4 alone.
    """
    sources = defaultdict(set)
    for group in instance.security_groups:
        for rule in group.ingress_rules:
            if rule.ip_protocol in PROTOCOLS:
                sources[rule.ip_protocol, rule.from_port, rule.to_port].update(_sources(instance.ec2_backend, rule))
    return tuple(
        Rule(protocol, first, last, tuple(sorted(addresses)))
        for (protocol, first, last), addresses in sorted(sources.items(), key=str)
        if addresses
    )


def members(backend: Any, group_id: str) -> set[str]:
    """Return the private addresses of the network interfaces in a group, stopped instances' included, as EC2 does."""
    return {eni.private_ip_address for eni in list(backend.enis.values()) if any(group.id == group_id for group in eni.group_set)}


def _sources(backend: Any, rule: Any) -> set[str]:
    if rule.cidr_ipv4:
        return {str(IPv4Network(rule.cidr_ipv4, strict=False))}
    if rule.source_group:
        return {f"{address}/32" for address in members(backend, rule.source_group["GroupId"])}
    return set()
