"""An organiser of a class without hosts: real playbooks against the rehearsal's API alone, in an account with another class in it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import boto3

from rehearsal import state
from rehearsal.control import Control

ROOT = Path(__file__).parents[2]
ACCOUNT, REGION = "123456789012", "us-west-2"
# Two runs at a time are two classes, each with a folder of its own.
CLASSROOM = f"scarce_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
SIZE = "t3.large"


class Address(BaseHTTPRequestHandler):
    """Answers with the address that it was asked from, or so it says."""

    says = "192.0.2.7"

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.says.encode())

    def log_message(self, *_: object) -> None:
        pass


def labels(classroom: str, seat: str = "") -> list[dict[str, str]]:
    """Return the tags of something of a class, or of one of its seats."""
    tags = {"classroom:name": classroom} | ({"classroom:seat": seat} if seat else {})
    return [{"Key": key, "Value": value} for key, value in tags.items()]


class Organiser:
    """Somebody with a class, its roster in `roster`, and a neighbour, whose class has a seat s01, too."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))}
        self.environment = clean | dict(environment) | {"CLASSROOM": CLASSROOM}
        self.control, self.roster, self.settings = Control(environment), folder / "roster.csv", folder / "settings.json"
        keys = {"aws_access_key_id": environment["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"]}
        self.ec2 = boto3.client("ec2", REGION, endpoint_url=environment["AWS_ENDPOINT_URL"], **keys)
        ssm = boto3.client("ssm", REGION, endpoint_url=environment["AWS_ENDPOINT_URL"], **keys)
        self.image = ssm.get_parameter(Name="/aws/service/debian/release/12/latest/amd64")["Parameter"]["Value"]
        self.folder = ROOT / "classes" / f"{ACCOUNT}-{REGION}" / CLASSROOM
        self.begin()

    def begin(self) -> None:
        """Begin anew, in an account that has nothing but the neighbour's class and no limits."""
        self.control("Reset")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.enrol("s01", "s02")
        self.move_in("other")
        self.neighbour = self.of("other")

    def enrol(self, *seats: str, names: Mapping[str, str] | None = None) -> None:
        """Write the roster, in this order."""
        people = dict.fromkeys(seats, "Ada") | dict(names or {})
        self.roster.write_text("seat,name,email\n" + "".join(f"{seat},{name},{seat}@example.org\n" for seat, name in people.items()))

    def move_in(self, classroom: str) -> None:
        """Make what a class has: key, group, a disk by itself, and a machine with disk and interface for its seat s01."""
        named = {"TagSpecifications": [{"ResourceType": "key-pair", "Tags": labels(classroom)}]}
        self.ec2.create_key_pair(KeyName=f"classroom-{classroom}", **named)
        named = {"TagSpecifications": [{"ResourceType": "security-group", "Tags": labels(classroom)}]}
        group = self.ec2.create_security_group(GroupName=f"classroom-{classroom}", Description="x", **named)["GroupId"]
        named = {"TagSpecifications": [{"ResourceType": "volume", "Tags": labels(classroom, "s01")}]}
        self.ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=9, **named)
        self.add("s01", classroom, SecurityGroupIds=[group], KeyName=f"classroom-{classroom}")

    def add(self, seat: str, classroom: str = CLASSROOM, **more) -> str:
        """Launch a machine for a seat at the console, and return its id."""
        tags = [{"ResourceType": kind, "Tags": labels(classroom, seat)} for kind in ("instance", "volume", "network-interface")]
        made = self.ec2.run_instances(ImageId=self.image, InstanceType=SIZE, MinCount=1, MaxCount=1, TagSpecifications=tags, **more)
        return made["Instances"][0]["InstanceId"]

    def type(self, *command: str) -> list[str]:
        return ["ansible-playbook", *command, "-e", f"@{self.settings}"]

    def run(self, *command: str, **environment: str) -> tuple[int, str]:
        """Run a playbook; return its exit status and what it printed. Faults end with it; nothing of the neighbour's may have changed."""
        shell = self.environment | environment
        done = subprocess.run(
            self.type(*command), cwd=ROOT, env=shell, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False
        )
        self.control("Faults", clear=True)
        self.hold()
        return done.returncode, done.stdout + done.stderr

    def kill(self, action: str, *command: str) -> None:
        """Begin a run and kill it, and all that it started, right after a call."""
        self.control("Calls", clear=True)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        with subprocess.Popen(self.type(*command), cwd=ROOT, env=self.environment, **quiet) as run:
            while action not in self.control("Calls"):
                assert run.poll() is None, f"it never called {action}"
                time.sleep(0.02)
            os.killpg(run.pid, signal.SIGKILL)
        self.hold()

    def of(self, classroom: str) -> dict[str, list]:
        """Return everything that EC2 knows of a class, ended machines as well."""
        own = [{"Name": "tag:classroom:name", "Values": [classroom]}]
        reservations = self.ec2.get_paginator("describe_instances").paginate(Filters=own).build_full_result()["Reservations"]
        return {
            "machines": [machine for reservation in reservations for machine in reservation["Instances"]],
            "volumes": self.ec2.describe_volumes(Filters=own)["Volumes"],
            "interfaces": self.ec2.describe_network_interfaces(Filters=own)["NetworkInterfaces"],
            "groups": self.ec2.describe_security_groups(Filters=own)["SecurityGroups"],
            "keys": self.ec2.describe_key_pairs(Filters=own)["KeyPairs"],
        }

    def is_gone(self) -> bool:
        """Tell whether nothing of the class is left but machines that are ended."""
        left = self.of(CLASSROOM)
        return {machine["State"]["Name"] for machine in left.pop("machines")} <= {"terminated"} and not any(left.values())

    def machines(self, *states: str) -> list[tuple[str, str]]:
        """Return the machines of the class that are in a state, running or about to without one, each with its seat."""
        states = states or ("pending", "running")
        own = [{"Name": "tag:classroom:name", "Values": [CLASSROOM]}, {"Name": "instance-state-name", "Values": list(states)}]
        reservations = self.ec2.get_paginator("describe_instances").paginate(Filters=own).build_full_result()["Reservations"]
        found = [machine for reservation in reservations for machine in reservation["Instances"]]
        return sorted((tag["Value"], one["InstanceId"]) for one in found for tag in one["Tags"] if tag["Key"] == "classroom:seat")

    def seats(self, *states: str) -> dict[str, str]:
        """Return the machine of each seat in a state, which is one."""
        found = self.machines(*states)
        assert len(dict(found)) == len(found), found
        return dict(found)

    def networks(self) -> set[str]:
        """Return the networks that may reach Jupyter."""
        (group,) = self.of(CLASSROOM)["groups"]
        return {one["CidrIp"] for rule in group["IpPermissions"] if rule["FromPort"] == 8888 for one in rule["IpRanges"]}

    def hold(self) -> None:
        """Check what holds after every run: no machine without a seat, and the neighbour's class as it was."""
        reservations = self.ec2.get_paginator("describe_instances").paginate().build_full_result()["Reservations"]
        tags = [{tag["Key"] for tag in machine.get("Tags", [])} for one in reservations for machine in one["Instances"]]
        assert [own for own in tags if not {"classroom:name", "classroom:seat"} <= own] == []
        assert self.of("other") == self.neighbour


