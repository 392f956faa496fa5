"""Security groups as nftables text, case by case."""

import pytest

from rehearsal.hosts.firewall import Rule, host_table, machine_table

CIDR = "172.31.0.0/16"
API = "172.31.0.1:5555"
ANY = ("0.0.0.0/0",)

RULES = [
    (Rule("tcp", 22, 22, ("198.19.0.1/32",)), "ip saddr { 198.19.0.1/32 } tcp dport 22-22 accept"),
    (Rule("tcp", 8000, 8100, ("10.0.0.0/8", "192.0.2.7")), "ip saddr { 10.0.0.0/8, 192.0.2.7/32 } tcp dport 8000-8100 accept"),
    (Rule("udp", 53, None, ANY), "meta nfproto ipv4 udp dport 53-53 accept"),
    (Rule("tcp", None, None, ANY), "meta nfproto ipv4 meta l4proto tcp accept"),
    (Rule("tcp", 0, 65535, ANY), "meta nfproto ipv4 tcp dport 0-65535 accept"),
    (Rule("-1", None, None, ("172.31.0.4/32", "172.31.0.5/32")), "ip saddr { 172.31.0.4/31 } accept"),
    (Rule("-1", -1, -1, ANY), "meta nfproto ipv4 accept"),
    (Rule("icmp", -1, -1, ANY), "meta nfproto ipv4 meta l4proto icmp accept"),
    (Rule("icmp", 8, -1, ANY), "meta nfproto ipv4 icmp type 8 accept"),
    (Rule("icmp", 3, 4, ANY), "meta nfproto ipv4 icmp type 3 icmp code 4 accept"),
    (Rule("6", 22, 22, ANY), "meta nfproto ipv4 tcp dport 22-22 accept"),
    (Rule("50", None, None, ANY), "meta nfproto ipv4 meta l4proto 50 accept"),
    # A network inside another, and host bits that EC2 would have cut off: nft refuses both as they are.
    (Rule("tcp", 22, 22, ("10.0.0.0/8", "10.1.2.3/32")), "ip saddr { 10.0.0.0/8 } tcp dport 22-22 accept"),
    (Rule("tcp", 22, 22, ("10.1.2.3/8",)), "ip saddr { 10.0.0.0/8 } tcp dport 22-22 accept"),
]


def accepted(rules: tuple[Rule, ...]) -> list[str]:
    """Return what a host lets in beyond loopback and answers."""
    lines = [line.strip() for line in host_table(CIDR, API, "172.31.0.4", None, rules).splitlines()]
    return [line for line in lines if line.endswith("accept") and not line.startswith(("iif ", "ct state"))]


@pytest.mark.parametrize(("rule", "line"), RULES)
def test_a_rule_is_one_line(rule: Rule, line: str) -> None:
    assert accepted((rule,)) == [line]


@pytest.mark.parametrize("rules", [(), (Rule("tcp", 22, 22, ()),)])
def test_nobody_is_let_in_without_a_source(rules: tuple[Rule, ...]) -> None:
    assert accepted(rules) == []
    assert "policy drop;" in host_table(CIDR, API, "172.31.0.4", None, rules)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule("esp", None, None, ANY), "not 'esp'"),
        (Rule("256", None, None, ANY), "not '256'"),
        (Rule("tcp", 22, 22, ("0.0.0.0/0 } accept; #",)), "not a valid netmask"),
        (Rule("tcp", 22, 22, ("::/0",)), "4 octets"),
    ],
)
def test_what_cannot_be_expressed_is_refused(rule: Rule, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        accepted((rule,))


def test_public_address_is_translated_both_ways() -> None:
    text = host_table(CIDR, API, "172.31.0.4", "198.18.0.7", ())
    assert text.count("ip daddr 198.18.0.7 dnat ip to 172.31.0.4") == 2
    assert f'oifname "eth0" ip daddr != {CIDR} snat ip to 198.18.0.7' in text
    assert "172.31.0.4" not in host_table(CIDR, API, "172.31.0.4", None, ())


@pytest.mark.parametrize("public_ip", [None, "198.18.0.7"])
def test_instance_metadata_is_at_its_usual_address(public_ip: str | None) -> None:
    assert f"ip daddr 169.254.169.254 tcp dport 80 dnat ip to {API}" in host_table(CIDR, API, "172.31.0.4", public_ip, ())


@pytest.mark.parametrize("text", [host_table(CIDR, API, "172.31.0.4", "198.18.0.7", ()), machine_table(CIDR, "172.31.0.1", "rehearsal0")])
def test_a_table_replaces_the_older_one_in_one_transaction(text: str) -> None:
    name = text.split()[1:3]
    assert text.splitlines()[:2] == [f"table {' '.join(name)} {{}}", f"delete table {' '.join(name)}"]
