"""A class that rests and goes on: real runs of the playbooks against the rehearsal's API alone, by message, exit status and what exists."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.organiser import CLASSROOM, ROOT, SIZE, Organiser, organised

pytestmark = pytest.mark.slow  # some twenty playbook runs


@pytest.fixture
def organiser(tmp_path: Path) -> Iterator[Organiser]:
    """Somebody whose seats s01 and s02 run."""
    with organised(tmp_path) as somebody:
        status, said = somebody.run("playbooks/provision.yml")
        assert status == 0 and set(somebody.seats()) == {"s01", "s02"}, said
        yield somebody


def see(organiser: Organiser, seat: str) -> dict:
    """Return a seat's machine as EC2 describes it."""
    name = organiser.seats("running", "stopped")[seat]
    return organiser.ec2.describe_instances(InstanceIds=[name])["Reservations"][0]["Instances"][0]


def test_a_class_is_stopped_for_the_night_and_starts_as_far_as_there_is_room(organiser: Organiser) -> None:
    both = organiser.seats()
    status, said = organiser.run("playbooks/stop.yml", "-e", "confirm=false")
    assert status == 2 and organiser.seats() == both
    assert f"  Stopping s01, s02 saves $0.18 an hour (2 {SIZE} at $0.083, 2 public addresses at $0.005)." in said
    assert "the variables of open notebooks" in said and "go on to cost $16.00 a month" in said
    assert "Nothing was done. To go on without being asked, type: ansible-playbook playbooks/stop.yml -e confirm=true" in said
    status, said = organiser.run("playbooks/stop.yml", "-e", "seats=s02")
    assert status == 0 and set(organiser.seats()) == {"s01"} and set(organiser.seats("stopped")) == {"s02"}, said
    status, said = organiser.run("playbooks/stop.yml")
    assert status == 0 and organiser.seats("stopped") == both and "Stopping s01 saves" in said

    # Nothing is free: said at once, with status 2, and nothing is launched in place of what holds work.
    organiser.control("Capacity", types="*", zones="*", room=0)
    status, said = organiser.run("playbooks/start.yml")
    assert status == 2 and "Not started: " in said and f"AWS has no {SIZE} free in us-west-2" in said
    assert "playbooks/resize.yml -e seats=s0" in said and " NOT PROVEN: not started: AWS has no" in said
    assert organiser.seats("stopped") == both and organiser.seats() == {}

    # There is room for one, beside the neighbour's.
    zone = see(organiser, "s01")["Placement"]["AvailabilityZone"]
    beside = organiser.neighbour["machines"][0]["Placement"]["AvailabilityZone"] == zone
    organiser.control("Capacity", types=SIZE, zones=zone, room=1 + beside)
    assert organiser.run("playbooks/provision.yml")[0] == 2 and len(organiser.seats()) == 1
    organiser.control("Capacity", clear=True)
    status, said = organiser.run("playbooks/provision.yml")
    assert status == 0 and organiser.seats() == both, said


def reached(organiser: Organiser, alias: str) -> set[str]:
    """Return what ssh would do for an alias, by its own account."""
    command = ["ssh", "-G", "-F", organiser.folder / "ssh_config", alias]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


def test_one_seat_for_a_month(organiser: Organiser) -> None:
    both, before = organiser.seats(), see(organiser, "s01")
    shown = {f"hostname {before['PublicIpAddress']}", f"hostkeyalias {both['s01']}", "user ubuntu", "identitiesonly yes"}
    shown |= {f"userknownhostsfile {organiser.folder}/known_hosts", "stricthostkeychecking accept-new"}
    assert shown <= reached(organiser, "s01") and shown <= reached(organiser, f"{CLASSROOM}-s01")

    resize = ("playbooks/resize.yml", "-e", "seats=s01", "-e", "instance_type=t3.xlarge")
    assert organiser.run(*resize, "--check")[0] == 0 and see(organiser, "s01") == before
    status, said = organiser.run(*resize, "-e", "confirm=false")
    assert status == 2 and "s01: t3.xlarge at $0.166 an hour while it runs, instead of t3.large at $0.083 an hour" in said
    assert see(organiser, "s01") == before
    status, said = organiser.run(*resize)
    assert status == 0 and "To start: ansible-playbook playbooks/start.yml -e seats=s01" in said, said
    assert see(organiser, "s01")["InstanceType"] == "t3.xlarge" and set(organiser.seats("stopped")) == {"s01"}
    assert "changed=0" in organiser.run(*resize)[1]
    status, said = organiser.run("playbooks/resize.yml", "-e", "seats=s01", "-e", "instance_type=t3.xlrage")
    assert status == 2 and "localhost: us-west-2 offers no instance type t3.xlrage." in said

    # The next run neither complains nor changes it back, and one that finds nothing to do changes nothing.
    assert organiser.run("playbooks/provision.yml")[0] == 0
    status, said = organiser.run("playbooks/provision.yml")
    assert status == 0 and "changed=0" in said and "s01: running, t3.xlarge" in said
    assert see(organiser, "s01")["InstanceType"] == "t3.xlarge" and organiser.seats() == both
    assert f"hostname {see(organiser, 's01')['PublicIpAddress']}" in reached(organiser, "s01")

    # The disk of a seat at rest: nothing can log in to these.
    assert organiser.run("playbooks/stop.yml", "-e", "seats=s01")[0] == 0
    status, said = organiser.run("playbooks/grow.yml", "-e", "seats=s01", "-e", "gib=150")
    assert status == 0 and "s01: 150 GiB of disk at $12.00 a month, instead of 100 GiB at $8.00, and never less again" in said, said
    status, said = organiser.run("playbooks/grow.yml", "-e", "seats=s01", "-e", "gib=120")
    assert status == 2 and "localhost: The disk of s01 has 150 GiB, and AWS makes none smaller" in said


