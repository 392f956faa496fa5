"""What a run need not ask EC2 again, nor write again: the rules by which a step finds that an earlier look tells all it wants to know."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.filter.access import groups_as_wanted
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances
from ansible_collections.classroom.gpu.plugins.module_utils.classroom.networks import closed
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import launch, start_stop
from ansible_collections.classroom.gpu.plugins.plugin_utils.known import settled
from ansible_collections.classroom.gpu.plugins.test.private import private_file

METADATA = {"HttpTokens": "required", "InstanceMetadataTags": "enabled"}
POWER = {
    "classroom": "physics",
    "seats": ["s01", "s02"],
    "state": "running",
    "tags": {"classroom:stack": "minimal"},
    "group_id": "sg-1",
    "metadata_options": METADATA,
    "region": "us-west-2",
}
LAUNCH = {
    "classroom": "physics",
    "seats": ["s01", "s02"],
    "pools": [],
    **dict.fromkeys(("image_id", "root_device", "key_name", "group_id", "class_dir"), "x"),
    "disk_gib": 100,
}


def machine(seat: str, state: str = "running", *, born: int = 8, classroom: str = "physics", stack: str = "minimal", **more) -> dict:
    """Return a machine as EC2 describes it, started again at noon."""
    named = {"classroom:name": classroom, "classroom:seat": seat, "classroom:stack": stack}
    return {
        "InstanceId": f"i-{seat}-{born}",
        "InstanceType": "g4dn.xlarge",
        "Placement": {"AvailabilityZone": "us-west-2a"},
        "State": {"Name": state},
        "LaunchTime": datetime(2026, 12, 4, 12, tzinfo=UTC),
        "BlockDeviceMappings": [{"Ebs": {"VolumeId": "vol-1", "AttachTime": datetime(2026, 12, 4, born, tzinfo=UTC)}}],
        "SecurityGroups": [{"GroupId": "sg-1", "GroupName": "classroom-physics"}],
        "MetadataOptions": METADATA | {"HttpEndpoint": "enabled"},
        "Tags": [{"Key": key, "Value": value} for key, value in named.items()],
    } | more


def travelled(*found: dict) -> list[dict]:
    """Return machines as a run's variables hold them: as JSON, with times as texts."""
    return json.loads(json.dumps([instances.brief(one) for one in found], default=datetime.isoformat))


BOTH = (machine("s01"), machine("s02"))
ASKS = {
    "all as wanted": (BOTH, {}, False),
    "a seat unseen": ((machine("s01"),), {}, True),
    "nothing was looked at": ((), {}, True),
    "another class's seat of that name": ((machine("s01"), machine("s02", classroom="other")), {}, True),
    "one stands still": ((machine("s01"), machine("s02", "stopped")), {}, True),
    "one is about to run": ((machine("s01"), machine("s02", "pending")), {}, True),
    "one is about to stand still": ((machine("s01"), machine("s02", "stopping")), {}, True),
    "another stack": ((machine("s01"), machine("s02", stack="tensorflow-2026")), {}, True),
    "another group": ((machine("s01"), machine("s02", SecurityGroups=[{"GroupId": "sg-2"}])), {}, True),
    "a further group": ((machine("s01"), machine("s02", SecurityGroups=[{"GroupId": "sg-1"}, {"GroupId": "sg-2"}])), {}, True),
    "metadata without a token": ((machine("s01"), machine("s02", MetadataOptions=METADATA | {"HttpTokens": "optional"})), {}, True),
    "to stop what runs": (BOTH, {"state": "stopped"}, True),
    "to stop what stands still": ((machine("s01", "stopped"), machine("s02", "stopped")), {"state": "stopped"}, False),
    "to stop both of a seat": (
        (machine("s01", "stopped"), machine("s01", born=9), machine("s02", "stopped")),
        {"state": "stopped"},
        True,
    ),
    "one has two": ((*BOTH, machine("s02", born=9)), {}, True),
    "no seat is asked for": ((), {"seats": []}, False),
    "an argument that is refused": (BOTH, {"state": "on fire"}, True),
}


