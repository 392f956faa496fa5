"""The end of a class against the rehearsal's API alone: the module itself, run as Ansible runs it, while EC2 fails and people interfere.

After every row: the other class, which has a seat s01 with all that belongs to it, is as it was, byte for byte, and so is what has no tag;
and the next run, with the fault gone, certifies that nothing is left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from types import ModuleType

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import client as ec2_client
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import teardown
from ansible_collections.classroom.gpu.plugins.modules import ec2_cost_report, ec2_teardown

from tests.support.simulated_hosts import ZONES, Cloud, alone, next_second, running_module

LISTS = {
    "describe_instances": "Reservations",
    "describe_volumes": "Volumes",
    "describe_addresses": "Addresses",
    "describe_network_interfaces": "NetworkInterfaces",
    "describe_security_groups": "SecurityGroups",
    "describe_key_pairs": "KeyPairs",
    "describe_snapshots": "Snapshots",
}


def tags(classroom: str, seat: str = "") -> list[dict]:
    named = {"classroom:name": classroom} | ({"classroom:seat": seat} if seat else {})
    return [{"Key": key, "Value": value} for key, value in named.items()]


class Account:
    """An account in which the class other has all that a class can have, and physics may, too."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud, self.control, self.ec2 = cloud, cloud.control, cloud.ec2
        self.subnet = self.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        self.access("other")
        self.launch("other", "s01")
        self.volume("other", "s01")
        self.interface("other", "s01")
        self.address("other")
        # What a console made, with the class's name and without its tag.
        self.ec2.create_key_pair(KeyName="physics")
        self.ec2.create_security_group(GroupName="physics", Description="x")
        self.before = self.others()

    def access(self, classroom: str) -> str:
        """Make a class's key pair and group."""
        self.key(classroom)
        spec = [{"ResourceType": "security-group", "Tags": tags(classroom)}]
        self.group = self.ec2.create_security_group(GroupName=f"classroom-{classroom}", Description="x", TagSpecifications=spec)["GroupId"]
        return self.group

    def key(self, classroom: str) -> None:
        spec = [{"ResourceType": "key-pair", "Tags": tags(classroom)}]
        self.ec2.create_key_pair(KeyName=f"classroom-{classroom}", TagSpecifications=spec)

    def launch(self, classroom: str, seat: str, zone: str = ZONES[0], **more) -> str:
        spec = [{"ResourceType": kind, "Tags": tags(classroom, seat)} for kind in ("instance", "volume", "network-interface")]
        return self.cloud.in_zone(zone, TagSpecifications=spec, SecurityGroupIds=[self.group], **more)[0]

    def volume(self, classroom: str, seat: str) -> str:
        spec = [{"ResourceType": "volume", "Tags": tags(classroom, seat)}]
        return self.ec2.create_volume(AvailabilityZone=ZONES[0], Size=50, TagSpecifications=spec)["VolumeId"]

    def interface(self, classroom: str, seat: str) -> str:
        spec = [{"ResourceType": "network-interface", "Tags": tags(classroom, seat)}]
        made = self.ec2.create_network_interface(SubnetId=self.subnet, Groups=[self.group], TagSpecifications=spec)
        return made["NetworkInterface"]["NetworkInterfaceId"]

    def address(self, classroom: str) -> str:
        spec = [{"ResourceType": "elastic-ip", "Tags": tags(classroom)}]
        return self.ec2.allocate_address(Domain="vpc", TagSpecifications=spec)["AllocationId"]

    def physics(self, seats: int = 3) -> list[str]:
        """Make the class, seats in several zones."""
        self.access("physics")
        return [self.launch("physics", f"s{number:02}", ZONES[number % 3]) for number in range(1, seats + 1)]

    def found(self) -> list[dict]:
        """Return everything that there is, ended machines left out."""
        lists = [getattr(self.ec2, call)(**({"OwnerIds": ["self"]} if key == "Snapshots" else {}))[key] for call, key in LISTS.items()]
        machines = [one for group in lists[0] for one in group["Instances"] if one["State"]["Name"] != "terminated"]
        return machines + [item for items in lists[1:] for item in items]

    def of(self, classroom: str) -> list[dict]:
        return [item for item in self.found() if teardown.belongs(item, classroom)]

    def others(self) -> str:
        """Return all that is not physics', as one text."""
        rest = [json.dumps(item, default=str, sort_keys=True) for item in self.found() if not teardown.belongs(item, "physics")]
        there = " ".join(rest)
        named = [json.dumps(one, sort_keys=True) for one in self.ec2.describe_tags()["Tags"] if one["ResourceId"] in there]
        return "\n".join(sorted(rest + named))

    def run(self, check: bool = False, **options) -> dict:
        """End the class, and return what the module says."""
        return self.call(ec2_teardown, check, timeout=15, **options)

    def ledger(self, folder: Path, check: bool = False, **options) -> dict:
        """Keep the ledger, and return what the module says."""
        return self.call(ec2_cost_report, check, class_dir=str(folder), **options)

    def call(self, module: ModuleType, check: bool, **options) -> dict:
        """Run a module and return what it says; the others are as they were."""
        self.control("Calls", clear=True)
        begin = time.monotonic()
        done = running_module(module, {"classroom": "physics", **options, "_ansible_check_mode": check})
        self.seconds, self.calls = time.monotonic() - begin, self.control("Calls")
        self.control("Faults", clear=True)
        assert self.others() == self.before
        return done

    def complete(self) -> None:
        """The next run, with no fault, certifies."""
        self.control("Faults", clear=True)
        assert certified(self.run()) and self.of("physics") == []


