"""Two clouds that several folders of tests share: the rehearsal's API without hosts, and moto alone for tests that run real Ansible.

Each is a process of its own, as the rehearsal changes the moto of a process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import boto3
import pytest

from rehearsal import state
from tests.support.simulated_hosts import Cloud, rehearsal

REGION = "us-west-2"
IMAGE = "ami-03cf127a"  # one that moto has
KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


@pytest.fixture(scope="session")
def cloud() -> Iterator[str]:
    """Address of an API that has seat s01 of class rehearsal and seat s01 of class other."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    wait_for(port)
    for classroom in ("rehearsal", "other"):
        launch(boto3.client("ec2", REGION, endpoint_url=url, **KEYS), classroom)
    yield url
    server.terminate()
    server.wait()


@pytest.fixture(scope="session")
def environment(cloud: str) -> dict[str, str]:
    """The environment of someone who uses that cloud for class rehearsal, and of nobody's own settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))}
    nowhere = {"AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    keys = {name.upper(): value for name, value in KEYS.items()}
    return clean | nowhere | keys | {"AWS_ENDPOINT_URL": cloud, "AWS_REGION": REGION, "CLASSROOM": "rehearsal"}


def wait_for(port: int) -> None:
    """Wait until something answers on a port of this machine; raises TimeoutError after a minute."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise TimeoutError(f"no EC2 API on port {port}")


def launch(ec2, classroom: str) -> None:
    """Run an instance with the tags of seat s01 of a class."""
    tags = {"classroom:name": classroom, "classroom:seat": "s01", "classroom:stack": "rehearsal"}
    spec = {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, InstanceType="t3.large", SubnetId=subnet, TagSpecifications=[spec])


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud that all tests of this process share: whoever uses it empties it first (`Reset`)."""
    place = state.without_hosts(tmp_path_factory.mktemp("cloud") / "place")
    own = ("--no-hosts", "--state", str(place.folder))
    assert f'eval "$(python -m rehearsal env {" ".join(own)})"' in rehearsal("up", *own)
    assert "is up already" in rehearsal("up", *own)
    yield Cloud(place.environment())
    assert rehearsal("down", *own) == "The rehearsal cloud is down.\n"
    assert not place.folder.exists()
    assert rehearsal("env", *own) == f"No rehearsal cloud is running. Start it first: python -m rehearsal up {' '.join(own)}\n"
