"""When AWS has no machines: real runs of the playbooks against the rehearsal's API alone, by message, exit status and what exists."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import boto3
import pytest

from rehearsal import state
from rehearsal.control import Control

pytestmark = pytest.mark.slow  # some fifteen playbook runs
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "classes/123456789012-us-west-2/scarce"


class Address(BaseHTTPRequestHandler):
    """Answers with the address that it was asked from, or so it says."""

    says = "192.0.2.7"

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.says.encode())

    def log_message(self, *_: object) -> None:
        pass


class Organiser:
    """Somebody with a class of two, s01 and s02."""

    def __init__(self, environment: dict[str, str], settings: Path) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))}
        self.environment, self.settings = clean | environment | {"CLASSROOM": "scarce"}, settings
        self.control = Control(environment)
        keys = {"aws_access_key_id": environment["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"]}
        self.ec2 = boto3.client("ec2", environment["AWS_REGION"], endpoint_url=environment["AWS_ENDPOINT_URL"], **keys)

    def type(self, *command: str) -> list[str]:
        return ["ansible-playbook", *command, "-e", f"@{self.settings}"]

    def run(self, *command: str) -> tuple[int, str]:
        """Run a playbook; return its exit status and what it printed."""
        done = subprocess.run(self.type(*command), cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout + done.stderr

    def machines(self) -> list[tuple[str, str]]:
        """Return the machines that run, each with its seat."""
        only = [{"Name": "instance-state-name", "Values": ["pending", "running"]}, {"Name": "tag:classroom:name", "Values": ["scarce"]}]
        found = [one for group in self.ec2.describe_instances(Filters=only)["Reservations"] for one in group["Instances"]]
        return sorted((tag["Value"], one["InstanceId"]) for one in found for tag in one["Tags"] if tag["Key"] == "classroom:seat")

    def seats(self) -> dict[str, str]:
        """Return the machine of each seat, which is one."""
        found = self.machines()
        assert len(dict(found)) == len(found)
        return dict(found)

    def see(self, instance_id: str) -> dict:
        """Return a machine as EC2 describes it."""
        return self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]

    def add(self, seat: str, classroom: str = "scarce") -> str:
        """Launch a machine for a seat at the console, and return its id."""
        image = self.ec2.describe_instances()["Reservations"][0]["Instances"][0]["ImageId"]
        labels = [{"Key": "classroom:name", "Value": classroom}, {"Key": "classroom:seat", "Value": seat}]
        tags = [{"ResourceType": "instance", "Tags": labels}]
        (made,) = self.ec2.run_instances(ImageId=image, InstanceType="t3.large", MinCount=1, MaxCount=1, TagSpecifications=tags)[
            "Instances"
        ]
        return made["InstanceId"]

    def networks(self) -> set[str]:
        """Return the networks that may reach Jupyter."""
        (group,) = self.ec2.describe_security_groups(Filters=[{"Name": "tag:classroom:name", "Values": ["scarce"]}])["SecurityGroups"]
        return {one["CidrIp"] for rule in group["IpPermissions"] if rule["FromPort"] == 8888 for one in rule["IpRanges"]}


@pytest.fixture
def organiser(tmp_path: Path) -> Iterator[Organiser]:
    place = state.without_hosts(tmp_path / "place")
    own = ["--no-hosts", "--state", str(place.folder)]
    subprocess.run([sys.executable, "-m", "rehearsal", "up", *own], cwd=ROOT, capture_output=True, check=True, timeout=120)
    page = HTTPServer(("127.0.0.1", 0), Address)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    settings = {
        "classroom_account": "123456789012",
        "classroom_roster": "rosters/rehearsal.csv",
        "classroom_instance_type": "t3.large",
        "classroom_image": "/aws/service/debian/release/12/latest/amd64",
        "classroom_stack": "minimal",
        "classroom_course_repository": "https://example.org/course.git",
        "classroom_allowed_cidrs": ["198.51.100.0/24"],
        "classroom_access_address_source": f"http://127.0.0.1:{page.server_port}",
        "classroom_ends": "never",
        "classroom_confirm": True,
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    yield Organiser(place.environment(), tmp_path / "settings.json")
    page.shutdown()
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "rehearsal", "down", *own], cwd=ROOT, capture_output=True, check=True, timeout=60)


def test_a_run_without_capacity_says_so_and_the_next_fills_the_gap(organiser: Organiser) -> None:
    organiser.control("Capacity", types="*", zones="*", room=0)
    status, said = organiser.run("playbooks/provision.yml")
    free = "AWS has no t3.large free in us-west-2a, us-west-2b, us-west-2c, us-west-2d."
    assert status == 2 and f"localhost: Not launched: s01, s02. {free} Run the same command again later" in said
    assert f"s01   -        NOT PROVEN: not launched: {free}" in said
    assert organiser.seats() == {}

    organiser.control("Capacity", types="t3.large", zones="us-west-2b", room=1)
    status, said = organiser.run("playbooks/provision.yml")
    first = organiser.seats()
    (there,), (gap,) = first, {"s01", "s02"} - set(first)
    assert status == 2 and f"localhost: Not launched: {gap}. {free}" in said

    # All of site.yml goes on with the seat that there is.
    with subprocess.Popen(organiser.type("site.yml"), cwd=ROOT, env=organiser.environment, stdout=subprocess.PIPE, text=True) as going:
        lines = []
        while not lines or not lines[-1].startswith("PLAY [Configure the seats]"):
            lines.append(next(going.stdout))
        going.kill()
    assert f"  Not launched: {gap}. {free}" in "".join(lines) and "failed" not in "".join(lines)

    organiser.control("Capacity", clear=True)
    status, said = organiser.run("playbooks/provision.yml", "--check")
    assert status == 0 and f"{gap}: to be launched, t3.large" in said and organiser.seats() == first
    status, said = organiser.run("playbooks/provision.yml")
    assert status == 0 and set(organiser.seats()) == {"s01", "s02"} and organiser.seats()[there] == first[there]
    status, said = organiser.run("playbooks/provision.yml")
    assert status == 0 and "changed=0" in said


def test_access_opens_the_class_to_the_network_of_the_morning(organiser: Organiser, monkeypatch: pytest.MonkeyPatch) -> None:
    status, said = organiser.run("playbooks/access.yml", "-e", "here=true")
    assert status == 2 and "Class scarce has no security group yet. Type `ansible-playbook site.yml`" in said
    assert organiser.run("playbooks/provision.yml")[0] == 0
    before = organiser.seats()
    assert organiser.networks() == {"198.51.100.0/24", "192.0.2.7/32"}
    monkeypatch.setattr(Address, "says", "203.0.113.9")
    organiser.control("Calls", clear=True)
    status, said = organiser.run("playbooks/access.yml", "-e", "here=true")
    assert status == 0 and organiser.networks() == {"198.51.100.0/24", "192.0.2.7/32", "203.0.113.9/32"}
    assert not {"ec2:RunInstances", "ec2:StartInstances", "ec2:CreateTags"} & set(organiser.control("Calls"))
    assert "changed=0" in organiser.run("playbooks/access.yml", "-e", "here=true")[1]
    # A later run from elsewhere keeps it.
    monkeypatch.setattr(Address, "says", "192.0.2.8")
    assert organiser.run("playbooks/provision.yml")[0] == 0
    assert organiser.networks() == {"198.51.100.0/24", "203.0.113.9/32", "192.0.2.8/32"} and organiser.seats() == before


def test_a_second_machine_of_a_seat_is_told_and_ended_unless_it_was_proven(organiser: Organiser) -> None:
    assert organiser.run("playbooks/provision.yml")[0] == 0
    before = organiser.seats()
    time.sleep(1.1)  # EC2's times are whole seconds
    younger = organiser.add("s01")
    status, said = organiser.run("playbooks/provision.yml")
    assert status == 0 and f"s01: has a second machine, {younger}, never proven, to be ended" in said
    assert organiser.seats() == before
    younger = organiser.add("s01")
    (FOLDER / "seats/s01").mkdir(parents=True)
    (FOLDER / "seats/s01/proof.json").write_text(json.dumps({"instance_id": younger}))
    status, said = organiser.run("playbooks/provision.yml")
    assert status == 2 and f"localhost: Seat s01 has two machines, {before['s01']} and {younger}: end the wrong one" in said
    assert organiser.machines() == sorted([*before.items(), ("s01", younger)])
