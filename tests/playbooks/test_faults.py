"""A class's life while EC2 fails, end to end without hosts: real runs of provision, stop, start and teardown, row by row.

Each row checks message, exit status and what exists afterwards, and that the next run, with the fault gone, completes. After every run no
machine is without a seat, no seat has two, and another class's s01, key, group and disk are as they were (organiser.Organiser.hold).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.support.organiser import CLASSROOM, Organiser, organised

pytestmark = pytest.mark.slow  # some sixty playbook runs
BOTH = {"s01", "s02"}
PROVISION = "playbooks/provision.yml"
TEARDOWN = ("playbooks/teardown.yml", "-e", "confirm=true")


@pytest.fixture(scope="module")
def _somebody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Organiser]:
    with organised(tmp_path_factory.mktemp("cloud")) as somebody:
        yield somebody


@pytest.fixture
def organiser(_somebody: Organiser) -> Organiser:
    """The class before its first run, in an account without limits."""
    _somebody.begin()
    return _somebody


def complete(organiser: Organiser, had: dict[str, str]) -> None:
    """Have room for all: the next run makes the class whole, keeps the seats that there are, and the one after finds nothing to do."""
    organiser.control("Capacity", clear=True)
    status, said = organiser.run(PROVISION)
    assert status == 0, said
    assert set(organiser.seats()) == BOTH and had.items() <= organiser.seats().items()
    status, said = organiser.run(PROVISION)
    assert status == 0 and "changed=0" in said, said


def end(organiser: Organiser) -> None:
    """End the class: nothing of it is left, in the account or on this machine, but what is kept of its cost."""
    status, said = organiser.run(*TEARDOWN)
    assert status == 0, said
    assert organiser.is_gone() and not (organiser.folder / "id_ed25519").exists()


class Refused(NamedTuple):
    """A run that fails, and what it says. stands: does the class exist before?"""

    command: tuple[str, ...]
    says: str
    environment: dict[str, str] = {}
    faults: tuple[dict, ...] = ()
    stands: bool = True


NOBODY = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
EXPIRED = {"AWS_ACCESS_KEY_ID": "AKIAREHEARSALEXPIRED"}
DENIED = {"code": "Denied", "count": None}
REFUSED = {
    "no credentials": Refused((PROVISION,), "There are no AWS credentials. Type ", NOBODY, stands=False),
    "no credentials to stop with": Refused(("playbooks/stop.yml",), "There are no AWS credentials. Type ", NOBODY),
    "expired": Refused((PROVISION,), "The AWS credentials have expired", EXPIRED, stands=False),
    "expired at the end": Refused(TEARDOWN, "The AWS credentials have expired", EXPIRED),
    "launch denied": Refused(
        (PROVISION,), "may not call RunInstances: allow it in IAM.", faults=({"action": "RunInstances"} | DENIED,), stands=False
    ),
    "reads denied": Refused((PROVISION,), "may not call DescribeInstances", faults=({"action": "DescribeInstances"} | DENIED,)),
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_cannot_be_done_is_said_and_harms_nothing(organiser: Organiser, row: str) -> None:
    command, says, environment, faults, stands = REFUSED[row]
    if stands:
        assert organiser.run(PROVISION)[0] == 0
    before = organiser.seats()
    for fault in faults:
        organiser.control("AddFault", **fault)
    status, said = organiser.run(*command, **environment)
    assert status == 2 and says in said and "Traceback" not in said, said
    assert organiser.seats() == before
    complete(organiser, before)


def test_a_class_without_room_waits_for_none_and_is_filled_later(organiser: Organiser) -> None:
    organiser.control("Capacity", types="*", zones="*", room=0)
    status, said = organiser.run(PROVISION)
    assert status == 2 and "Not launched: s01, s02. AWS has no t3.large free in us-west-2a, us-west-2b" in said
    assert organiser.seats() == {}
    complete(organiser, {})
    end(organiser)


@pytest.mark.parametrize("code", ["Throttled", "InternalError", "Unavailable"])
def test_a_cloud_that_fails_once_at_everything_is_asked_again(organiser: Organiser, code: str) -> None:
    organiser.control("Calls", clear=True)
    life = [(PROVISION,), ("playbooks/stop.yml",), (PROVISION,), TEARDOWN]
    assert [organiser.run(*command)[0] for command in life] == [0] * 4
    actions = [action for action in organiser.control("Calls") if action.startswith("ec2:")]
    assert {"ec2:RunInstances", "ec2:StopInstances", "ec2:StartInstances", "ec2:TerminateInstances"} <= set(actions)
    for command in life:
        for action in actions:
            organiser.control("AddFault", action=action, code=code, count=1)
        status, said = organiser.run(*command)
        assert status == 0, said
    assert organiser.seats() == {}


def test_a_launch_whose_answers_are_lost_is_taken_up(organiser: Organiser) -> None:
    organiser.control("AddFault", action="RunInstances", lost_reply=True, count=3)
    status, said = organiser.run(PROVISION)
    assert status == 0 and set(organiser.seats()) == BOTH, said
    complete(organiser, organiser.seats())


@pytest.mark.parametrize("action", ["CreateSecurityGroup", "RunInstances", "ImportKeyPair"])
def test_a_run_that_is_killed_leaves_a_class_that_the_next_completes_or_ends(organiser: Organiser, action: str) -> None:
    for finish in (lambda: complete(organiser, organiser.seats()), lambda: end(organiser)):
        organiser.kill(f"ec2:{action}", PROVISION)
        finish()
        end(organiser)


def test_a_seat_that_somebody_ended_comes_again_the_same_day_and_one_that_a_student_stopped_is_started(organiser: Organiser) -> None:
    assert organiser.run(PROVISION)[0] == 0
    before = organiser.seats()
    organiser.ec2.terminate_instances(InstanceIds=[before["s01"]])
    organiser.ec2.stop_instances(InstanceIds=[before["s02"]])
    status, said = organiser.run(PROVISION)
    assert status == 0 and "s01: to be launched" in said and "s02: stopped" in said
    assert organiser.seats()["s01"] != before["s01"] and organiser.seats()["s02"] == before["s02"]
    complete(organiser, organiser.seats())


def test_a_key_that_somebody_deleted_is_put_back_and_reads_that_lag_launch_nothing_twice(organiser: Organiser) -> None:
    organiser.control("AddFault", action="DescribeInstances", stale=60.0, count=4, skip=2)
    assert organiser.run(PROVISION)[0] == 0
    before = organiser.seats()
    organiser.ec2.delete_key_pair(KeyName=f"classroom-{CLASSROOM}")
    status, said = organiser.run(PROVISION)
    assert status == 0 and len(organiser.of(CLASSROOM)["keys"]) == 1, said
    complete(organiser, before)


def test_a_class_grows_shrinks_and_is_written_down_anew_and_seats_stay_whose_they_were(organiser: Organiser) -> None:
    seats = [f"s{number:02}" for number in range(1, 13)]
    organiser.enrol(*seats[:10])
    assert organiser.run(PROVISION)[0] == 0
    ten = organiser.seats()
    organiser.enrol(*reversed(seats))
    status, said = organiser.run(PROVISION)
    assert status == 0 and "s11: to be launched" in said and "s10: to be launched" not in said
    twelve = organiser.seats()
    assert set(twelve) == set(seats) and ten.items() <= twelve.items()
    organiser.enrol(*sorted(seats, key=lambda seat: seat[::-1]), names={"s03": "Grace", "s07": "Ada Byron"})
    status, said = organiser.run(PROVISION)
    assert status == 0 and "changed=0" in said and organiser.seats() == twelve

    organiser.enrol(*seats[:9])
    status, said = organiser.run(PROVISION)
    assert status == 0 and organiser.seats() == twelve, "a run that makes a class ends nothing"
    leaving = "s10, s11, s12"
    assert f"{leaving}: no longer in the roster" in said and "playbooks/teardown.yml -e seats=s10,s11,s12" in said, said
    command = ("playbooks/teardown.yml", "-e", "seats=s10,s11,s12")
    status, said = organiser.run(*command)
    assert status == 2 and "Nothing was done." in said and organiser.seats() == twelve, said
    assert [line.split()[1] for line in said.splitlines() if line.startswith("    instance ")] == ["s10", "s11", "s12"]
    assert organiser.run(*command, "-e", "confirm=true")[0] == 0
    assert organiser.seats() == {seat: twelve[seat] for seat in seats[:9]}
    assert organiser.of(CLASSROOM)["keys"] and organiser.of(CLASSROOM)["groups"]
    assert organiser.run(PROVISION)[0] == 0  # ssh_config forgets them, too
    status, said = organiser.run(PROVISION)
    assert status == 0 and "changed=0" in said and "no longer in the roster" not in said