@pytest.mark.parametrize("case", ASKS)
def test_power_asks_ec2_only_where_something_differs(case: str) -> None:
    found, other, asks = ASKS[case]
    done = settled(start_stop, POWER | other | {"known": travelled(*found)})
    assert (done is None) == asks
    assert asks or (done["changed"], done["moved"], done["equipped"], done["missing"]) == (False, [], [], [])


LAUNCHES = {
    "each seat has one": (BOTH, {}, False),
    "one stands still": ((machine("s01"), machine("s02", "stopped")), {}, False),
    "one has none": ((machine("s01"),), {}, True),
    "one has ended": ((machine("s01"), machine("s02", "terminated")), {}, True),
    "one is about to run": ((machine("s01"), machine("s02", "pending")), {}, True),
    "one has two": ((*BOTH, machine("s02", born=9)), {}, True),
    "nothing was looked at": ((), {}, True),
    "an argument is missing": (BOTH, {"disk_gib": None}, True),
}


@pytest.mark.parametrize("case", LAUNCHES)
def test_launch_asks_ec2_only_where_a_seat_has_no_machine_or_two(case: str) -> None:
    found, other, asks = LAUNCHES[case]
    done = settled(launch, LAUNCH | other | {"known": travelled(*found)})
    assert (done is None) == asks
    assert asks or [one["instance_id"] for one in done["found"]] == [one["InstanceId"] for one in found]
    assert asks or (done["changed"], done["launched"], done["missing"]) == (False, [], [])


def test_a_seat_that_a_person_has_to_settle_is_told_without_a_question_to_ec2() -> None:
    held = [{"seat": "s02", "message": "Seat s02 has two machines."}, {"seat": "s09", "message": "x"}]
    done = settled(launch, LAUNCH | {"known": travelled(*BOTH, machine("s02", born=9)), "held": held})
    assert [one["seat"] for one in done["found"]] == ["s01"] and not done["changed"]
    assert done["missing"] == [{"seat": "s02", "reason": "held", "message": "Seat s02 has two machines."}]
    assert done["msg"] == "Not launched: s02. Seat s02 has two machines. Then run the same command again."
    done = settled(start_stop, POWER | {"state": "stopped", "seats": [], "held": held})
    assert [one["seat"] for one in done["missing"]] == ["s02", "s09"] and "Not stopped: s02." in done["msg"]


def test_of_two_machines_the_elder_is_still_known_when_times_are_texts() -> None:
    younger, elder = machine("s01", born=9), machine("s01", born=8)
    assert instances.by_seat(travelled(younger, elder), "physics")["s01"][0]["InstanceId"] == elder["InstanceId"]


# --- the class's security group --------------------------------------------------------------------------------------
WANTED = {
    "name": "classroom-physics",
    "description": "Class physics: SSH and Jupyter",
    "vpc_id": "vpc-1",
    "ports": [22, "8888"],
    "cidrs": ["198.51.100.0/24", "192.0.2.7/32"],
    "tags": {"classroom:name": "physics"},
}


def rule(port: int, *cidrs: str, **more) -> dict:
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": cidr} for cidr in cidrs]} | more


def group(*rules: dict, **more) -> dict:
    """Return a security group as EC2 describes it, with a tag that somebody else gave it."""
    return {
        "GroupId": "sg-1",
        "GroupName": "classroom-physics",
        "Description": "Class physics: SSH and Jupyter",
        "VpcId": "vpc-1",
        "IpPermissions": list(rules),
        "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
        "Tags": [{"Key": "classroom:name", "Value": "physics"}, {"Key": "owner", "Value": "Ada"}],
    } | more


