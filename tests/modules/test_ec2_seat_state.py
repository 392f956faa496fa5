"""Start and stop of seats against the rehearsal's API alone: the module itself, while EC2 has nothing free, is slow, or fails.

After every row: the other class's s01 is as it was, byte for byte, and the next run, with the fault gone, completes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances
from ansible_collections.classroom.gpu.plugins.module_utils.cost import prices
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import client as ec2_client
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import launch, start_stop
from ansible_collections.classroom.gpu.plugins.modules import ec2_seat_state

from tests.support.simulated_hosts import SIZE, ZONES, Cloud, alone, next_second, running_module

SEATS = ["s01", "s02", "s03", "s04"]
A, B = ZONES[:2]


class Class:
    """A class of four, s01 to s03 in one zone and s04 in another, beside a class that has a seat s01, too."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud, self.control, self.ec2 = cloud, cloud.control, cloud.ec2
        self.ids = {seat: self.launch("physics", seat, B if seat == "s04" else A) for seat in SEATS}
        self.other = self.launch("other", "s01", A)
        self.before = cloud.see(self.other)
        self.options = {"classroom": "physics", "seats": SEATS, "state": "running", "timeout": 5}

    def launch(self, classroom: str, seat: str, zone: str) -> str:
        named = {"classroom:name": classroom, "classroom:seat": seat}
        labels = [{"Key": key, "Value": value} for key, value in named.items()]
        return self.cloud.in_zone(zone, TagSpecifications=[{"ResourceType": kind, "Tags": labels} for kind in ("instance", "volume")])[0]

    def states(self) -> dict[str, str]:
        """Return the state of each seat."""
        found = {one["InstanceId"]: one["State"]["Name"] for one in self.cloud.instances()}
        return {seat: found[name] for seat, name in self.ids.items()}

    def stopped(self, *seats: str) -> None:
        """Have seats rest, all without a name."""
        self.ec2.stop_instances(InstanceIds=[self.ids[seat] for seat in seats or SEATS])
        self.control("Calls", clear=True)

    def run(self, **options) -> dict:
        begin = time.monotonic()
        done = running_module(ec2_seat_state, {name: value for name, value in (self.options | options).items() if value is not None})
        self.seconds, self.calls = time.monotonic() - begin, self.control("Calls")
        assert self.cloud.see(self.other) == self.before
        return done

    def complete(self, wanted: str = "running") -> None:
        """Take every fault away: the next run completes."""
        self.control("Faults", clear=True)
        self.control("Capacity", clear=True)
        self.control("SetQuota", region="us-west-2", family="g", value=5000)
        self.control("Verification", pending=False)
        assert self.run(state=wanted)["missing"] == []
        assert set(self.states().values()) == {wanted}


@pytest.fixture
def physics(simulated: Cloud, monkeypatch: pytest.MonkeyPatch) -> Class:
    """The class, all seats running, in an account without limits; the module is in no hurry only where that is the point."""
    simulated.control("Reset")
    for name, value in simulated.environment.items():
        monkeypatch.setenv(name, value)
    for name, seconds in {"RATE": 50.0, "BACKOFF": 0.02, "POLL": 0.1, "PAUSE": 0.3}.items():
        monkeypatch.setattr(ec2_client, name, seconds)
    return Class(simulated)


def empty(zone: str, room: int = 0, **more) -> tuple[str, dict]:
    return "Capacity", {"types": SIZE, "zones": zone, "room": room} | more