def test_a_run_that_finds_nothing_to_do_looks_once(organiser: Organiser) -> None:
    organiser.control("Calls", clear=True)
    command = organiser.type("playbooks/provision.yml")
    done = subprocess.run(command, cwd=ROOT, env=organiser.environment, capture_output=True, text=True, check=False)
    calls = organiser.control("Calls")
    assert done.returncode == 0 and "changed=0" in done.stdout, done.stdout
    assert calls.pop("ec2:DescribeInstances") == 2, "the inventory, then the pre-flight check"
    assert set(calls.values()) == {1} and len(calls) <= 9, calls
    assert all(name.partition(":")[2].startswith(("Describe", "Get")) for name in calls)


def spoil(organiser: Organiser) -> None:
    """Open the class to the world, and let a seat have another stack's tag, another group, and metadata for whoever asks."""
    seat, (group,) = see(organiser, "s01"), organiser.of(CLASSROOM)["groups"]
    world = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}
    rule = {"IpProtocol": "tcp", "FromPort": 8888, "ToPort": 8888} | world
    organiser.ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule])
    only = [{"Name": "group-name", "Values": ["default"]}, {"Name": "vpc-id", "Values": [group["VpcId"]]}]
    other = organiser.ec2.describe_security_groups(Filters=only)["SecurityGroups"][0]["GroupId"]
    organiser.ec2.modify_instance_attribute(InstanceId=seat["InstanceId"], Groups=[other])
    whole = {"HttpEndpoint": "enabled", "HttpProtocolIpv6": "disabled", "InstanceMetadataTags": "enabled", "HttpPutResponseHopLimit": 1}
    organiser.ec2.modify_instance_metadata_options(InstanceId=seat["InstanceId"], HttpTokens="optional", **whole)
    organiser.ec2.create_tags(Resources=[seat["InstanceId"]], Tags=[{"Key": "classroom:stack", "Value": "other"}])
    (organiser.folder / "ssh_config").chmod(0o644)


def about(organiser: Organiser, seat: str) -> tuple[list[str], str, str]:
    """Return groups, metadata's door and stack of a seat."""
    found = see(organiser, seat)
    stack = next(tag["Value"] for tag in found["Tags"] if tag["Key"] == "classroom:stack")
    return [group["GroupId"] for group in found["SecurityGroups"]], found["MetadataOptions"]["HttpTokens"], stack


def test_what_was_changed_behind_its_back_the_next_run_puts_right(organiser: Organiser) -> None:
    (group,), before, file = organiser.of(CLASSROOM)["groups"], about(organiser, "s01"), organiser.folder / "ssh_config"
    spoil(organiser)
    assert about(organiser, "s01") != before and "0.0.0.0/0" in organiser.networks()
    status, said = organiser.run("playbooks/provision.yml", "--check")
    assert status == 0 and "changed=0" not in said and "0.0.0.0/0" in organiser.networks(), said
    status, said = organiser.run("playbooks/provision.yml")
    assert status == 0 and about(organiser, "s01") == before, said
    for everyone in ("0.0.0.0/0", "::/0"):
        assert f"  The class was open to the whole internet, tcp port 8888 to {everyone} in {group['GroupId']}: closed.\n" in said
    assert organiser.of(CLASSROOM)["groups"] == [group] and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "changed=0" in organiser.run("playbooks/provision.yml")[1]


def test_a_seat_that_stopped_is_noted_started_and_reached_at_its_new_address(organiser: Organiser) -> None:
    both = organiser.seats()
    organiser.ec2.stop_instances(InstanceIds=[both["s02"]])
    status, said = organiser.run("playbooks/provision.yml")
    assert status == 0 and organiser.seats() == both, said
    runs = json.loads((organiser.folder / "ledger.json").read_text())["runs"]
    assert [(run["seat"], bool(run["stopped"])) for run in runs] == [("s01", False), ("s02", True), ("s02", False)]
    for seat in both:
        assert f"hostname {see(organiser, seat)['PublicIpAddress']}" in reached(organiser, seat)
    # A ledger that cannot be written keeps nobody from a class.
    (organiser.folder / ".ledger.json").mkdir()
    organiser.ec2.stop_instances(InstanceIds=[both["s02"]])
    status, said = organiser.run("playbooks/provision.yml")
    assert status == 0 and "What the class costs is not kept" in said, said
