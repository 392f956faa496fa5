"""What the doctor reads out of routes and of a foreign firewall."""

import pytest

from rehearsal.doctor import clashing, dropping

OWN = [
    {"dst": "172.31.0.0/16", "dev": "rehearsal0"},
    {"dst": "198.18.0.7", "dev": "rehearsal0", "gateway": "172.31.0.4"},
    {"dst": "198.19.0.1", "dev": "lo", "type": "local"},
    {"dst": "198.18.0.0/15", "type": "unreachable"},
    {"dst": "default", "dev": "wlan0"},
]


@pytest.mark.parametrize(
    ("foreign", "wanted", "found"),
    [
        ([], "172.31.0.0/16", []),
        ([], "198.18.0.0/15", []),
        ([{"dst": "172.31.16.0/20", "dev": "docker0"}], "172.31.0.0/16", ["172.31.16.0/20 on docker0"]),
        ([{"dst": "172.16.0.0/12", "dev": "tun0"}], "172.31.0.0/16", ["172.16.0.0/12 on tun0"]),
        ([{"dst": "172.17.0.0/16", "dev": "docker0"}], "172.31.0.0/16", []),
        ([{"dst": "198.18.0.0/30", "dev": "tun0"}], "198.18.0.0/15", ["198.18.0.0/30 on tun0"]),
    ],
)
def test_foreign_routes_clash_and_own_ones_do_not(foreign: list[dict], wanted: str, found: list[str]) -> None:
    assert clashing(OWN + foreign, wanted, "rehearsal0") == found


FORWARD = {"chain": {"table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}}
LETS_US = {"rule": {"table": "filter", "chain": "DOCKER-USER", "expr": [{"match": {"right": "rehearsal0"}}]}}
OURS = {"rule": {"table": "rehearsal", "chain": "forward", "expr": [{"match": {"right": "rehearsal0"}}]}}


@pytest.mark.parametrize(
    ("ruleset", "found"),
    [
        ([], []),
        ([{"chain": {"table": "filter", "name": "FORWARD", "hook": "forward", "policy": "accept"}}], []),
        ([{"chain": {"table": "filter", "name": "INPUT", "hook": "input", "policy": "drop"}}], []),
        ([FORWARD], ["filter FORWARD"]),
        ([FORWARD, OURS], ["filter FORWARD"]),
        ([FORWARD, LETS_US], []),
    ],
)
def test_a_dropping_forward_chain_is_named_until_it_lets_the_bridge_pass(ruleset: list[dict], found: list[str]) -> None:
    assert dropping(ruleset, "rehearsal0") == found
