"""The rehearsal's API alone, as SDKs, commands and this project's modules meet it: what the tests of them share."""

from __future__ import annotations

import ctypes
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache, partial
from multiprocessing import Pipe, get_context
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import boto3
import pytest
from ansible.module_utils import _internal
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args
from botocore import loaders
from botocore.config import Config

from rehearsal.control import Control

ROOT = Path(__file__).parents[2]
NEW_MOUNTS = 0x20000  # CLONE_NEWNS, unshare(2)
DEBIAN = "/aws/service/debian/release/12/latest/amd64"
SIZE = "g4dn.xlarge"  # 4 vCPUs, offered in us-west-2 a, b and c
ZONES = ["us-west-2a", "us-west-2b", "us-west-2c"]

# Each session of an SDK lists and parses its descriptions of the services anew, which takes longer than what most tests ask: here once a
# process.
loaders.JSONFileLoader.load_file = staticmethod(cache(partial(loaders.JSONFileLoader.load_file, loaders.JSONFileLoader())))
every = cache(loaders.Loader().list_available_services)
loaders.Loader.list_available_services = lambda self, type_name: every(type_name)


class Cloud:
    """One cloud, its SDK clients, its control and its commands."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.control = Control(environment)
        session = boto3.Session(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
        once = Config(retries={"total_max_attempts": 1}, max_pool_connections=20)
        where = {"region_name": environment["AWS_REGION"], "endpoint_url": environment["AWS_ENDPOINT_URL"], "config": once}
        self.ec2, self.ssm, self.sts, self.quotas = (session.client(name, **where) for name in ("ec2", "ssm", "sts", "service-quotas"))
        self.image = self.ssm.get_parameter(Name=DEBIAN)["Parameter"]["Value"]

    def run(self, least: int = 1, most: int = 1, **extra) -> list[str]:
        """Launch instances and return their ids."""
        wanted = {"ImageId": self.image, "InstanceType": SIZE, "MinCount": least, "MaxCount": most} | extra
        return [one["InstanceId"] for one in self.ec2.run_instances(**wanted)["Instances"]]

    def in_zone(self, zone: str, least: int = 1, most: int = 1, **extra) -> list[str]:
        return self.run(least, most, Placement={"AvailabilityZone": zone}, **extra)

    def instances(self, **filters) -> list[dict]:
        pages = self.ec2.get_paginator("describe_instances").paginate(**filters)
        return [one for page in pages for group in page["Reservations"] for one in group["Instances"]]

    def see(self, instance_id: str) -> dict:
        return self.instances(InstanceIds=[instance_id])[0]

    def command(self, *arguments: str) -> str:
        """Run `python -m rehearsal` in a shell that points at this cloud."""
        return rehearsal(*arguments, **self.environment)


def rehearsal(*arguments: str, **environment: str) -> str:
    """Run `python -m rehearsal` and return what it prints."""
    command = [sys.executable, "-m", "rehearsal", *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=90)
    return done.stdout + done.stderr


@contextmanager
def as_on_a_seat() -> Iterator[None]:
    """Let a module return its warnings, which it hands to the screen where Ansible's controller is loaded in the same process."""
    with patch.object(_internal, "is_controller", False):
        warnings._global_warnings.clear()
        yield


def running_module(module: ModuleType, arguments: dict) -> dict:
    """Run a module of Ansible's in this process, as Ansible runs it, and return what it says; its exit status says the same."""
    with as_on_a_seat(), patch_module_args(arguments), redirect_stdout(io.StringIO()) as answer, pytest.raises(SystemExit) as ended:
        module.main()
    done = json.loads(answer.getvalue())
    assert bool(ended.value.code) == bool(done.get("failed"))
    return done


class Forked(get_context("fork").Process):
    """A module of Ansible's in a process and group of its own, which needs not import anew what this one has."""

    def __init__(self, module: ModuleType, arguments: dict, user: int = 0) -> None:
        super().__init__()
        self.module, self.arguments, self.user = module, arguments, user
        self.heard, self.said = Pipe(duplex=False)
        self.start()
        self.said.close()

    def run(self) -> None:
        os.setsid()
        if self.user:
            os.setgroups([])
            os.setgid(self.user)
            os.setuid(self.user)
        self.said.send(running_module(self.module, self.arguments))

    def result(self) -> dict:
        """Wait until it has ended well, and return what it says."""
        said = self.heard.recv()
        self.join()
        assert self.exitcode == 0
        return said


def alone(module: ModuleType, arguments: dict, **constants: float) -> list[str]:
    """Return the command that runs a module in a process of its own, with other constants where it is to be in more of a hurry."""
    code = [
        "import json, sys",
        "from ansible.module_utils.testing import patch_module_args",
        f"from {module.__name__.rpartition('.')[0]} import {module.__name__.rpartition('.')[2]} as module",
        *(f"module.{name} = {value}" for name, value in constants.items()),
        "with patch_module_args(json.loads(sys.argv[1])): module.main()",
    ]
    return [sys.executable, "-c", "\n".join(code), json.dumps(arguments)]


def next_second() -> None:
    """Wait until EC2's times tell what comes next from what was: they are whole seconds, and nothing but the clock brings the next."""
    time.sleep(1.01 - time.time() % 1)


def on_disk(folder: Path, options: str, work: Callable[[], object]) -> object:
    """Return what work returns in a process for which a disk of its own is mounted on a folder, as `size=1m`."""
    heard, said = Pipe(duplex=False)

    def run() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(NEW_MOUNTS):
            said.send(None)
            return
        for command in (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", options, "none", str(folder)]):
            subprocess.run(["mount", *command], check=True)
        said.send(work())

    process = get_context("fork").Process(target=run)
    process.start()
    said.close()
    told = heard.recv()
    process.join()
    if told is None:
        pytest.skip("only root mounts disks")
    return told
