"""The roster and the networks: what is accepted, what is refused."""

from __future__ import annotations

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import networks, roster

HEADER = "seat,name,email\n"


@pytest.mark.parametrize("seat", ["s01", "spare-a", "a", "a" * 31])
def test_seat_ids(seat: str) -> None:
    assert roster.seat_problem(seat) is None


@pytest.mark.parametrize("seat", ["", "S01", "1s", "s_1", "a" * 32, "s01\n", "s:1", "all", "localhost", "seats", "ungrouped", "ö"])
def test_no_seat_ids(seat: str) -> None:
    assert roster.seat_problem(seat)


@pytest.mark.parametrize(
    ("text", "seats", "problems"),
    [
        (HEADER + "s01,Ada,ada@example.org\ns02,,\n", ["s01", "s02"], []),
        (HEADER + "s02,Ada\n\ns01\n", ["s02", "s01"], []),
        ("seat, name, email\ns01, Ada, a@b\n", ["s01"], []),
        (HEADER, [], ["it has no seat."]),
        ("", [], ["its first line must be `seat,name,email`, and seat, name, email is missing there."]),
        ("seat;name;email\ns01;Ada;a@b\n", [], ["its first line must be `seat,name,email`, and seat, name, email is missing there."]),
        (HEADER + "s01,Ada,\ns01,Alan,\n", ["s01", "s01"], ["line 3: seat s01 is there twice."]),
    ],
)
def test_roster(text: str, seats: list[str], problems: list[str]) -> None:
    assert roster.read_roster(text) == (seats, problems)


def test_a_bad_seat_is_named_with_its_line() -> None:
    assert roster.read_roster(HEADER + "s01,,\nS2,,\n")[1][0].startswith("line 3: 'S2' is no seat id")


@pytest.mark.parametrize(("only", "seats"), [("", []), ("s01", ["s01"]), ("s01, s07,", ["s01", "s07"])])
def test_chosen(only: str, seats: list[str]) -> None:
    assert roster.chosen(only) == seats


@pytest.mark.parametrize(
    ("cidrs", "everyone", "wrong"),
    [
        (["192.0.2.0/24", "198.51.100.7/32"], False, 0),
        (["198.51.100.7"], False, 0),
        (["0.0.0.0/0"], True, 0),
        ([], True, 1),
        (["0.0.0.0/0"], False, 1),
        (["192.0.2.1/24", "campus", "::/0"], True, 3),
    ],
)
def test_networks(cidrs: list[str], everyone: bool, wrong: int) -> None:
    assert len(networks.network_problems(cidrs, everyone)) == wrong


def test_own_address() -> None:
    assert networks.own_address("192.0.2.7\n") == "192.0.2.7/32"


@pytest.mark.parametrize("answer", ["", "<html>", "192.0.2.7 192.0.2.8", "2001:db8::1", "0.0.0.0/0"])
def test_no_own_address(answer: str) -> None:
    with pytest.raises(ValueError):
        networks.own_address(answer)


def test_a_group_that_is_to_be_gone_was_not_closed() -> None:
    everybody = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": []}
    group = {"GroupName": "classroom-physics", "GroupId": "sg-1", "IpPermissions": [everybody]}
    assert networks.closed([group], {"name": "classroom-physics", "state": "absent"}) == []
