"""What a class is and costs, and its end: real runs of status.yml and teardown.yml, by message, exit status and what exists."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from organiser import ACCOUNT, CLASSROOM, REGION, ROOT, Organiser, organised

FOLDER = ROOT / "classes" / f"{ACCOUNT}-{REGION}" / CLASSROOM
OTHER = FOLDER.with_name("other")


@pytest.fixture
def organiser(tmp_path: Path) -> Iterator[Organiser]:
    with organised(tmp_path) as somebody:
        yield somebody


@pytest.fixture
def other(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment of someone whose class is other."""
    yield environment | {"CLASSROOM": "other"}
    shutil.rmtree(OTHER, ignore_errors=True)


def status(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    command = ["ansible-playbook", "playbooks/status.yml", "-e", "classroom_account=123456789012", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_status_tells_what_a_class_is_and_costs(other: dict[str, str]) -> None:
    code, said = status(other, "-e", "seats=s01")
    assert code == 0 and "s01   running  t3.large  us-west-2" in said and "1 machine: $0.0" in said, said
    assert "estimated from prices of" in said and said.count("s01") == 1
    file = OTHER / "ledger.json"
    (run,) = json.loads(file.read_text())["runs"]
    assert run["seat"] == "s01" and run["stopped"] == "" and file.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_status_changes_nothing_that_it_knows_and_names_a_seat_that_is_not_there(other: dict[str, str]) -> None:
    assert status(other)[0] == 0
    assert "changed=0" in status(other)[1]
    code, said = status(other, "-e", "seats=s09")
    assert code == 2 and "localhost: -e seats= names s09, but class other has s01." in said


@pytest.mark.slow
def test_status_of_a_class_without_seats(environment: dict[str, str]) -> None:
    code, said = status(environment | {"CLASSROOM": "empty"})
    assert code == 0 and "No machine: $0.000 an hour now, $0.00 so far" in said
    assert not FOLDER.with_name("empty").exists()


# --- the end, with what can go wrong ---------------------------------------------------------------------------------


class Neighbour:
    """Another class in the same account, with a seat s01, key, group and volume of its own."""

    def __init__(self, organiser: Organiser) -> None:
        self.ec2 = organiser.ec2
        labels = [{"Key": "classroom:name", "Value": "beside"}, {"Key": "classroom:seat", "Value": "s01"}]
        kinds = {kind: [{"ResourceType": kind, "Tags": labels}] for kind in ("instance", "volume", "key-pair", "security-group")}
        self.ec2.create_key_pair(KeyName="classroom-beside", TagSpecifications=kinds["key-pair"])
        group = self.ec2.create_security_group(GroupName="classroom-beside", Description="x", TagSpecifications=kinds["security-group"])[
            "GroupId"
        ]
        image = self.ec2.describe_images(Filters=[{"Name": "state", "Values": ["available"]}])["Images"][0]["ImageId"]
        specs = kinds["instance"] + kinds["volume"]
        self.ec2.run_instances(
            ImageId=image, InstanceType="t3.large", MinCount=1, MaxCount=1, SecurityGroupIds=[group], TagSpecifications=specs
        )
        self.ec2.create_volume(AvailabilityZone="us-west-2a", Size=9, TagSpecifications=kinds["volume"])
        self.before = self.all()

    def all(self) -> str:
        return self.of("beside")

    def seats(self, classroom: str) -> list[str]:
        """Return the machines of a class's seats, in the seats' order."""
        groups = json.loads(self.of(classroom))[0]
        alive = [(one["Tags"], one["InstanceId"]) for group in groups for one in group["Instances"]]
        return [name for _, name in sorted((tag["Value"], name) for tags, name in alive for tag in tags if tag["Key"] == "classroom:seat")]

    def of(self, classroom: str) -> str:
        """Return everything that a class has, ended machines left out."""
        only = [{"Name": "tag:classroom:name", "Values": [classroom]}]
        alive = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped", "shutting-down"]}]
        lists = [self.ec2.describe_instances(Filters=only + alive)["Reservations"]]
        for call, key in (("volumes", "Volumes"), ("key_pairs", "KeyPairs"), ("security_groups", "SecurityGroups")):
            lists.append(getattr(self.ec2, f"describe_{call}")(Filters=only)[key])
        return json.dumps(lists, default=str, sort_keys=True)


NOTHING = "[[], [], [], []]"
END = ("playbooks/teardown.yml", "-e", "confirm=true")


@pytest.mark.slow
def test_a_class_ends_with_its_certificate_and_bill_in_spite_of_all(organiser: Organiser) -> None:
    neighbour = Neighbour(organiser)
    assert organiser.run("playbooks/provision.yml")[0] == 0
    first, second = neighbour.seats(CLASSROOM)
    code, said = organiser.run("playbooks/teardown.yml")
    assert (
        code == 2
        and f"instance        s01   {first}" in said
        and "-e confirm=true" in said
        and neighbour.seats(CLASSROOM) == [first, second]
    )

    # A seat is stopped by its student, ended by hand, and forgotten; the other is protected; the group may not be deleted.
    organiser.ec2.terminate_instances(InstanceIds=[first])
    organiser.ec2.modify_instance_attribute(InstanceId=second, DisableApiTermination={"Value": True})
    organiser.control("AddFault", action="DeleteKeyPair", code="Denied", count=None)
    code, said = organiser.run(*END)
    assert code == 2 and f"instance {second} (s02), $0.099 an hour: It is protected against termination" in said
    assert (
        "may not call DeleteKeyPair: allow it in IAM" in said
        and "localhost: No certificate" in said
        and f"3 left of class {CLASSROOM}" in said
    )
    assert (FOLDER / "secret").exists() and list(FOLDER.glob("bill-*")) == [] and neighbour.all() == neighbour.before

    organiser.ec2.modify_instance_attribute(InstanceId=second, DisableApiTermination={"Value": False})
    organiser.control("Faults", clear=True)
    # Killed while it ends things.
    organiser.control("AddFault", action="TerminateInstances", delay=1.0)
    organiser.control("Calls", clear=True)
    with subprocess.Popen(
        organiser.type(*END), cwd=ROOT, env=organiser.environment, stdout=subprocess.DEVNULL, start_new_session=True
    ) as going:
        while not organiser.control("Calls").get("ec2:TerminateInstances"):
            assert going.poll() is None
            time.sleep(0.1)
        os.killpg(going.pid, signal.SIGKILL)
    code, said = organiser.run(*END)
    assert (
        code == 0
        and f"0 left of class {CLASSROOM}" in said
        and f"Bill of class {CLASSROOM}, an estimate: $0." in said
        and "Cost Explorer" in said
    )
    assert neighbour.of(CLASSROOM) == NOTHING and neighbour.all() == neighbour.before
    (bill,), (old,) = FOLDER.glob("bill-*.csv"), FOLDER.glob("ledger-*.json")
    assert [line["seat"] for line in csv.DictReader(bill.open())] == ["s01", "s02"]
    assert {path.name for path in FOLDER.iterdir()} == {bill.name, old.name} and bill.stat().st_mode & 0o777 == 0o600

    # The same once more; then a class of that name begins anew, with a ledger of its own.
    code, said = organiser.run(*END)
    assert code == 0 and "changed=0" in said and f"0 left of class {CLASSROOM}" in said
    assert organiser.run("playbooks/provision.yml")[0] == 0
    assert {run["instance_id"] for run in json.loads((FOLDER / "ledger.json").read_text())["runs"]} == set(neighbour.seats(CLASSROOM))
    assert organiser.run(*END, "-e", "seats=s01")[0] == 0 and len(neighbour.seats(CLASSROOM)) == 1
    assert neighbour.all() == neighbour.before and bill.exists()


@pytest.mark.slow
def test_what_a_stop_and_a_start_cost_is_kept(organiser: Organiser) -> None:
    assert organiser.run("playbooks/provision.yml")[0] == 0
    assert organiser.run("playbooks/stop.yml")[0] == 0
    runs = json.loads((FOLDER / "ledger.json").read_text())["runs"]
    assert [run["seat"] for run in runs] == ["s01", "s02"] and all(run["stopped"] and not run["estimated"] for run in runs)
    assert organiser.run("playbooks/provision.yml", "-e", "seats=s02")[0] == 0
    runs = json.loads((FOLDER / "ledger.json").read_text())["runs"]
    assert [(run["seat"], bool(run["stopped"])) for run in runs] == [("s01", True), ("s02", True), ("s02", False)]
    assert "changed=0" in organiser.run("playbooks/provision.yml", "-e", "seats=s02")[1]
    code, said = organiser.run("playbooks/status.yml")
    assert code == 0 and "s01   stopped  t3.large" in said and "s02   running  t3.large" in said