def certified(done: dict) -> bool:
    return done["left"] == [] and "0 left of class physics. Searched: every kind" in done["msg"]


def left(done: dict) -> dict[str, str]:
    """Return what is left, by kind, with the reason."""
    assert not done["msg"].startswith("Certificate") and f"{len(done['left'])} left of" in done["msg"]
    return {one["kind"]: one["why"] for one in done["left"]}


@pytest.fixture
def account(simulated: Cloud, monkeypatch: pytest.MonkeyPatch) -> Account:
    """The account before physics has anything; the module is in no hurry only where that is the point."""
    simulated.control("Reset")
    for name, value in simulated.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ec2_teardown, "POLL", 0.1)
    return Account(simulated)


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the SDK ask once, so that a fault that lasts is met at once."""
    monkeypatch.setitem(ec2_client.PATIENT, "retries", {"total_max_attempts": 1})


def test_the_plan_names_everything_with_its_price_and_changes_nothing(account: Account) -> None:
    first = account.physics()[0]
    account.volume("physics", "s09")
    account.address("physics")
    had = account.of("physics")
    done = account.run(check=True)
    assert account.of("physics") == had and not {one for one in account.calls if one.split(":")[1][:8] != "Describe"} - {"rehearsal:Calls"}
    plan = "\n".join(done["lines"])
    assert "To be ended, of class physics: $1.606 an hour, estimated from prices of" in plan
    assert f"instance        s01   {first}" in plan and "disk 8 GiB, us-west-2b" in plan and "$0.532" in plan and "$0.005" in plan
    assert plan.count("free") == 2  # key pair and group; interfaces and disks go with their machines
    assert done["msg"] == "s01, s02, s03 with all work on them, 1 volume, 1 elastic-ip, 1 security-group, 1 key-pair"


def test_everything_of_the_class_ends_and_nothing_else(account: Account) -> None:
    first, *_ = account.physics()
    account.volume("physics", "s09")
    account.interface("physics", "s09")
    account.ec2.associate_address(AllocationId=account.address("physics"), InstanceId=first)
    account.address("physics")
    done = account.run()
    assert certified(done) and account.of("physics") == []
    assert sorted({one["kind"] for one in done["ending"]}) == sorted(["instance", *(kind.name for kind in teardown.KINDS)])
    done = account.run()
    assert certified(done) and done["changed"] is False


@pytest.mark.slow
def test_a_stopped_and_a_pending_machine_end_too(account: Account) -> None:
    first, *_ = account.physics()
    account.ec2.stop_instances(InstanceIds=[first])
    account.control("AddFault", action="Boot", delay=3.0)
    account.launch("physics", "s04")
    assert {one["State"]["Name"] for one in account.of("physics") if "State" in one and isinstance(one["State"], dict)} >= {
        "stopped",
        "pending",
    }
    assert certified(account.run()) and account.of("physics") == []


@pytest.mark.parametrize(
    "built", ["key", *(pytest.param(one, marks=pytest.mark.slow) for one in ("nothing", "access", "access and a volume"))]
)
def test_a_half_built_class(account: Account, built: str) -> None:
    if built == "key":
        account.key("physics")
    elif built != "nothing":
        account.access("physics")
    if built.endswith("volume"):
        account.volume("physics", "s01")
    done = account.run()
    assert certified(done) and done["changed"] == (built != "nothing")


def test_one_seat_ends_with_what_is_its_own(account: Account) -> None:
    account.physics()
    account.volume("physics", "s03")
    account.interface("physics", "s03")
    kept = [item for item in account.of("physics") if teardown.seat(item) != "s03"]
    done = account.run(only="s03")
    assert "0 left of s03 of class physics" in done["msg"] and account.of("physics") == kept
    assert "0 left of s03" in account.run(only="s03")["msg"]
    done = account.run(only="s02,s99", check=True)
    assert done["failed"] and done["msg"] == "-e seats= names s99, of which class physics has nothing at EC2."
    assert account.of("physics") == kept
    account.complete()


def test_of_two_machines_the_one_that_is_named_ends_with_its_own_disk_and_nothing_else(account: Account) -> None:
    first, *_ = account.physics()
    second = account.launch("physics", "s01")
    disk = account.volume("physics", "s01")
    had = {item.get("InstanceId") or item.get("VolumeId") for item in account.of("physics")}
    done = account.run(only="s01", machine=second, check=True)
    assert [one["id"] for one in done["ending"]] == [second] and f"of {second} of s01 of class physics" in done["lines"][0]
    done = account.run(only="s01", machine=second)
    assert f": 0 left of {second} of s01 of class physics." in done["msg"] and {one["id"] for one in done["ending"]} == {second}
    left_there = {item.get("InstanceId") or item.get("VolumeId") for item in account.of("physics")}
    assert second not in left_there and {first, disk} <= left_there and len(had - left_there) == 2  # the machine and its disk
    for name, words in (
        (first, "is not s02: its tag says s01."),
        ("i-0123456789abcdef0", "names no machine with the tag of class physics."),
    ):
        done = account.run(only="s02", machine=name)
        assert done["failed"] and words in done["msg"]
    account.complete()


def tagged(account: Account, name: str, classroom: str | None, seat: str | None) -> None:
    """Change what somebody can at the console: a machine's own tags, its Name among them, and not its disk's."""
    account.ec2.delete_tags(Resources=[name], Tags=[{"Key": key} for key in ("classroom:name", "classroom:seat", "Name")])
    new = [{"Key": key, "Value": value} for key, value in (("classroom:name", classroom), ("classroom:seat", seat)) if value]
    if new:
        account.ec2.create_tags(Resources=[name], Tags=new)


def test_a_machine_that_lost_its_class_is_left_and_named_and_ends_when_its_tag_is_back(account: Account) -> None:
    _, second, _ = account.physics()
    tagged(account, second, None, None)
    account.before = account.others()
    done = account.run(check=True)
    assert second not in {one["id"] for one in done["ending"]} and f"The machine of s02, {second}, has lost its tag" in "\n".join(
        done["lines"]
    )
    why = left(account.run())
    assert set(why) == {"instance", "security-group"} and f"Put it back: `aws ec2 create-tags --resources {second}" in why["instance"]
    assert account.seconds < 15, "it does not wait for what it leaves"
    tagged(account, second, "physics", "s02")
    account.before = account.others()
    account.complete()


def test_the_end_of_one_seat_leaves_what_was_another_s_until_it_is_named(account: Account) -> None:
    first, second, third = account.physics()
    tagged(account, second, "physics", "s01")
    done = account.run(only="s01")
    assert {one["id"] for one in done["ending"]} == {first} and left(done)["instance"].startswith(
        f"The machine of s02, {second}, has the tag"
    )
    done = account.run(only="s02")
    assert done["ending"] == [] and left(done)["instance"].startswith(f"The machine of s02, {second}, has the tag classroom:seat=s01.")
    done = account.run(only="s01", machine=second)
    assert ": 0 left of" in done["msg"] and {one["id"] for one in done["ending"]} == {second}
    assert third in {item.get("InstanceId") for item in account.of("physics")}
    account.complete()


# What is in the way, what is left because of it, and the words that say so.
FAULTS = {
    "denied group": ("DeleteSecurityGroup", "Denied", {"security-group"}, "may not call DeleteSecurityGroup: allow it in IAM"),
    "denied key": ("DeleteKeyPair", "Denied", {"key-pair"}, "may not call DeleteKeyPair"),
    "denied volume": ("DeleteVolume", "Denied", {"volume"}, "may not call DeleteVolume"),
    "denied machines": ("TerminateInstances", "Denied", {"instance", "security-group"}, "may not call TerminateInstances"),
    "denied list": ("DescribeAddresses", "Denied", {"elastic-ip"}, "may not call DescribeAddresses"),
    "denied search": ("DescribeTags", "Denied", {"tags"}, "may not call DescribeTags"),
    "500": ("DeleteSecurityGroup", "InternalError", {"security-group"}, "An internal error has occurred (InternalError)"),
    "503": ("TerminateInstances", "Unavailable", {"instance", "security-group"}, "The service is unavailable"),
    "throttled": ("DeleteKeyPair", "Throttled", {"key-pair"}, "Request limit exceeded"),
}

OFTEN = ("denied group",)


@pytest.mark.parametrize("case", [pytest.param(case, marks=[] if case in OFTEN else pytest.mark.slow) for case in FAULTS])
def test_what_is_refused_is_left_with_the_reason_and_does_not_keep_the_rest(account: Account, monkeypatch, case: str) -> None:
    action, code, kinds, words = FAULTS[case]
    impatient(monkeypatch)
    account.physics(seats=2)
    account.volume("physics", "s09")
    account.control("AddFault", action=action, code=code, count=None)
    why = left(account.run())
    assert set(why) == kinds and any(words in reason for reason in why.values())
    assert all("run the same command again" in reason for reason in why.values())
    account.complete()


@pytest.mark.slow
@pytest.mark.parametrize("code", ["Throttled", "InternalError", "Unavailable"])
@pytest.mark.parametrize("action", ["Describe*", "TerminateInstances", "Delete*"])
def test_what_passes_is_waited_for(account: Account, action: str, code: str) -> None:
    account.physics(seats=2)
    account.control("AddFault", action=action, code=code, count=2)
    assert certified(account.run())
    account.control("AddFault", action="DeleteSecurityGroup", lost_reply=True)
    account.access("physics")
    assert certified(account.run())


def test_what_stops_everything_is_told_and_the_next_run_completes(account: Account, monkeypatch) -> None:
    impatient(monkeypatch)
    account.physics(seats=2)
    account.control("AddFault", action="DescribeInstances", code="InternalError", skip=1, count=1)
    done = account.run()
    assert done["failed"] and done["msg"].endswith("When that is mended, run the same command again.")
    account.complete()


@pytest.mark.slow
def test_a_machine_that_is_protected_is_left_and_named_and_its_neighbours_are_not(account: Account) -> None:
    machines = account.physics(seats=7)
    kept = machines[3]
    account.ec2.modify_instance_attribute(InstanceId=kept, DisableApiTermination={"Value": True})
    done = account.run()
    why = left(done)
    assert {one["id"] for one in done["left"]} == {kept, account.group}
    assert f"protected against termination. Type `aws ec2 modify-instance-attribute --instance-id {kept} --no-disable" in why["instance"]
    assert "of this class still holds it" in why["security-group"]
    assert f"instance {kept} (s04), $0.532 an hour: It is protected" in "\n".join(done["lines"]) and "$0.532 an hour" in done["msg"]
    account.ec2.modify_instance_attribute(InstanceId=kept, DisableApiTermination={"Value": False})
    account.complete()


@pytest.mark.slow
def test_what_somebody_else_uses_is_left_and_named(account: Account) -> None:
    account.physics(seats=1)
    foreign = account.ec2.create_network_interface(SubnetId=account.subnet, Groups=[account.group])["NetworkInterface"][
        "NetworkInterfaceId"
    ]
    volume = account.volume("physics", "s01")
    elsewhere = account.cloud.in_zone(ZONES[0])[0]
    account.ec2.attach_volume(VolumeId=volume, InstanceId=elsewhere, Device="/dev/sdf")
    account.before = account.others()
    done = account.run()
    why = left(done)
    assert set(why) == {"security-group", "volume"}
    assert why["security-group"].startswith(f"{foreign} uses it, which does not end with it")
    assert why["volume"].startswith(f"{elsewhere} uses it")
    account.ec2.terminate_instances(InstanceIds=[elsewhere])
    account.ec2.delete_network_interface(NetworkInterfaceId=foreign)
    account.before = account.others()
    account.complete()


def test_one_machine_that_is_not_there_does_not_keep_a_batch(account: Account) -> None:
    account.physics(seats=3)
    account.control("AddFault", action="TerminateInstances", code="InvalidInstanceID.NotFound", status=400, count=2)
    assert certified(account.run())


def test_what_other_hands_have_deleted_is_no_matter(account: Account) -> None:
    first, *_ = account.physics()
    account.ec2.terminate_instances(InstanceIds=[first])
    account.ec2.delete_key_pair(KeyName="classroom-physics")
    # Deleted in the moment between the look and the call.
    account.control("AddFault", action="DeleteSecurityGroup", code="InvalidGroup.NotFound", status=400)
    done = account.run()
    assert certified(done) and first not in {one["id"] for one in done["ending"]}


@pytest.mark.slow
def test_a_machine_that_the_list_does_not_have_yet_is_not_forgotten(account: Account) -> None:
    account.physics(seats=1)
    account.control("AddFault", action="DescribeInstances", stale=60.0, count=2)
    assert certified(account.run()) and account.of("physics") == []


@pytest.mark.slow
def test_what_no_playbook_made_is_found_by_its_tag_and_left_to_people(account: Account) -> None:
    account.physics(seats=1)
    spec = [{"ResourceType": "snapshot", "Tags": tags("physics")}]
    machine = next(one["InstanceId"] for one in account.of("physics") if "ImageId" in one)
    image = account.ec2.create_image(InstanceId=machine, Name="kept", TagSpecifications=spec)["ImageId"]
    account.ec2.get_waiter("image_available").wait(ImageIds=[image], WaiterConfig={"Delay": 1})
    snapshot = account.ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    account.ec2.deregister_image(ImageId=image)  # its snapshot stays
    assert f"  snapshot {snapshot}, ? an hour: No playbook makes a snapshot. Delete it" in "\n".join(account.run(check=True)["lines"])
    done = account.run()
    assert "Delete it in the EC2 console if nobody needs it" in left(done)["snapshot"]
    account.ec2.delete_snapshot(SnapshotId=snapshot)
    account.ec2.delete_tags(Resources=[snapshot], Tags=[{"Key": "classroom:name"}])  # which EC2 does by itself
    account.complete()


@pytest.mark.parametrize("calls", [1, *(pytest.param(count, marks=pytest.mark.slow) for count in (2, 3, 4))])
def test_a_run_that_is_killed_is_completed_by_the_next(account: Account, calls: int) -> None:
    """Killed while the nth call that ends something is carried out."""
    account.physics(seats=2)
    account.volume("physics", "s09")
    account.control("AddFault", action="[TD]e[rl]*", delay=0.5, count=None)
    account.control("Calls", clear=True)
    with subprocess.Popen(alone(ec2_teardown, {"classroom": "physics"}, POLL=0.1), start_new_session=True) as killed:
        while sum(count for call, count in account.control("Calls").items() if call.startswith(("ec2:Terminate", "ec2:Delete"))) < calls:
            assert killed.poll() is None
            time.sleep(0.02)
        os.killpg(killed.pid, signal.SIGKILL)
    account.complete()


# --- the ledger ------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_starts_and_stops_are_kept_in_two_calls_a_look(account: Account, tmp_path: Path) -> None:
    folder = tmp_path / "class"
    first, second = account.physics(seats=2)
    assert account.ledger(folder, check=True)["changed"] and not folder.exists()
    assert account.ledger(folder)["changed"] and not account.ledger(folder)["changed"]
    assert {call: count for call, count in account.calls.items() if call.startswith("ec2:")} == {
        "ec2:DescribeInstances": 1,
        "ec2:DescribeVolumes": 1,
    }
    file = folder / "ledger.json"
    assert file.stat().st_mode & 0o777 == 0o600 and folder.stat().st_mode & 0o777 == 0o700
    account.ec2.stop_instances(InstanceIds=[first])
    account.ledger(folder)
    next_second()
    account.ec2.start_instances(InstanceIds=[first])
    account.ec2.terminate_instances(InstanceIds=[second])
    runs = account.ledger(folder)["runs"]
    assert [(run["seat"], run["instance_id"], bool(run["stopped"]), bool(run["ended"])) for run in runs] == [
        ("s01", first, True, False),
        ("s01", first, False, False),
        ("s02", second, True, True),
    ]
    assert not any(run["estimated"] for run in runs) and {run["disk_gib"] for run in runs} == {8}
    lines = account.ledger(folder, report="status")["lines"]
    assert lines[1].startswith("s01   running  g4dn.xlarge  us-west-2b  198.18.") and lines[2].startswith("s02   ended")
    assert lines[3].startswith("1 machine: $0.532 an hour now") and "s02" not in "".join(
        account.ledger(folder, report="status", only="s01")["lines"]
    )


@pytest.mark.slow
def test_a_bill_closes_a_class_and_the_next_of_that_name_begins_anew(account: Account, tmp_path: Path) -> None:
    account.physics(seats=2)
    account.ledger(tmp_path)
    assert "No bill: i-" in account.ledger(tmp_path, report="bill")["lines"][0]
    account.run()
    done = account.ledger(tmp_path, report="bill")
    (bill,), (old,) = tmp_path.glob("bill-*.csv"), tmp_path.glob("ledger-*.json")
    assert done["bill"] == str(bill) and len(bill.read_text().splitlines()) == 3 and not (tmp_path / "ledger.json").exists()
    # EC2 tells of the ended machines for an hour.
    assert account.ledger(tmp_path)["runs"] == [] and account.ledger(tmp_path, report="bill")["lines"] == [
        "No bill: no machine was seen from here."
    ]
    # Killed after the bill was written and before the ledger was set aside: the same bill again.
    text = bill.read_text()
    old.rename(tmp_path / "ledger.json")
    account.ledger(tmp_path, report="bill")
    assert list(tmp_path.glob("bill-*.csv")) == [bill] and bill.read_text() == text


def test_no_ledger_is_worth_a_class_that_does_not_end(account: Account, tmp_path: Path) -> None:
    account.physics(seats=1)
    (tmp_path / "ledger.json").write_text('{"runs": [{"seat"')
    done = account.ledger(tmp_path)
    assert "cannot be read: earlier costs are not counted. It is kept as unreadable-" in str(done["warnings"]) and len(done["runs"]) == 1
    assert len(list(tmp_path.glob("unreadable-*.json"))) == 1 and account.ledger(tmp_path)["changed"] is False
    done = account.ledger(tmp_path / "ledger.json" / "below")
    assert "failed" not in done and "What the class costs is not kept" in str(done["warnings"])


@pytest.mark.slow
def test_five_hundred_seats_end_with_a_call_for_a_hundred(account: Account) -> None:
    account.access("physics")
    for number in range(500):
        account.launch("physics", f"s{number:03}", ZONES[number % 3])
    account.control("Throttle", on=True)
    assert len(account.run(check=True)["ending"]) == 502
    print(f"plan: {account.seconds:.1f} s, {account.calls}")
    assert certified(account.call(ec2_teardown, False, timeout=300))
    print(f"500 seats: {account.seconds:.1f} s, {account.calls}")
    assert account.calls["ec2:TerminateInstances"] == 5 and sum(account.calls.values()) < 100