# What is done to the cloud before the start of four that rest; options; reasons of the seats that stay; what the message has.
ROWS: dict[str, tuple[list[tuple[str, dict]], dict, dict[str, str] | int, str]] = {
    "no capacity in one zone": (
        [empty(B)],
        {},
        {"s04": "capacity"},
        f"Not started: s04. AWS has no {SIZE} free in {B}, where the disk is. Their files stay where they are. Run the same command again",
    ),
    "room for some of a zone": (
        [empty(A, 3)],  # of which the other class has one
        {},
        {"s03": "capacity"},
        "`ansible-playbook playbooks/resize.yml -e seats=s03 -e instance_type=...`",
    ),
    "no capacity anywhere": (
        [empty("*")],
        {},
        dict.fromkeys(SEATS, "capacity"),
        f"Not started: s01, s02, s03. AWS has no {SIZE} free in {A}",
    ),
    "capacity that appears later": ([empty("*"), empty("*", 9, after=1.0)], {"wait_minutes": 0.2}, {}, "Started: s01, s02, s03, s04."),
    "quota too small": (
        [("SetQuota", {"region": "us-west-2", "family": "g", "value": 12})],
        {},
        2,
        f"The account's vCPU quota allows no more {SIZE}. Ask AWS for a larger quota",
    ),
    "verification": (
        [("Verification", {"pending": True})],
        {},
        dict.fromkeys(SEATS, "verification"),
        "AWS is still validating the account",
    ),
    "throttling of all calls": ([("AddFault", {"action": "*", "code": "Throttled", "count": 5})], {}, {}, "Started"),
    "throttling without end": (
        [("AddFault", {"action": "StartInstances", "code": "Throttled", "count": None})],
        {},
        dict.fromkeys(SEATS, "other"),
        "Request limit exceeded.",
    ),
    "HTTP 500": ([("AddFault", {"action": "StartInstances", "code": "InternalError", "count": 3})], {}, {}, "Started"),
    "HTTP 503": ([("AddFault", {"action": "StartInstances", "code": "Unavailable", "count": 3})], {}, {}, "Started"),
    "every reply lost": ([("AddFault", {"action": "StartInstances", "lost_reply": True, "count": 2})], {}, {}, "Started"),
    "a reply lost while it boots": (
        [("AddFault", {"action": "StartInstances", "lost_reply": True}), ("AddFault", {"action": "Boot", "delay": 1.0, "count": 3})],
        {},
        {},
        "Started",
    ),
    "a start that comes to nothing": (
        [("AddFault", {"action": "Boot", "code": "Server.InternalError", "message": "Internal error on launch"})],
        {},
        1,
        "stopped while it started: Server.InternalError: Internal error on launch. Run the same command again.",
    ),
    "a start that comes to nothing for want of capacity": (
        [("AddFault", {"action": "Boot", "code": "Server.InsufficientInstanceCapacity", "message": "No room"})],
        {"wait_minutes": 0.2},
        {},
        "Started",
    ),
    "a machine that stays pending": (
        [("AddFault", {"action": "Boot", "delay": 4.0})],
        {"timeout": 1},
        1,
        "is pending, not running, after 1 s",
    ),
    "permission denied": (
        [("AddFault", {"action": "StartInstances", "code": "Denied", "count": None})],
        {},
        dict.fromkeys(SEATS, "other"),
        "These credentials may not call StartInstances: allow it in IAM.",
    ),
    "a code that nobody knows": ([("AddFault", {"action": "StartInstances", "code": "Odd", "count": 3})], {}, 1, "(Odd)"),
    "stale reads at first": ([("AddFault", {"action": "DescribeInstances", "stale": 60.0, "count": 1})], {}, {}, "Started"),
}


FAST = ("no capacity in one zone", "room for some of a zone", "every reply lost", "a start that comes to nothing")


def rows(table: dict, fast: tuple[str, ...]) -> list:
    """Return the names of a table's rows, most of them for `make test-all`."""
    return [pytest.param(row, marks=() if row in fast else pytest.mark.slow) for row in table]


@pytest.mark.parametrize("row", rows(ROWS, FAST))
def test_a_fault_at_a_start(physics: Class, row: str) -> None:
    faults, options, missing, words = ROWS[row]
    physics.stopped()
    for action, said in faults:
        physics.control(action, **said)
    done = physics.run(**options)
    met = {one["seat"]: one["reason"] for one in done["missing"]}
    assert (len(met) if isinstance(missing, int) else met) == missing, done
    assert words in done["msg"] and not done.get("failed")
    assert set(done["moved"]) | set(met) == set(SEATS)
    if "machine that stays" not in row:
        assert {seat for seat, one in physics.states().items() if one == "running"} == set(done["moved"])
    physics.complete()


