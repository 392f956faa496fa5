"""Another type, or a larger disk, for a seat that exists: the module itself against the rehearsal's API, beside another class's s01."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.cost import prices
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import client as ec2_client
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import resize
from ansible_collections.classroom.gpu.plugins.modules import ec2_resize
from botocore.exceptions import ClientError

from tests.support.simulated_hosts import SIZE, ZONES, Cloud, running_module

STACKS = Path(__file__).parents[2] / "stacks"
UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
LARGER = "g5.xlarge"


class Class:
    """A class with one seat of 20 GiB, beside a class that has a seat s01, too."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud, self.control, self.ec2 = cloud, cloud.control, cloud.ec2
        self.mine, self.other = self.launch("physics"), self.launch("other")
        self.before = self.seen(self.other)

    def launch(self, classroom: str) -> str:
        named = {"classroom:name": classroom, "classroom:seat": "s01"}
        labels = [{"Key": key, "Value": value} for key, value in named.items()]
        tags = [{"ResourceType": kind, "Tags": labels} for kind in ("instance", "volume")]
        disk = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3"}}]
        return self.cloud.in_zone(ZONES[0], TagSpecifications=tags, BlockDeviceMappings=disk)[0]

    def volume(self, instance_id: str) -> dict:
        (found,) = self.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance_id]}])["Volumes"]
        return found

    def seen(self, instance_id: str) -> tuple[dict, dict]:
        return self.cloud.see(instance_id), self.volume(instance_id)

    def run(self, check: bool = False, **options) -> dict:
        self.control("Calls", clear=True)
        asked = {"classroom": "physics", "seats": ["s01"], "_ansible_check_mode": check}
        done = running_module(ec2_resize, asked | options)
        self.calls = self.control("Calls")
        assert self.seen(self.other) == self.before
        return done

    def retype(self, kind: str = LARGER, stack: str = "tensorflow-2026", check: bool = False) -> dict:
        return self.run(check, instance_type=kind, stack=str(STACKS / stack), image=UBUNTU)


@pytest.fixture
def physics(simulated: Cloud, monkeypatch: pytest.MonkeyPatch) -> Class:
    simulated.control("Reset")
    for name, value in simulated.environment.items():
        monkeypatch.setenv(name, value)
    for name, seconds in {"BACKOFF": 0.02, "POLL": 0.1}.items():
        monkeypatch.setattr(ec2_client, name, seconds)
    return Class(simulated)


def test_a_stopped_seat_gets_another_type_and_starts_with_it(physics: Class) -> None:
    physics.ec2.stop_instances(InstanceIds=[physics.mine])
    disk = physics.volume(physics.mine)
    done = physics.retype()
    assert done["shaped"] == ["s01"] and done["plan"][0].endswith("ansible-playbook playbooks/start.yml -e seats=s01")
    assert physics.retype()["changed"] is False
    physics.ec2.start_instances(InstanceIds=[physics.mine])
    seen = physics.cloud.see(physics.mine)
    assert (seen["InstanceType"], seen["State"]["Name"]) == (LARGER, "running")
    assert physics.volume(physics.mine) == disk


def test_the_price_before_and_after_is_told_and_check_mode_changes_nothing(physics: Class) -> None:
    done = physics.retype(check=True)
    assert done["running"] == ["s01"] and done["plan"][0] == (
        "s01: g5.xlarge at $1.006 an hour while it runs, instead of g4dn.xlarge at $0.526 an hour; it is stopped for that: the variables of"
        " open notebooks are lost"
    )
    assert physics.cloud.see(physics.mine)["InstanceType"] == SIZE and "ec2:ModifyInstanceAttribute" not in physics.calls


@pytest.mark.parametrize(
    ("kind", "stack", "words"),
    [
        pytest.param("g5.xlrge", "minimal", "us-west-2 offers no instance type g5.xlrge.", marks=pytest.mark.slow),
        ("g7e.2xlarge", "tensorflow-2026", "- compute capability 12.0 of g7e.2xlarge"),
        pytest.param("g5g.xlarge", "minimal", "s01 is built for x86_64, which g5g.xlarge is not: it is arm64.", marks=pytest.mark.slow),
        (LARGER, "minimal", "s01 is running: `ansible-playbook playbooks/stop.yml -e seats=s01` first."),
        pytest.param(LARGER, "none", "Stack none has no stack.yml that could be judged", marks=pytest.mark.slow),
    ],
)
def test_what_does_not_suit_is_refused_before_anything_changes(physics: Class, kind: str, stack: str, words: str) -> None:
    if "running" not in words:
        physics.ec2.stop_instances(InstanceIds=[physics.mine])
    done = physics.retype(kind, stack)
    assert done["failed"] and words in done["msg"], done["msg"]
    assert physics.cloud.see(physics.mine)["InstanceType"] == SIZE and "ec2:ModifyInstanceAttribute" not in physics.calls


@pytest.mark.slow
def test_a_type_that_the_seats_zone_lacks_is_refused_with_the_zones_that_have_it(physics: Class) -> None:
    physics.ec2.stop_instances(InstanceIds=[physics.mine])
    offered = physics.ec2.describe_instance_type_offerings(LocationType="availability-zone")["InstanceTypeOfferings"]
    there = {one["InstanceType"] for one in offered if one["Location"] == ZONES[0]}
    kind = next(
        one["InstanceType"] for one in offered if one["InstanceType"].startswith(("m", "c", "r")) and one["InstanceType"] not in there
    )
    assert f"s01 is in {ZONES[0]} with its disk, where there is no {kind}: only in us-west-2" in physics.retype(kind, "minimal")["msg"]


