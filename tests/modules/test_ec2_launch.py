"""The launch of seats against the rehearsal's API alone: the module itself, run as Ansible runs it, while EC2 runs out and fails.

After every row: no machine, disk or interface without its seat's tags, no seat twice, the other class's s01 untouched, and the next run,
with the fault gone, completes.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import client as ec2_client
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import launch
from ansible_collections.classroom.gpu.plugins.modules import ec2_launch

from tests.support.simulated_hosts import SIZE, ZONES, Cloud, alone, next_second, running_module

SECOND = "g5.xlarge"
SEATS = ["s01", "s02", "s03", "s04"]


class Class:
    """A class named physics in a cloud in which another one has a seat s01, too."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud, self.control, self.folder = cloud, cloud.control, folder
        for name in ("classroom-physics", "classroom-other"):
            cloud.ec2.create_key_pair(KeyName=name)
        self.subnets = {one["AvailabilityZone"]: one["SubnetId"] for one in cloud.ec2.describe_subnets()["Subnets"]}
        group = cloud.ec2.create_security_group(GroupName="classroom-physics", Description="x")["GroupId"]
        self.options = {
            "classroom": "physics",
            "seats": SEATS,
            "pools": [{"instance_type": SIZE, "zone": zone, "subnet_id": self.subnets[zone]} for zone in ZONES],
            "image_id": cloud.image,
            "root_device": "/dev/xvda",
            "disk_gib": 20,
            "key_name": "classroom-physics",
            "group_id": group,
            "tags": {"classroom:stack": "minimal"},
            "user_data": "#!/bin/sh\n",
            "class_dir": str(folder),
        }
        (self.other,) = self.by_hand("other")
        self.before = self.machine(self.other)

    def by_hand(self, classroom: str, seat: str = "s01") -> list[str]:
        """Launch a machine as somebody would at the console."""
        named = {"classroom:name": classroom, "classroom:seat": seat}
        labels = [{"Key": key, "Value": value} for key, value in named.items()]
        return self.cloud.run(
            TagSpecifications=[{"ResourceType": kind, "Tags": labels} for kind in ("instance", "volume", "network-interface")]
        )

    def machine(self, instance_id: str) -> dict:
        return self.cloud.see(instance_id)

    def tag(self, name: str, seat: str | None) -> None:
        """Give a machine the tag of a seat at the console, or take it off."""
        if seat:
            self.cloud.ec2.create_tags(Resources=[name], Tags=[{"Key": "classroom:seat", "Value": seat}])
        else:
            self.cloud.ec2.delete_tags(Resources=[name], Tags=[{"Key": "classroom:seat"}])

    def forget(self, name: str) -> None:
        """Take off what else tells a machine's seat."""
        machine = self.machine(name)
        own = [disk["Ebs"]["VolumeId"] for disk in machine["BlockDeviceMappings"]] + [
            nic["NetworkInterfaceId"] for nic in machine["NetworkInterfaces"]
        ]
        self.cloud.ec2.delete_tags(Resources=own, Tags=[{"Key": "classroom:seat"}])
        self.cloud.ec2.delete_tags(Resources=[name], Tags=[{"Key": "Name"}])

    def run(self, check: bool = False, once: bool = True, whole: bool = True, **options) -> dict:
        """Run the module and return what it says. once: no seat may have two machines afterwards. whole: all tags are as they were made."""
        begin = time.monotonic()
        done = running_module(ec2_launch, {**self.options, **options, "_ansible_check_mode": check})
        self.seconds, self.calls = time.monotonic() - begin, self.control("Calls")
        if whole:
            self.hold()
            assert len(self.seats()) == len(self.alive()) or not once
        return done

    def alive(self) -> list[dict]:
        """Return the machines of the class that have not ended."""
        return [one for one in self.cloud.instances() if one["State"]["Name"] in instances.ALIVE and one["InstanceId"] != self.other]

    def seats(self) -> dict[str, str]:
        """Return the machine of each seat."""
        return {instances.tags(one)["classroom:seat"]: one["InstanceId"] for one in self.alive()}

    def hold(self) -> None:
        """Check what holds after every run."""
        interfaces = self.cloud.ec2.describe_network_interfaces()["NetworkInterfaces"]
        volumes = self.cloud.ec2.describe_volumes()["Volumes"]
        tagged = [*map(instances.tags, self.cloud.instances()), *map(instances.tags, volumes)]
        tagged += [instances.tags({"Tags": one["TagSet"]}) for one in interfaces]
        assert [tags for tags in tagged if not {"classroom:name", "classroom:seat"} <= set(tags)] == []
        assert len(volumes) == len(interfaces) == len(self.alive()) + 1
        assert self.machine(self.other) == self.before

    def complete(self) -> None:
        """Take every fault away: the next run completes, and keeps the seats that there are."""
        self.control("Faults", clear=True)
        self.control("Capacity", clear=True)
        self.control("SetQuota", region="us-west-2", family="g", value=5000)
        self.control("Verification", pending=False)
        had = self.seats()
        done = self.run()
        assert done["missing"] == [] and set(self.seats()) == set(SEATS)
        assert had.items() <= self.seats().items()
        assert {one["seat"] for one in done["launched"]} == set(SEATS) - set(had)