@pytest.mark.slow
def test_an_empty_pool_is_said_at_once_whatever_the_size_of_the_class(physics: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the account's own rate, too."""
    monkeypatch.setattr(ec2_client, "RATE", 2.0)
    seats = SEATS + [f"t{number:02}" for number in range(20)]
    for name, seat in zip(physics.cloud.in_zone(A, 20, 20), seats[4:], strict=True):
        labels = [{"Key": "classroom:name", "Value": "physics"}, {"Key": "classroom:seat", "Value": seat}]
        physics.ec2.create_tags(Resources=[name], Tags=labels)
        physics.ids[seat] = name
    physics.stopped(*seats)
    physics.control("Capacity", types=SIZE, zones=A, room=4)
    physics.control("Throttle", on=True)
    done = physics.run(seats=seats)
    assert {one["reason"] for one in done["missing"]} == {"capacity"}
    assert len(done["moved"]) == 4 and "s04" in done["moved"]  # three beside the other class's, and s04 in its zone
    assert physics.calls["ec2:StartInstances"] <= 12
    assert physics.seconds < 20


def failing(physics: Class, **fault) -> None:
    physics.control("AddFault", **({"action": "StopInstances"} | fault))


STOPS: dict[str, tuple[Callable[[Class], object], int, str]] = {
    "throttling": (lambda physics: failing(physics, action="*", code="Throttled", count=5), 0, "Stopped"),
    "HTTP 500": (lambda physics: failing(physics, code="InternalError", count=3), 0, "Stopped"),
    "reply lost": (lambda physics: failing(physics, lost_reply=True, count=2), 0, "Stopped"),
    "a seat that its student stopped": (lambda physics: physics.stopped("s02"), 0, "Stopped: s01, s03, s04."),
    "a seat that was ended by hand": (
        lambda physics: physics.ec2.terminate_instances(InstanceIds=[physics.ids["s02"]]),
        0,
        "Stopped: s01, s03",
    ),
    "stale reads": (lambda physics: failing(physics, action="DescribeInstances", stale=60.0), 0, "Stopped: s01, s02, s03, s04."),
    "denied": (
        lambda physics: failing(physics, code="Denied", count=None),
        4,
        "Not stopped: s01, s02, s03, s04. These credentials may not",
    ),
}


@pytest.mark.parametrize("row", rows(STOPS, ("reply lost", "a seat that was ended by hand")))
def test_a_fault_at_a_stop(physics: Class, row: str) -> None:
    act, missing, words = STOPS[row]
    act(physics)
    done = physics.run(state="stopped")
    assert len(done["missing"]) == missing and done["msg"].startswith(words), done
    if "ended" in row:
        assert physics.states() == dict.fromkeys(SEATS, "stopped") | {"s02": "terminated"}
        physics.control("Faults", clear=True)
        assert physics.run(state="stopped")["changed"] is False
    else:
        physics.complete("stopped")


def test_a_machine_that_is_ended_while_the_others_start_keeps_none_of_them(physics: Class) -> None:
    """EC2 refuses a whole call for the sake of one machine that is in no state to be started."""
    physics.stopped()
    # The module has seen four that rest before the third of them ends: the fault delays its start until then.
    physics.control("AddFault", action="StartInstances", delay=1.0, count=1)
    with subprocess.Popen(alone(ec2_seat_state, physics.options), stdout=subprocess.PIPE, text=True) as going:
        while not physics.control("Calls").get("ec2:StartInstances"):
            time.sleep(0.02)
        physics.ec2.terminate_instances(InstanceIds=[physics.ids["s03"]])
        done = json.loads(going.communicate()[0])
    assert done["moved"] == ["s01", "s02", "s04"] and [one["seat"] for one in done["missing"]] == ["s03"]
    assert physics.ids["s03"] in done["msg"]
    assert physics.states() == dict.fromkeys(SEATS, "running") | {"s03": "terminated"}


@pytest.mark.parametrize(
    ("wanted", "action"), [("running", "StartInstances"), pytest.param("stopped", "StopInstances", marks=pytest.mark.slow)]
)
def test_a_run_that_is_killed_is_taken_up(physics: Class, wanted: str, action: str) -> None:
    if wanted == "running":
        physics.stopped()
    physics.control("AddFault", action=action, delay=0.3, count=None)
    command = alone(ec2_seat_state, physics.options | {"state": wanted})
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as killed:
        while not physics.control("Calls").get(f"ec2:{action}"):
            assert killed.poll() is None
            time.sleep(0.02)
        os.killpg(killed.pid, signal.SIGKILL)
    physics.complete(wanted)


@pytest.mark.slow
def test_a_machine_on_its_way_elsewhere_is_waited_for(physics: Class) -> None:
    physics.control("AddFault", action="Boot", delay=1.0)
    physics.ids["s05"] = physics.launch("physics", "s05", A)
    assert physics.states()["s05"] == "pending"
    assert physics.run(seats=["s05"], state="stopped")["moved"] == ["s05"] and physics.states()["s05"] == "stopped"


@pytest.mark.slow
def test_of_two_machines_for_one_seat_none_is_started_and_both_are_stopped(physics: Class) -> None:
    next_second()
    twin = physics.launch("physics", "s01", A)
    assert physics.run(seats=["s01"], state="stopped")["moved"] == ["s01"]
    assert {physics.cloud.see(one)["State"]["Name"] for one in (physics.ids["s01"], twin)} == {"stopped"}
    done = physics.run(seats=["s01", "s02"], state="running")
    assert [one["seat"] for one in done["missing"]] == ["s01"] and "Not started: s01. Seat s01 has two machines, " in done["msg"]
    assert {physics.cloud.see(one)["State"]["Name"] for one in (physics.ids["s01"], twin)} == {"stopped"}
    assert physics.states()["s02"] == "running"


def test_what_a_seat_is_to_have_is_brought_about_by_few_calls_and_once(physics: Class) -> None:
    group = physics.ec2.create_security_group(GroupName="classroom-physics", Description="x")["GroupId"]
    tags, options = {"classroom:stack": "minimal"}, {"HttpTokens": "required", "InstanceMetadataTags": "enabled"}
    wanted = {"tags": tags, "group_id": group, "metadata_options": options}
    physics.control("Calls", clear=True)
    assert physics.run(**wanted)["equipped"] == SEATS
    assert (physics.calls["ec2:CreateTags"], physics.calls["ec2:ModifyInstanceAttribute"]) == (1, 4)
    for name in physics.ids.values():
        seen = physics.cloud.see(name)
        assert instances.tags(seen).items() >= tags.items() and [one["GroupId"] for one in seen["SecurityGroups"]] == [group]
        assert seen["MetadataOptions"].items() >= options.items()
    physics.control("Calls", clear=True)
    assert physics.run(**wanted)["changed"] is False
    assert {name for name in physics.calls if "Describe" not in name and not name.startswith("rehearsal")} == set()
    physics.ec2.delete_tags(Resources=[physics.ids["s02"]], Tags=[{"Key": "classroom:stack"}])
    assert physics.run(**wanted)["equipped"] == ["s02"]


@pytest.mark.slow
def test_tags_alone_leave_a_machine_as_it_is(physics: Class) -> None:
    physics.stopped("s02")
    done = physics.run(state=None, tags={"classroom:ends": "never"})
    assert done["equipped"] == SEATS and done["moved"] == [] and physics.states()["s02"] == "stopped"


def test_check_mode_says_what_stopping_saves_and_changes_nothing(physics: Class) -> None:
    physics.stopped("s03")
    done = physics.run(state="stopped", _ansible_check_mode=True)
    assert done["moved"] == ["s01", "s02", "s04"] and done["changed"]
    assert done["plan"][0] == (f"Stopping s01, s02, s04 saves $1.59 an hour (3 {SIZE} at $0.526, 3 public addresses at $0.005).")
    gib = 3 * physics.ec2.describe_volumes()["Volumes"][0]["Size"]
    assert done["plan"][1].startswith(f"Their disks, {gib} GiB, go on to cost ${gib * 0.08:.2f} a month")
    assert not {"ec2:StopInstances", "ec2:CreateTags"} & set(physics.calls)
    assert physics.run(state="running", _ansible_check_mode=True)["moved"] == ["s03"] and physics.states()["s03"] == "stopped"
    physics.stopped()
    assert physics.run(state="stopped", _ansible_check_mode=True)["plan"] == []


@pytest.mark.slow
def test_five_hundred_seats(physics: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop, start and nothing to do: less than one call in ten seats each."""
    monkeypatch.setattr(ec2_client, "RATE", 2.0)
    monkeypatch.setattr(ec2_client, "POLL", 5.0)
    labels = [{"Key": "classroom:name", "Value": "physics"}]
    for begin in range(0, 500, 100):
        ids = physics.cloud.in_zone(ZONES[begin // 100 % 3], 100, 100)
        for number, name in enumerate(ids, begin):
            physics.ec2.create_tags(Resources=[name], Tags=[*labels, {"Key": "classroom:seat", "Value": f"t{number:03}"}])
    seats = [f"t{number:03}" for number in range(500)]
    physics.control("Throttle", on=True)
    for wanted in ("stopped", "running", "running"):
        physics.control("Calls", clear=True)
        done = physics.run(seats=seats, state=wanted, timeout=300, tags={"classroom:stack": "minimal"})
        counted = {name: count for name, count in physics.calls.items() if name.startswith("ec2:")}
        print(f"500 seats {wanted}: {physics.seconds:.1f} s, {counted}")
        assert done["missing"] == [] and sum(counted.values()) < 50


# --- decisions -------------------------------------------------------------------------------------------------------
def machine(number: int = 1, kind: str = SIZE, zone: str = A) -> dict:
    return {"InstanceId": f"i-{number}", "InstanceType": kind, "Placement": {"AvailabilityZone": zone}, "State": {"Name": "stopped"}}


def test_batches_are_of_one_pool_and_not_too_large() -> None:
    wanted = [machine(number, zone=A if number % 3 else B) for number in range(330)]
    found = list(start_stop.batches(wanted))
    assert [len(batch) for batch in found] == [100, 10, 100, 100, 20]
    assert all(len(set(map(start_stop.pool, batch))) == 1 for batch in found)
    assert sorted(one["InstanceId"] for batch in found for one in batch) == sorted(one["InstanceId"] for one in wanted)


@pytest.mark.parametrize(
    ("scope", "shut"),
    [("pool", [True, False, False]), ("type", [True, True, False]), ("account", [True, True, True]), ("seat", [False] * 3)],
)
def test_what_a_refusal_closes(scope: str, shut: list[bool]) -> None:
    found = launch.Refusal("capacity", scope)
    key = start_stop.closes(machine(), found)
    met = {key: found} if key else {}
    assert [start_stop.closed(one, met) is not None for one in (machine(), machine(zone=B), machine(kind="g5.xlarge"))] == shut


def test_a_type_without_a_price_is_named() -> None:
    lines = start_stop.stop_plan(["s01", "s02"], [machine(), machine(2, "gr6.4xlarge")], 200, "eu-central-1")
    known = "Stopping s01, s02 saves $0.54 an hour (1 g4dn.xlarge at $0.526, 2 public addresses at $0.005)"
    assert lines[0] == f"{known}, and the price of gr6.4xlarge, which the table does not have."
    assert "200 GiB, go on to cost $16.00 a month" in lines[1] and prices.AS_OF in lines[-1] and "eu-central-1" in lines[-1]


def test_one_line_for_each_reason() -> None:
    none = {"reason": "capacity", "message": "AWS has no x free in y, where the disk is."}
    missing = [{"seat": "s01"} | none, {"seat": "s02", "reason": "other", "message": "Odd."}, {"seat": "s03"} | none]
    said = launch.summary(missing, "started", start_stop.MENDS)
    assert [line[:24] for line in said.splitlines()] == ["Not started: s01, s03. A", "Not started: s02. Odd. R"]
    assert "-e seats=s01,s03 -e instance_type=" in said