DESCRIBED = [{"CidrIp": one, "Description": "x"} for one in WANTED["cidrs"]]
SSH, JUPYTER = rule(22, *WANTED["cidrs"]), rule(8888, *WANTED["cidrs"])
GROUPS = {
    "as it was made": (group(SSH, JUPYTER), True),
    "in another order": (group(rule(8888, *reversed(WANTED["cidrs"])), SSH), True),
    "in pieces": (group(*(rule(port, cidr) for port in (22, 8888) for cidr in WANTED["cidrs"])), True),
    "open to the world": (group(SSH, rule(8888, *WANTED["cidrs"], "0.0.0.0/0")), False),
    "open to the world by IPv6": (group(SSH, rule(8888, *WANTED["cidrs"], Ipv6Ranges=[{"CidrIpv6": "::/0"}])), False),
    "open at another port": (group(SSH, JUPYTER, rule(80, "198.51.100.0/24")), False),
    "open at all ports": (group(SSH, JUPYTER, {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "198.51.100.0/24"}]}), False),
    "open to a range of ports": (group(rule(22, *WANTED["cidrs"], ToPort=23), JUPYTER), False),
    "open by UDP": (group(SSH, rule(8888, *WANTED["cidrs"], IpProtocol="udp")), False),
    "open to another group": (group(SSH, JUPYTER, rule(22, UserIdGroupPairs=[{"GroupId": "sg-2"}])), False),
    "open to a list": (group(SSH, JUPYTER, rule(22, PrefixListIds=[{"PrefixListId": "pl-1"}])), False),
    "a network is missing": (group(SSH, rule(8888, "198.51.100.0/24")), False),
    "a port is missing": (group(SSH), False),
    "nothing may enter": (group(), False),
    "somebody described a rule": (group(rule(22, IpRanges=DESCRIBED), JUPYTER), False),
    "without its tag": (group(SSH, JUPYTER, Tags=[]), False),
    "of another name": (group(SSH, JUPYTER, GroupName="classroom-other"), False),
    "otherwise described": (group(SSH, JUPYTER, Description="x"), False),
    "in another network": (group(SSH, JUPYTER, VpcId="vpc-2"), False),
}


ASKED = {"name": "classroom-physics", "rules": [{"proto": "tcp", "ports": [22, 8888], "cidr_ip": WANTED["cidrs"]}]}
WORLD = {"proto": "tcp", "ports": [8888], "cidr_ip": ["0.0.0.0/0"]}


@pytest.mark.parametrize(
    ("found", "asked", "said"),
    [
        (group(SSH, JUPYTER), {}, []),
        (group(SSH, rule(8888, "0.0.0.0/0")), {}, ["tcp port 8888 to 0.0.0.0/0"]),
        (group(rule(22, Ipv6Ranges=[{"CidrIpv6": "::/0"}])), {}, ["tcp port 22 to ::/0"]),
        (group(rule(1, "0.0.0.0/0", ToPort=99)), {}, ["tcp ports 1 to 99 to 0.0.0.0/0"]),
        (group({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}), {}, ["every port to 0.0.0.0/0"]),
        (group(rule(8888, "0.0.0.0/0"), rule(22, "0.0.0.0/0")), {"rules": [WORLD]}, ["tcp port 22 to 0.0.0.0/0"]),
        (group(rule(8888, "0.0.0.0/0")), {"purge_rules": False}, []),
        (group(rule(8888, "0.0.0.0/0"), GroupName="classroom-other"), {}, []),
    ],
)
def test_what_let_everybody_in_and_was_closed_is_told_with_its_port(found: dict, asked: dict, said: list[str]) -> None:
    assert closed([found], ASKED | asked) == [f"The class was open to the whole internet, {words} in sg-1: closed." for words in said]


@pytest.mark.parametrize("case", GROUPS)
def test_a_security_group_is_left_alone_only_where_all_of_it_is_as_wanted(case: str) -> None:
    found, alone = GROUPS[case]
    assert groups_as_wanted([found], WANTED) == ([found] if alone else [])


# --- ssh_config ------------------------------------------------------------------------------------------------------
def test_a_private_file_is_its_owners_alone_and_has_the_text(tmp_path: Path) -> None:
    path = tmp_path / "ssh_config"
    assert not private_file(str(path), "Host s01\n")
    path.write_text("Host s01\n")
    path.chmod(0o600)
    assert private_file(str(path), "Host s01\n") and not private_file(str(path), "Host s02\n")
    path.chmod(0o644)
    assert not private_file(str(path), "Host s01\n")
    path.chmod(0o600)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to("elsewhere")
    assert not private_file(str(path), "Host s01\n")
