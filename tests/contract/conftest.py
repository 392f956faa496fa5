"""A real EC2 API (moto in this process), for tests that run real Ansible and need no host."""

from __future__ import annotations

import os
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

REGION = "us-west-2"
KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


@pytest.fixture(scope="session")
def cloud() -> Iterator[str]:
    """Address of an API that has seat s01 of class rehearsal and seat s01 of class other."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    for classroom in ("rehearsal", "other"):
        launch(boto3.client("ec2", REGION, endpoint_url=url, **KEYS), classroom)
    yield url
    server.stop()


@pytest.fixture(scope="session")
def environment(cloud: str) -> dict[str, str]:
    """The environment of someone who uses that cloud for class rehearsal, and of nobody's own settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))}
    nowhere = {"AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    keys = {name.upper(): value for name, value in KEYS.items()}
    return clean | nowhere | keys | {"AWS_ENDPOINT_URL": cloud, "AWS_REGION": REGION, "CLASSROOM": "rehearsal"}


def launch(ec2, classroom: str) -> None:
    """Run an instance with the tags of seat s01 of a class."""
    tags = {"classroom:name": classroom, "classroom:seat": "s01", "classroom:stack": "rehearsal"}
    spec = {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
    image, subnet = ec2.describe_images()["Images"][0]["ImageId"], ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.large", SubnetId=subnet, TagSpecifications=[spec])
