"""A class on the rehearsal's cloud, driven as its organiser drives it: the same commands, the same environment, real hosts."""

import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import boto3
import yaml

ROOT = Path(__file__).parents[2]
# A play in which each seat goes its own way tells a task in the line of its result.
LINE = r"^(?:ok|changed): \[{host}(?: -> \S+)?\] (\w+) : (.+)$"
INCLUDED = r"^included: \S+/roles/(\w+)/tasks/(\w+)\.yml for .*\b{host}\b"
# With -v a task has a banner, and all that is known of a result below it.
TASK = re.compile(r"^TASK \[(\w+) : (.+)\] \*+$", re.M)
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.M)


@dataclass(frozen=True)
class Run:
    """What one ansible-playbook command did: exit status, everything printed, and changed tasks by host."""

    status: int
    output: str
    seconds: float

    @property
    def changed(self) -> dict[str, int]:
        return {host: int(changed) for host, _, changed, _, _ in RECAP.findall(self.output)}

    @property
    def tasks(self) -> dict[str, int]:
        return {host: int(ok) for host, ok, _, _, _ in RECAP.findall(self.output)}

    def executed(self, host: str, roles: set[str]) -> list[str]:
        """Tasks of some roles that were run on a host, each with its role; a skipped one is not printed. A loop is one."""
        found = [pair for told in (LINE, INCLUDED) for pair in re.findall(told.format(host=re.escape(host)), self.output, re.M)]
        verbose = re.compile(rf"^(?:ok|changed): \[{re.escape(host)}(?: -> \S+)?\] =>", re.M)
        role_name_and_what = TASK.split(self.output)[1:]
        told = zip(role_name_and_what[::3], role_name_and_what[1::3], role_name_and_what[2::3], strict=True)
        found += dict.fromkeys((role, name) for role, name, what in told if verbose.search(what))
        tasks = [f"{role}: {name}" for role, name in found if role in roles]
        loops = dict.fromkeys(task.partition(" (item=")[0] for task in tasks if " (item=" in task)
        return [*loops, *(task for task in tasks if " (item=" not in task)]


@dataclass
class Classroom:
    """The class that CLASSROOM names, as seen from the organiser's keyboard."""

    environment: dict[str, str]

    @property
    def name(self) -> str:
        return self.environment["CLASSROOM"]

    def play(self, playbook: str, *arguments: str, **environment: str | None) -> Run:
        """Run a playbook; a value of None takes a variable out of the environment. Raises TimeoutExpired after 15 minutes."""
        merged = {**self.environment, **environment}
        command = ["ansible-playbook", playbook, *arguments]
        start = time.monotonic()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={key: value for key, value in merged.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        return Run(done.returncode, done.stdout, time.monotonic() - start)

    def client(self, service: str):
        return boto3.Session(
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=self.environment["AWS_REGION"],
        ).client(service, endpoint_url=self.environment["AWS_ENDPOINT_URL"])

    def instances(self, classroom: str = "") -> dict[str, dict]:
        """Live instances of a class, of this one without a name, by seat."""
        filters = [
            {"Name": "tag:classroom:name", "Values": [classroom or self.name]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
        ]
        pages = self.client("ec2").get_paginator("describe_instances").paginate(Filters=filters)
        found = [one for page in pages for group in page["Reservations"] for one in group["Instances"]]
        return {tags(one)["classroom:seat"]: one for one in found}

    @property
    def folder(self) -> Path:
        return ROOT / "classes" / f"123456789012-{self.environment['AWS_REGION']}" / self.name

    @property
    def settings(self) -> dict:
        """What the organiser decided: the defaults, then this class's own."""
        files = [ROOT / "group_vars/all/classroom.yml", ROOT / f"group_vars/classroom_{self.name}.yml"]
        return {key: value for file in files for key, value in yaml.safe_load(file.read_text()).items()}

    def proof(self, seat: str) -> dict:
        return json.loads((self.folder / "seats" / seat / "proof.json").read_text())

    def ssh(self, seat: str, command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command, which reads a text, as the student on a seat, with the class's key and known hosts."""
        instance = self.instances()[seat]
        options = [
            f"HostKeyAlias={instance['InstanceId']}",
            f"UserKnownHostsFile={self.folder / 'known_hosts'}",
            "StrictHostKeyChecking=yes",
            "ConnectTimeout=10",
        ]
        flags = [part for option in options for part in ("-o", option)]
        target = f"ubuntu@{instance['PublicIpAddress']}"
        return subprocess.run(
            ["ssh", "-i", str(self.folder / "id_ed25519"), *flags, target, command],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
        )


def tags(instance: dict) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