@pytest.fixture
def physics(simulated: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Class:
    """The class, without a machine, in an account without limits; the module is in no hurry only where that is the point."""
    simulated.control("Reset")
    for name, value in simulated.environment.items():
        monkeypatch.setenv(name, value)
    for name, seconds in {"RATE": 50.0, "BACKOFF": 0.02, "POLL": 0.1, "PAUSE": 0.3}.items():
        monkeypatch.setattr(ec2_client, name, seconds)
    return Class(simulated, tmp_path)


TWO_TYPES = [{"instance_type": kind, "zone": zone} for kind in (SIZE, SECOND) for zone in ZONES]
NOTHING_FREE = (
    f"Not launched: s01, s02, s03, s04. AWS has no {SIZE} free in us-west-2a, us-west-2b, us-west-2c. Run the same command again later"
)
# What is done to the cloud before the run; options; reasons of the seats that are missing then; how the message begins, or what it has.
ROWS: dict[str, tuple[list[tuple[str, dict]], dict, dict[str, str], str]] = {
    "no capacity in one zone": ([("Capacity", {"types": SIZE, "zones": "us-west-2a", "room": 0})], {}, {}, "Launched s01, s02, s03, s04."),
    "no capacity of the first type": ([("Capacity", {"types": SIZE, "zones": "*", "room": 0})], {"types": 2}, {}, "Launched"),
    "no capacity everywhere": (
        [("Capacity", {"types": "*", "zones": "*", "room": 0})],
        {},
        dict.fromkeys(SEATS, "capacity"),
        NOTHING_FREE,
    ),
    "no capacity of both types": (
        [("Capacity", {"types": "*", "zones": "*", "room": 0})],
        {"types": 2},
        dict.fromkeys(SEATS, "capacity"),
        f"AWS has no {SECOND} free in us-west-2a, us-west-2b, us-west-2c. Run",
    ),
    "capacity for some": ([("Capacity", {"types": "*", "zones": "*", "room": 1})], {}, 2, "AWS has no"),
    "capacity that appears later": (
        [("Capacity", {"types": "*", "zones": "*", "room": 0}), ("Capacity", {"types": "*", "zones": "*", "room": None, "after": 1.5})],
        {"wait_minutes": 0.2},
        {},
        "Launched",
    ),
    "capacity that does not appear": (
        [("Capacity", {"types": "*", "zones": "*", "room": 0})],
        {"wait_minutes": 0.01},
        dict.fromkeys(SEATS, "capacity"),
        NOTHING_FREE,
    ),
    "capacity by its code alone": ([("AddFault", {"action": "RunInstances", "code": "InsufficientInstanceCapacity"})], {}, {}, "Launched"),
    "quota 0": (
        [("SetQuota", {"region": "us-west-2", "family": "g", "value": 0})],
        {},
        dict.fromkeys(SEATS, "quota"),
        f"Not launched: s01, s02, s03, s04. The account's vCPU quota allows no more {SIZE}. Ask AWS for a larger quota",
    ),
    "quota too small": ([("SetQuota", {"region": "us-west-2", "family": "g", "value": 12})], {}, 2, "vCPU quota allows no more"),
    "quota of one type, capacity of the other": (
        [("SetQuota", {"region": "us-west-2", "family": "g", "value": 4}), ("Capacity", {"types": SECOND, "zones": "*", "room": 0})],
        {"types": 2},
        dict.fromkeys(SEATS, "quota"),
        "vCPU quota allows no more g4dn.xlarge. The account's vCPU quota allows no more g5.xlarge.",
    ),
    "verification": (
        [("Verification", {"pending": True})],
        {},
        dict.fromkeys(SEATS, "verification"),
        "AWS is still validating the account for this region. It takes minutes, four hours at most",
    ),
    "throttling": ([("AddFault", {"action": "RunInstances", "code": "Throttled", "count": 6})], {}, {}, "Launched"),
    "throttling of all calls": ([("AddFault", {"action": "*", "code": "Throttled", "count": 5})], {}, {}, "Launched"),
    "throttling without end": (
        [("AddFault", {"action": "RunInstances", "code": "Throttled", "count": None})],
        {},
        dict.fromkeys(SEATS, "other"),
        "Request limit exceeded.",
    ),
    "HTTP 500": ([("AddFault", {"action": "RunInstances", "code": "InternalError", "count": 6})], {}, {}, "Launched"),
    "HTTP 503": ([("AddFault", {"action": "RunInstances", "code": "Unavailable", "count": 6})], {}, {}, "Launched"),
    "HTTP 503 without end": (
        [("AddFault", {"action": "RunInstances", "code": "Unavailable", "count": None})],
        {},
        dict.fromkeys(SEATS, "other"),
        "What was launched nevertheless, the next run finds.",
    ),
    "one reply lost": ([("AddFault", {"action": "RunInstances", "lost_reply": True})], {}, {}, "Launched"),
    "every reply lost twice": ([("AddFault", {"action": "RunInstances", "lost_reply": True, "count": 8})], {}, {}, "Launched"),
    "replies lost without end": (
        [("AddFault", {"action": "RunInstances", "lost_reply": True, "count": None})],
        {},
        dict.fromkeys(SEATS, "other"),
        "What was launched nevertheless, the next run finds.",
    ),
    "a machine that dies while pending": (
        [("AddFault", {"action": "Boot", "code": "Client.VolumeLimitExceeded", "message": "Volume limit exceeded"})],
        {},
        1,
        "ended while it started: Client.VolumeLimitExceeded: Volume limit exceeded. Run the same command again when",
    ),
    "a machine that dies for want of capacity": (
        [("AddFault", {"action": "Boot", "code": "Server.InsufficientInstanceCapacity", "message": "No room"})],
        {"wait_minutes": 0.2},
        {},
        "Launched",
    ),
    "a machine that stays pending": ([("AddFault", {"action": "Boot", "delay": 4.0})], {"timeout": 1}, 1, "does not run after 1 seconds."),
    "stale reads after the launch": (
        [("AddFault", {"action": "DescribeInstances", "stale": 60.0, "count": 6, "skip": 1})],
        {},
        {},
        "Launched",
    ),
    "image withdrawn": ([], {"image_id": "ami-0123456789abcdef0"}, dict.fromkeys(SEATS, "other"), "(InvalidAMIID.NotFound)"),
    "permission denied": (
        [("AddFault", {"action": "RunInstances", "code": "Denied", "count": None})],
        {},
        dict.fromkeys(SEATS, "other"),
        "These credentials may not call RunInstances: allow it in IAM.",
    ),
    "a subnet that is gone": (
        [],
        {"pools": [{"instance_type": SIZE, "zone": "us-west-2a", "subnet_id": "subnet-0123456789abcdef0"}]},
        dict.fromkeys(SEATS, "other"),
        "(InvalidSubnetID.NotFound)",
    ),
    "a token of another request": (
        [("AddFault", {"action": "RunInstances", "code": "IdempotentParameterMismatch"})],
        {},
        1,
        "another launch",
    ),
}


# Rows that differ most; the others are for test-all.
OFTEN = ("no capacity in one zone", "capacity for some", "quota too small", "one reply lost", "permission denied")


@pytest.mark.parametrize("row", [pytest.param(row, marks=() if row in OFTEN else pytest.mark.slow) for row in ROWS])
def test_a_fault(physics: Class, row: str) -> None:
    faults, options, missing, words = ROWS[row]
    if "types" in options:
        options = {"pools": [pool | {"subnet_id": physics.subnets[pool["zone"]]} for pool in TWO_TYPES]}
    for action, said in faults:
        physics.control(action, **said)
    done = physics.run(**options)
    met = {one["seat"]: one["reason"] for one in done["missing"]}
    assert (len(met) if isinstance(missing, int) else met) == missing, done
    assert words in done["msg"] and not done.get("failed")
    assert {one["seat"] for one in done["launched"]} | set(met) == set(SEATS)
    physics.complete()


def test_nothing_is_left_to_do(physics: Class) -> None:
    assert physics.run()["changed"]
    physics.control("Calls", clear=True)
    done = physics.run()
    assert (done["changed"], done["launched"], done["msg"]) == (False, [], "Every seat has a machine.")
    assert [one["seat"] for one in done["found"]] == SEATS
    assert physics.control("Calls").pop("ec2:RunInstances", 0) == 0


def test_check_mode_says_what_it_would_launch(physics: Class) -> None:
    physics.by_hand("physics", "s03")
    done = physics.run(check=True)
    assert (done["changed"], done["msg"], list(physics.seats())) == (True, "Would launch s01, s02, s04.", ["s03"])
    physics.run()
    assert physics.run(check=True)["changed"] is False


def test_what_is_launched(physics: Class) -> None:
    (told,) = physics.run(seats=["s01"])["launched"]
    machine = physics.machine(told["instance_id"])
    assert (told["seat"], told["instance_type"], told["zone"]) == ("s01", SIZE, machine["Placement"]["AvailabilityZone"])
    assert instances.tags(machine) == {
        "Name": "physics-s01",
        "classroom:name": "physics",
        "classroom:seat": "s01",
        "classroom:stack": "minimal",
    }
    (volume,) = physics.cloud.ec2.describe_volumes(VolumeIds=[machine["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]])["Volumes"]
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (20, "gp3", True)
    assert (machine["MetadataOptions"]["HttpTokens"], machine["MetadataOptions"]["InstanceMetadataTags"]) == ("required", "enabled")
    assert machine["KeyName"] == "classroom-physics" and "PublicIpAddress" in machine
    assert [group["GroupId"] for group in machine["SecurityGroups"]] == [physics.options["group_id"]]
    data = physics.cloud.ec2.describe_instance_attribute(InstanceId=told["instance_id"], Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(data) == b"#!/bin/sh\n"


def test_a_seat_that_is_ended_by_hand_comes_again_the_same_day(physics: Class) -> None:
    physics.run()
    kept = physics.seats()
    for _ in range(2):
        gone = physics.seats()["s02"]
        physics.cloud.ec2.terminate_instances(InstanceIds=[gone])
        assert [one["seat"] for one in physics.run()["launched"]] == ["s02"]
        assert physics.seats() == kept | {"s02": physics.seats()["s02"]} and physics.seats()["s02"] != gone


def test_stale_reads_before_the_launch_find_the_machines_that_there_are(physics: Class) -> None:
    physics.run()
    before = physics.seats()
    physics.control("AddFault", action="DescribeInstances", stale=60.0, count=2)
    done = physics.run()
    assert {one["seat"]: one["instance_id"] for one in done["launched"]} == before == physics.seats()


def test_a_seat_that_exists_is_never_replaced_moved_or_imaged_anew(physics: Class) -> None:
    physics.run()
    before = {one["InstanceId"]: one["ImageId"] for one in physics.alive()}
    physics.cloud.ec2.stop_instances(InstanceIds=[physics.seats()["s01"]])
    other = [{"instance_type": SECOND, "zone": ZONES[2], "subnet_id": physics.subnets[ZONES[2]]}]
    physics.control("Calls", clear=True)
    assert physics.run(pools=other, image_id="ami-0123456789abcdef0", user_data="other", disk_gib=99)["changed"] is False
    assert {one["InstanceId"]: one["ImageId"] for one in physics.alive()} == before
    assert "ec2:RunInstances" not in physics.control("Calls")


@pytest.mark.parametrize(
    "proof", ["none", *(pytest.param(other, marks=pytest.mark.slow) for other in ("elder", "younger", "another", "unreadable"))]
)
def test_of_two_machines_for_one_seat_none_is_ended_whatever_was_proven(physics: Class, proof: str) -> None:
    (elder,) = physics.by_hand("physics")
    next_second()
    (younger,) = physics.by_hand("physics")
    physics.cloud.ec2.stop_instances(InstanceIds=[elder])
    next_second()
    physics.cloud.ec2.start_instances(InstanceIds=[elder])  # a start is no launch, though LaunchTime says so
    if proof != "none":
        (physics.folder / "seats/s01").mkdir(parents=True)
        named = {"elder": elder, "younger": younger, "another": "i-0"}
        text = json.dumps({"instance_id": named[proof]}) if proof in named else "{"
        (physics.folder / "seats/s01/proof.json").write_text(text)
    assert [one["seat"] for one in physics.run(check=True, once=False)["missing"]] == ["s01"]
    assert physics.run(seats=["s02"], once=False)["missing"] == []
    done = physics.run(once=False)
    (held,) = done["missing"]
    head, first, second, mend = held["message"].splitlines()
    assert (held["seat"], held["reason"]) == ("s01", "held") and done["msg"].startswith("Not launched: s01. Seat s01 has two machines, ")
    assert head == f"Seat s01 has two machines, {elder} and {younger}: nothing is done to them until somebody says which one it is."
    assert first.startswith(f"  {elder}: launched 20") and second.startswith(f"  {younger}: launched 20") and " UTC, running, g4dn" in first
    assert ["the proof of s01" in line for line in (first, second)] == [proof == "elder", proof == "younger"]
    end = f"ansible-playbook playbooks/teardown.yml -e seats=s01 -e machine={elder}"
    assert mend == f"  End the one that nobody needs, with its disk: `{end}` or `{end.replace(elder, younger)}`"
    assert [one["seat"] for one in done["launched"]] == ["s03", "s04"]
    assert {elder, younger} <= {one["InstanceId"] for one in physics.alive()}


def test_a_machine_whose_seat_somebody_changed_or_took_off_is_found_and_not_launched_again(physics: Class) -> None:
    physics.run()
    before = {one["InstanceId"]: one["State"]["Name"] for one in physics.alive()}
    first, third, fourth = (physics.seats()[seat] for seat in ("s01", "s03", "s04"))
    physics.tag(third, "s01")
    physics.tag(fourth, None)
    done = physics.run(whole=False)
    told = {one["seat"]: one["message"] for one in done["missing"]}
    assert list(told) == ["s01", "s03", "s04"] and not done["changed"] and [one["seat"] for one in done["found"]] == ["s02"]
    back = f"aws ec2 create-tags --resources {third} --tags Key=classroom:seat,Value=s03 --region us-west-2"
    assert (
        told["s01"].startswith("Seat s01 has two machines, ")
        and first in told["s01"]
        and f"{third} was s03. Put its tag back: `{back}`" in told["s01"]
    )
    known = "It is known as s03 by its disk, its network interface, its Name."
    assert told["s03"] == f"The machine of s03, {third}, has the tag classroom:seat=s01. {known} Put it back: `{back}`"
    assert told["s04"].startswith(f"The machine of s04, {fourth}, has lost its tag classroom:seat. It is known as s04 by its disk")
    assert {one["InstanceId"]: one["State"]["Name"] for one in physics.alive()} == before
    for name, seat in ((third, "s03"), (fourth, "s04")):
        physics.tag(name, seat)
    assert physics.run()["missing"] == []


@pytest.mark.parametrize("seat", [pytest.param("s03", marks=pytest.mark.slow), None])
def test_a_launch_that_ec2_answers_with_a_machine_of_other_tags_is_not_called_launched(physics: Class, seat: str | None) -> None:
    """Its disk, interface and Name know nothing, so that EC2 alone remembers, by the token of the launch."""
    physics.run(seats=["s02"])
    (name,) = physics.seats().values()
    physics.forget(name)
    physics.tag(name, seat)
    done = physics.run(seats=["s02"], whole=False)
    (missing,) = done["missing"]
    told = "lost its tag classroom:seat" if seat is None else "the tag classroom:seat=s03"
    if seat is None:  # what has no seat may be anybody's
        assert missing["message"].startswith(f"{name} has the tag of the class and no seat, and nothing here knows whose it is (launched ")
        assert f"`ansible-playbook playbooks/teardown.yml -e machine={name}`" in missing["message"]
    else:
        assert missing["message"].startswith(f"The machine of s02, {name}, has {told}. It is known as s02 by the token of its launch.")
    assert [one["InstanceId"] for one in physics.alive()] == [name] and not done["changed"]


def test_two_organisers_who_launch_at_once_get_one_machine_a_seat(physics: Class, tmp_path: Path) -> None:
    """From two computers, with no lock between them: EC2 knows a launch that it has seen by its token."""
    physics.control("AddFault", action="RunInstances", delay=0.2, count=None)
    told = [physics.options | {"class_dir": str(tmp_path / name)} for name in ("ada", "bob")]
    runs = [subprocess.Popen(alone(ec2_launch, options), stdout=subprocess.PIPE, text=True) for options in told]
    outcomes = [json.loads(run.communicate()[0]) for run in runs]
    assert [(one["missing"], [seat["instance_id"] for seat in one["found"] + one["launched"]]) for one in outcomes] != []
    assert [one["missing"] for one in outcomes] == [[], []] and set(physics.seats()) == set(SEATS)
    assert all({seat["instance_id"] for seat in one["found"] + one["launched"]} == set(physics.seats().values()) for one in outcomes)
    physics.complete()


def test_of_two_organisers_with_other_settings_neither_ends_what_the_other_launched(physics: Class) -> None:
    physics.control("AddFault", action="RunInstances", delay=0.5, count=None)
    told = [physics.options | {"seats": ["s01"], "disk_gib": size} for size in (20, 30)]
    runs = [subprocess.Popen(alone(ec2_launch, options), stdout=subprocess.PIPE, text=True) for options in told]
    outcomes = [json.loads(run.communicate()[0]) for run in runs]
    assert len(physics.alive()) == 2 and any(one["missing"] for one in outcomes), outcomes
    assert physics.run(seats=["s01"], once=False)["missing"][0]["message"].startswith("Seat s01 has two machines, ")


@pytest.mark.parametrize("calls", [pytest.param(n, marks=() if n == 4 else pytest.mark.slow) for n in (1, 2, 3, 4, *range(6, 12))])
def test_a_run_that_is_killed_is_taken_up(physics: Class, calls: int) -> None:
    """Killed at its nth launch, of which each takes a while to be carried out."""
    seats = [f"s{number:02}" for number in range(1, 11)]
    physics.control("AddFault", action="RunInstances", delay=0.5, count=None)
    physics.control("Calls", clear=True)
    command = alone(ec2_launch, physics.options | {"seats": seats})
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as killed:
        while physics.control("Calls").get("ec2:RunInstances", 0) < min(calls, 10):
            assert killed.poll() is None
            time.sleep(0.02)
        time.sleep(0.7 if calls > 10 else 0)
        os.killpg(killed.pid, signal.SIGKILL)
    done = physics.run(seats=seats)
    assert done["missing"] == [] and sorted(physics.seats()) == seats


@pytest.mark.slow
def test_the_accounts_rate_is_kept(physics: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ec2_client, "RATE", 2.0)
    physics.control("Throttle", on=True)
    physics.control("Calls", clear=True)
    seats = [f"s{number:02}" for number in range(1, 13)]
    begin = time.monotonic()
    assert len(physics.run(seats=seats)["launched"]) == 12
    assert time.monotonic() - begin > 3
    assert physics.control("Calls")["ec2:RunInstances"] <= 14


@pytest.mark.slow
def test_five_hundred_seats(physics: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most two calls a seat for a launch, in the time that the account's bucket takes; less than one in ten where nothing is to do."""
    for name, value in {"RATE": 2.0, "POLL": 5.0}.items():
        monkeypatch.setattr(ec2_client, name, value)
    seats = [f"s{number:03}" for number in range(500)]
    physics.control("Throttle", on=True)
    calls, seconds = [], []
    for launched in (500, 0):
        physics.control("Calls", clear=True)
        assert len(physics.run(seats=seats)["launched"]) == launched
        seconds.append(physics.seconds)
        calls.append(physics.calls)
    print(f"500 seats: {seconds[0]:.0f} s, {calls[0]}; nothing to do: {seconds[1]:.1f} s, {calls[1]}")
    assert sum(calls[0].values()) <= 1000 and calls[0]["ec2:RunInstances"] < 550 and sum(calls[1].values()) < 50
    assert seconds[0] < 320


# --- decisions -------------------------------------------------------------------------------------------------------
POOLS = [launch.Pool(kind, zone, f"subnet-{zone}") for kind in (SIZE, SECOND) for zone in ("a", "b", "c")]


def test_a_seat_walks_by_type_and_keeps_its_zone_whoever_else_is_there() -> None:
    walks = {seat: launch.order(seat, POOLS) for seat in (f"s{number:02}" for number in range(20))}
    for walk in walks.values():
        assert [pool.instance_type for pool in walk] == [SIZE] * 3 + [SECOND] * 3
        assert sorted(walk) == sorted(POOLS) and [pool.zone for pool in walk[:3]] == [pool.zone for pool in walk[3:]]
    assert {walk[0].zone for walk in walks.values()} == {"a", "b", "c"}
    assert launch.order("s01", []) == []


def test_a_token_is_that_of_one_request() -> None:
    params = {"classroom": "physics", "tags": {}, "user_data": "", "disk_gib": 20, "group_id": "sg-1", "image_id": "ami-1"}
    params |= {"key_name": "k", "root_device": "/dev/xvda"}
    asked = launch.request(params, "s01", POOLS[0])
    others = [
        launch.request(params, "s02", POOLS[0]),
        launch.request(params, "s01", POOLS[1]),
        *(
            launch.request(params | change, "s01", POOLS[0])
            for change in ({"classroom": "other"}, {"user_data": "x"}, {"tags": {"a": "b"}})
        ),
    ]
    tokens = [launch.token(asked, 0), launch.token(asked, 1), *(launch.token(other, 0) for other in others)]
    assert len(set(tokens)) == 7 and {len(one) for one in tokens} == {64}
    assert launch.token(launch.request(params, "s01", POOLS[0]), 0) == tokens[0]


@pytest.mark.parametrize(("closes", "count"), [("pool", 1), ("type", 3), ("account", 6), ("seat", 0)])
def test_what_a_refusal_closes(closes: str, count: int) -> None:
    assert len(launch.closed_by(launch.Refusal("other", closes), POOLS[4], POOLS)) == count


def test_of_several_reasons_the_one_that_waiting_mends_is_told_first() -> None:
    met = [(pool, launch.Refusal("quota", "type")) for pool in POOLS[:3]] + [
        (pool, launch.Refusal("capacity", "pool")) for pool in POOLS[3:]
    ]
    assert launch.told(met) == {
        "reason": "capacity",
        "message": f"The account's vCPU quota allows no more {SIZE}. AWS has no {SECOND} free in a, b, c.",
    }