@contextmanager
def organised(folder: Path) -> Iterator[Organiser]:
    """Give an organiser an account, and leave nothing of the class on this machine."""
    place = state.without_hosts(folder / "place")
    own = ["--no-hosts", "--state", str(place.folder)]
    subprocess.run([sys.executable, "-m", "rehearsal", "up", *own], cwd=ROOT, capture_output=True, check=True, timeout=120)
    page = HTTPServer(("127.0.0.1", 0), Address)
    threading.Thread(target=page.serve_forever, args=(0.02,), daemon=True).start()
    organiser = Organiser(place.environment(), folder)
    settings = {
        "classroom_account": ACCOUNT,
        "classroom_roster": os.path.relpath(organiser.roster, ROOT),
        "classroom_instance_type": SIZE,
        "classroom_image": "/aws/service/debian/release/12/latest/amd64",
        "classroom_stack": "minimal",
        "classroom_course_repository": "https://example.org/course.git",
        "classroom_allowed_cidrs": ["198.51.100.0/24"],
        "classroom_access_address_source": f"http://127.0.0.1:{page.server_port}",
        "classroom_ends": "never",
        "classroom_confirm": True,
    }
    organiser.settings.write_text(json.dumps(settings))
    yield organiser
    page.shutdown()
    shutil.rmtree(organiser.folder, ignore_errors=True)
    (ROOT / "classes" / f".{CLASSROOM}.turn").unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "rehearsal", "down", *own], cwd=ROOT, capture_output=True, check=True, timeout=60)