@pytest.mark.slow
def test_a_seat_that_nobody_knows(physics: Class) -> None:
    assert "Class physics has no machine for s09: " in physics.run(seats=["s09"], disk_gib=30)["msg"]


def test_a_disk_grows_while_its_machine_runs_and_the_size_counts_when_the_module_returns(physics: Class) -> None:
    told = physics.run(check=True, disk_gib=150)["plan"]
    assert told[0] == "s01: 150 GiB of disk at $12.00 a month, instead of 20 GiB at $1.60, and never less again"
    assert "four times in 24 hours" in told[1] and prices.AS_OF in told[1] and physics.volume(physics.mine)["Size"] == 20
    done = physics.run(disk_gib=150)
    assert done["shaped"] == done["running"] == ["s01"] and physics.volume(physics.mine)["Size"] == 150
    assert physics.cloud.see(physics.mine)["State"]["Name"] == "running"
    assert physics.run(disk_gib=150)["changed"] is False


def test_a_disk_never_shrinks(physics: Class) -> None:
    said = physics.run(disk_gib=10)["msg"]
    assert said.startswith("The disk of s01 has 20 GiB, and AWS makes none smaller than it is, as 10 GiB would be.")
    assert "ec2:ModifyVolume" not in physics.calls


@pytest.mark.parametrize(
    "fault",
    [
        {"lost_reply": True},
        *(
            pytest.param(fault, marks=pytest.mark.slow)
            for fault in ({"lost_reply": True, "count": 3}, {"code": "Throttled", "count": 4}, {"code": "InternalError", "count": 2})
        ),
    ],
)
def test_a_disk_grows_once_although_answers_are_lost(physics: Class, fault: dict) -> None:
    physics.control("AddFault", action="ModifyVolume", **fault)
    done = physics.run(disk_gib=30)
    assert done["changed"] and physics.volume(physics.mine)["Size"] == 30
    only = [{"Name": "volume-id", "Values": [physics.volume(physics.mine)["VolumeId"]]}]
    assert len(physics.ec2.describe_volumes_modifications(Filters=only)["VolumesModifications"]) == 1


def test_a_run_that_was_killed_after_it_asked_is_taken_up(physics: Class) -> None:
    physics.ec2.modify_volume(VolumeId=physics.volume(physics.mine)["VolumeId"], Size=30)
    assert "failed" not in physics.run(disk_gib=30) and physics.volume(physics.mine)["Size"] == 30
    assert "ec2:ModifyVolume" not in physics.calls


@pytest.mark.slow
def test_aws_own_pace_of_changes_is_explained(physics: Class) -> None:
    physics.control("AddFault", action="ModifyVolume", code="IncorrectModificationState")
    said = physics.run(disk_gib=40)["msg"]
    assert said.startswith("s01: AWS lets a disk be changed four times in 24 hours") and "it still works on the last one" in said
    physics.control("AddFault", action="ModifyVolume", code="VolumeModificationRateExceeded")
    assert physics.run(disk_gib=50)["msg"].endswith("and this one was: run the same command again tomorrow.")
    physics.control("AddFault", action="ModifyVolume", code="Denied")
    assert physics.run(disk_gib=50)["msg"].startswith("s01: These credentials may not call ModifyVolume: allow it in IAM.")


# --- the rehearsal's part ----------------------------------------------------------------------------------------------
def refused(call, **asked) -> str:
    with pytest.raises(ClientError) as caught:
        call(**asked)
    return caught.value.response["Error"]["Code"]


def test_the_rehearsal_refuses_modifications_as_ec2_does(physics: Class) -> None:
    name = physics.volume(physics.mine)["VolumeId"]
    assert refused(physics.ec2.describe_volumes_modifications, VolumeIds=[name]) == "InvalidVolumeModification.NotFound"
    assert refused(physics.ec2.modify_volume, VolumeId=name, Size=10) == "InvalidParameterValue"
    asked = physics.ec2.modify_volume(VolumeId=name, Size=21)["VolumeModification"]
    assert (asked["ModificationState"], asked["OriginalSize"], asked["TargetSize"]) == ("modifying", 20, 21)
    assert refused(physics.ec2.modify_volume, VolumeId=name, Size=22) == "IncorrectModificationState"
    states = {}
    while "completed" not in states:
        size = physics.volume(physics.mine)["Size"]  # before the state, which may be the next one by then
        (last,) = physics.ec2.describe_volumes_modifications(VolumeIds=[name])["VolumesModifications"]
        states.setdefault(last["ModificationState"], size)
        time.sleep(0.05)
    assert states.pop("modifying", 20) == 20 and list(states) == ["optimizing", "completed"] and states["completed"] == 21
    assert (
        refused(physics.ec2.modify_instance_attribute, InstanceId=physics.mine, InstanceType={"Value": LARGER}) == "IncorrectInstanceState"
    )
    physics.ec2.stop_instances(InstanceIds=[physics.mine])
    odd = {"InstanceId": physics.mine, "InstanceType": {"Value": "g5.odd"}}
    assert refused(physics.ec2.modify_instance_attribute, **odd) == "InvalidInstanceAttributeValue"


def test_a_type_without_a_price_is_said_to_have_none() -> None:
    machine = {"InstanceType": SIZE, "State": {"Name": "stopped"}}
    assert resize.type_plan("s01", machine, "gr6.4xlarge") == (
        "s01: gr6.4xlarge at a price that the table does not have while it runs, instead of g4dn.xlarge at $0.526 an hour"
    )
