"""Networks that may reach a class. Pure functions, shared by modules, filters and tests."""

from __future__ import annotations

import ipaddress

# The kinds of sources that a rule of a security group may have, each with what names one.
SOURCES = {"IpRanges": "CidrIp", "Ipv6Ranges": "CidrIpv6", "PrefixListIds": "PrefixListId", "UserIdGroupPairs": "GroupId"}

EVERYONE = ("0.0.0.0/0", "::/0")


def network_problems(cidrs: list[str], allow_everyone: bool) -> list[str]:
    """Say what is wrong with the networks a class is opened to: none at all, no IPv4 network, or the whole internet unasked."""
    if not cidrs:
        return ["no network may reach the class."]
    return [problem for cidr in cidrs if (problem := _problem(str(cidr), allow_everyone))]


def _problem(cidr: str, allow_everyone: bool) -> str | None:
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError as error:
        return f"{cidr} is no IPv4 network ({error})."
    if network.prefixlen == 0 and not allow_everyone:
        return f"{cidr} is the whole internet, which needs `classroom_allow_everyone: true` beside it."
    return None


def own_address(text: str) -> str:
    """Return the answer of a check-ip page as a /32 network; ValueError if it is not one IPv4 address."""
    return f"{ipaddress.IPv4Address(text.strip())}/32"


def own_problem(text: str, source: str) -> str:
    """Say that a check-ip page did not tell the organiser's own address, or nothing."""
    try:
        own_address(text)
    except ValueError:
        return (
            f"{source} did not answer with your own IPv4 address, so that SSH cannot be opened for you alone."
            " Check the network, or set classroom_access_address_source to a page that does."
        )
    return ""


def is_open_to(group: dict, ports: list[int], cidrs: list[str]) -> bool:
    """Tell whether a security group, as EC2 describes it, lets these IPv4 networks reach these TCP ports, and nothing else in.

    A rule with a description counts as another one: those that are made here have none.
    """
    rules = {
        (one["IpProtocol"], one.get("FromPort"), one.get("ToPort"), kind, source.get(name), source.get("Description"))
        for one in group.get("IpPermissions", [])
        for kind, name in SOURCES.items()
        for source in one.get(kind) or []
    }
    return rules == {("tcp", port, port, "IpRanges", cidr, None) for port in ports for cidr in cidrs}


def open_to_everyone(group: dict) -> dict[tuple, str]:
    """Return the rules of a security group, as EC2 describes it, that let the whole internet in, each with its words."""
    rules = [
        (rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort"), source[name])
        for rule in group.get("IpPermissions", [])
        for kind, name in (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6"))
        for source in rule.get(kind) or []
        if source[name] in EVERYONE
    ]
    return {rule: f"{_ports(*rule[:3])} to {rule[3]}" for rule in rules}


def _ports(protocol: str, first: int | None, last: int | None) -> str:
    if first is None or protocol == "-1":
        return "every port"
    return f"{protocol} port {first}" if first == last else f"{protocol} ports {first} to {last}"


def closed(groups: list[dict], asked: dict) -> list[str]:
    """Say which rules let everybody in until a security group was asked for others, as the arguments `asked` of its module say."""
    rules = asked.get("rules") or []  # one that is to be gone has none
    kept = {("tcp", int(port), int(port), cidr) for rule in rules for port in rule["ports"] for cidr in rule["cidr_ip"]}
    own = [group for group in groups if rules and group["GroupName"] == asked["name"] and asked.get("purge_rules", True)]
    return [
        f"The class was open to the whole internet, {words} in {group['GroupId']}: closed."
        for group in own
        for rule, words in open_to_everyone(group).items()
        if rule not in kept
    ]


def as_wanted(group: dict, wanted: dict) -> bool:
    """Tell whether a security group is what is wanted: name, description, vpc_id, ports, cidrs, and tags beside others that it may have."""
    named = (group["GroupName"], group["Description"], group.get("VpcId"))
    tags = {tag["Key"]: tag["Value"] for tag in group.get("Tags", [])}
    return (
        named == (wanted["name"], wanted["description"], wanted["vpc_id"])
        and all(tags.get(key) == value for key, value in wanted["tags"].items())
        and is_open_to(group, [int(port) for port in wanted["ports"]], wanted["cidrs"])
    )
