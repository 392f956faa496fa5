"""What a class cost: which runs of its machines are known, from looks that EC2 answers with less and less."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.cost import costs, ledger, prices

DAY = "2026-12-04T"
SIZES = {"vol-1": 100}


def at(hour: str) -> datetime:
    return datetime.strptime(f"2026-12-04 {hour}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


def moment(hour: str) -> str:
    return f"{DAY}{hour}:00Z"


def machine(state: str, started: str = "08:00", reason: str = "", born: str = "08:00", ends: str = "18:00", **more) -> dict:
    """Return a machine as DescribeInstances tells it."""
    named = {"classroom:name": "physics", "classroom:seat": "s01", "classroom:ends": moment(ends) if ":" in ends else ends}
    disks = [{"Ebs": {"VolumeId": "vol-1", "AttachTime": at(born)}}] if state not in ledger.GONE else []
    return {
        "InstanceId": "i-1",
        "InstanceType": "g4dn.xlarge",
        "Placement": {"AvailabilityZone": "us-west-2a"},
        "State": {"Name": state},
        "LaunchTime": at(started),
        "StateTransitionReason": f"User initiated (2026-12-04 {reason}:00 GMT)" if reason else "",
        "BlockDeviceMappings": disks,
        "Tags": [{"Key": key, "Value": value} for key, value in named.items()],
    } | more


def looks(*seen: tuple[str, dict | None]) -> list[ledger.Run]:
    """Return the ledger after looks, each at an hour."""
    runs: list[ledger.Run] = []
    for hour, found in seen:
        runs = ledger.merged(runs, [found] if found else [], SIZES, moment(hour))
    return runs


def told(runs: list[ledger.Run]) -> list[tuple[str, str, str, bool]]:
    return [(run.started[11:16], run.stopped[11:16], run.ended[11:16], run.estimated) for run in runs]


NEXT = machine("running", started="14:00")
CASES = {
    "it runs": ([("09:00", machine("running"))], [("08:00", "", "", False)]),
    "it is about to": ([("09:00", machine("pending"))], [("08:00", "", "", False)]),
    "it was stopped": ([("09:00", machine("running")), ("13:00", machine("stopped", reason="12:00"))], [("08:00", "12:00", "", False)]),
    "it was stopped before the first look": ([("13:00", machine("stopped", reason="12:00"))], [("08:00", "12:00", "", False)]),
    "it stopped itself, at its end": ([("09:00", machine("running")), ("20:00", machine("stopped"))], [("08:00", "18:00", "", True)]),
    "it stopped itself, before its end": ([("09:00", machine("running")), ("17:00", machine("stopped"))], [("08:00", "17:00", "", True)]),
    "it stopped itself, without an end": (
        [("09:00", machine("running", ends="never")), ("20:00", machine("stopped", ends="never"))],
        [("08:00", "20:00", "", True)],
    ),
    "a later look guesses no later": ([("17:00", machine("stopped")), ("17:30", machine("stopped"))], [("08:00", "17:00", "", True)]),
    "it was started again": (
        [("09:00", machine("running")), ("13:00", machine("stopped", reason="12:00")), ("15:00", NEXT)],
        [("08:00", "12:00", "", False), ("14:00", "", "", False)],
    ),
    "it was stopped and started between two looks": (
        [("09:00", machine("running")), ("15:00", NEXT)],
        [("08:00", "14:00", "", True), ("14:00", "", "", False)],
    ),
    "it was ended": (
        [("09:00", machine("running")), ("17:00", machine("terminated", reason="16:00"))],
        [("08:00", "16:00", "16:00", False)],
    ),
    "it was stopped, then ended": (
        [("13:00", machine("stopped", reason="12:00")), ("17:00", machine("terminated", reason="16:00"))],
        [("08:00", "12:00", "16:00", False)],
    ),
    "it stopped itself at its end, then was ended": (
        [("09:00", machine("running")), ("21:00", machine("terminated", reason="20:00"))],
        [("08:00", "18:00", "20:00", True)],
    ),
    "it ended unseen": ([("09:00", machine("running")), ("17:00", None)], [("08:00", "17:00", "17:00", True)]),
    "it ended unseen, days ago": ([("09:00", machine("running")), ("23:00", None)], [("08:00", "18:00", "23:00", True)]),
    "it was ended, and is forgotten": (
        [("09:00", machine("running")), ("16:30", machine("terminated", reason="16:00")), ("20:00", None)],
        [("08:00", "16:00", "16:00", False)],
    ),
    "a list left it out for a moment": (
        [("09:00", machine("running")), ("09:01", None), ("09:02", machine("running"))],
        [("08:00", "", "", False)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_known_after_looks(case: str) -> None:
    seen, expected = CASES[case]
    runs = looks(*seen)
    assert told(runs) == expected
    # A look that tells the same changes nothing, and what was written is what is read.
    assert ledger.same(runs, looks(*seen, seen[-1])) and [ledger.Run(**run._asdict()) for run in runs] == runs


def test_a_disk_costs_from_its_making_to_its_end_and_the_rest_while_it_runs() -> None:
    runs = looks(
        ("09:00", machine("running")),
        ("13:00", machine("stopped", reason="12:00")),
        ("15:00", NEXT),
        ("19:00", machine("terminated", started="14:00", reason="16:00")),
    )
    cost = costs.cost(runs, moment("23:00"))
    assert cost.hours == 6 and cost.machine == pytest.approx(6 * 0.526) and cost.address == pytest.approx(6 * 0.005)
    assert cost.disk == pytest.approx(8 * prices.disk(100)) and cost.notes == []
    assert costs.cost(looks(("09:00", machine("running"))), moment("10:00")).hours == 2


def test_runs_before_the_first_look_are_not_counted_and_said_so() -> None:
    runs = looks(("15:00", NEXT))
    assert costs.cost(runs, moment("16:00")).disk == pytest.approx(8 * prices.disk(100))
    assert costs.notes(runs) == [f"s01: i-1 ran before {moment('14:00')}, unseen from here"]


def test_a_disk_that_grew_costs_more_from_then_on() -> None:
    runs = ledger.merged(looks(("09:00", machine("running"))), [machine("stopped", reason="12:00")], SIZES, moment("12:00"))
    runs = ledger.merged(runs, [NEXT], {"vol-1": 200}, moment("15:00"))
    assert [run.disk_gib for run in runs] == [100, 200]
    assert costs.cost(runs, moment("16:00")).disk == pytest.approx(6 * prices.disk(100) + 2 * prices.disk(200))


def test_the_bill_has_a_line_a_seat_and_says_what_it_is() -> None:
    unknown = machine("terminated", reason="12:00", InstanceId="i-2", InstanceType="p9.large") | {
        "Tags": [{"Key": "classroom:name", "Value": "physics"}, {"Key": "classroom:seat", "Value": "s02"}]
    }
    runs = ledger.merged(looks(("09:00", machine("running"))), [machine("terminated", reason="16:00"), unknown], {}, moment("17:00"))
    first, second = costs.bill(runs, moment("17:00"))
    assert first == {
        **{
            "seat": "s01",
            "machines": "i-1",
            "types": "g4dn.xlarge",
            "from": moment("08:00"),
            "to": moment("16:00"),
            "machine_hours": "8.00",
        },
        **{"machine_usd": "4.21", "address_usd": "0.04", "disk_usd": "0.09", "total_usd": "4.34", "estimate": "list prices"},
    }
    assert second["estimate"] == "list prices; without the hours of p9.large, whose price is not known here"
    assert costs.sheet([first, second]).splitlines()[1].startswith("s01,i-1,g4dn.xlarge,2026-12-04T08:00:00Z,")
    assert costs.shown([first]) == [
        "seat  types        machine_hours  machine_usd  address_usd  disk_usd  total_usd",
        "s01   g4dn.xlarge  8.00           4.21         0.04         0.09      4.34",
    ]
