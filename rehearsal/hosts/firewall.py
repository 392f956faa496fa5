"""nftables rules as text: one table inside each host (its security groups and public address), one on the machine."""

import ipaddress
from dataclasses import dataclass

ORGANISER = "198.19.0.1"
STRANGER = "198.19.0.2"
INTERNET = "198.18.0.0/15"  # RFC 2544, for tests of networks: stands for the Internet
PUBLIC = "198.18.0.0/16"  # public addresses of hosts
METADATA = "169.254.169.254"  # EC2's address of instance metadata
EVERYWHERE = "0.0.0.0/0"
NUMBERS = {"1": "icmp", "6": "tcp", "17": "udp"}


@dataclass(frozen=True)
class Rule:
    """One permission of a security group, its groups already resolved to the addresses of their members.

    protocol: tcp, udp, icmp, a number or -1 (all). from_port, to_port: ports; for icmp type and code; None or -1 is any.
    sources: IPv4 networks or addresses.
    """

    protocol: str
    from_port: int | None
    to_port: int | None
    sources: tuple[str, ...]


def host_table(cidr: str, api: str, private_ip: str, public_ip: str | None, rules: tuple[Rule, ...]) -> str:
    """Return the whole firewall of one host, to be loaded in one transaction. api: address and port that answer for METADATA.

    As on EC2 the public address is not on the interface: it is translated here, in both directions, and a host that talks
    to the outside is seen by its public address. Raises ValueError for a rule that cannot be expressed.
    """
    chains = [
        *_translations(cidr, api, private_ip, public_ip),
        "chain input {",
        "  type filter hook input priority filter; policy drop;",
        '  iif "lo" accept',
        "  ct state established,related accept",
        *[f"  {line}" for rule in rules for line in _lines(rule)],
        "}",
    ]
    return _replace("inet ec2", chains)


def machine_table(cidr: str, gateway: str, bridge: str) -> str:
    """Return the machine's table: hosts reach the world by their public addresses, the world does not reach them."""
    return _replace(
        "inet rehearsal",
        [
            "chain postrouting {",
            "  type nat hook postrouting priority srcnat; policy accept;",
            f'  ip saddr {PUBLIC} oifname != {{ "lo", "{bridge}" }} masquerade',
            "}",
            "chain forward {",
            "  type filter hook forward priority filter; policy accept;",
            "  tcp flags syn tcp option maxseg size set rt mtu",  # the way out may be narrower than the bridge: a VPN, a tunnel
            "  ct state established,related accept",
            f'  iifname != "{bridge}" oifname "{bridge}" drop',
            f'  iifname "{bridge}" oifname != "{bridge}" ip saddr != {PUBLIC} drop comment "no public address, no Internet"',
            "}",
            "chain input {",
            "  type filter hook input priority filter; policy accept;",
            f'  iifname != {{ "lo", "{bridge}" }} ip daddr {{ {INTERNET}, {cidr} }} drop',
            "  ct state established,related accept",
            f'  iifname "{bridge}" ip saddr {cidr} ip daddr {gateway} accept',
            f'  iifname "{bridge}" ip saddr {PUBLIC} ip daddr {ORGANISER} accept',
            f'  iifname "{bridge}" ip saddr {PUBLIC} meta l4proto {{ tcp, udp }} th dport 53 accept',
            f'  iifname "{bridge}" drop',
            "}",
        ],
    )


def _translations(cidr: str, api: str, private_ip: str, public_ip: str | None) -> list[str]:
    """Return the chains that lead to the instance metadata and translate a public address, for others and for the host itself."""
    arriving = f"ip daddr {ipaddress.ip_address(public_ip)} dnat ip to {private_ip};" if public_ip else ""
    leaving = f'oifname "eth0" ip daddr != {cidr} snat ip to {public_ip};' if public_ip else ""
    metadata = f"ip daddr {METADATA} tcp dport 80 dnat ip to {api};"
    return [
        f"chain prerouting {{ type nat hook prerouting priority dstnat; policy accept; {arriving} }}",
        f"chain output {{ type nat hook output priority -100; policy accept; {metadata} {arriving} }}",
        f"chain postrouting {{ type nat hook postrouting priority srcnat; policy accept; {leaving} }}",
    ]


def _lines(rule: Rule) -> list[str]:
    """Return the statements of one rule: none if nobody is let in by it."""
    if not rule.sources:
        return []
    match = " ".join(part for part in (_source(rule.sources), _service(rule)) if part)
    return [f"{match} accept"]


def _source(sources: tuple[str, ...]) -> str:
    """Return the match of the sources; overlapping networks, which nft refuses in a set, are joined."""
    networks = ipaddress.collapse_addresses(ipaddress.IPv4Network(source, strict=False) for source in sources)
    names = [str(network) for network in networks]
    return "meta nfproto ipv4" if EVERYWHERE in names else f"ip saddr {{ {', '.join(names)} }}"


def _service(rule: Rule) -> str:
    """Return the match of protocol and ports."""
    low, high = (None if port in (None, -1) else int(port) for port in (rule.from_port, rule.to_port))
    protocol = NUMBERS.get(rule.protocol, rule.protocol)
    if protocol == "-1":
        return ""
    if protocol in ("tcp", "udp"):
        return f"meta l4proto {protocol}" if low is None else f"{protocol} dport {low}-{low if high is None else high}"
    if protocol == "icmp":
        kind = "meta l4proto icmp" if low is None else f"icmp type {low}"
        return kind if high is None else f"{kind} icmp code {high}"
    if protocol.isdecimal() and int(protocol) < 256:
        return f"meta l4proto {int(protocol)}"
    raise ValueError(f"a security group's protocol is tcp, udp, icmp, -1 or a number below 256, not {rule.protocol!r}")


def _replace(table: str, chains: list[str]) -> str:
    """Return a script that puts a table in place of an older one, if any, in one transaction."""
    body = "\n".join(f"  {line}" for line in chains)
    return f"table {table} {{}}\ndelete table {table}\ntable {table} {{\n{body}\n}}\n"
