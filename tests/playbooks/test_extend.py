"""Moving the end of a class: real runs of extend.yml, which need nothing but the EC2 API."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from tests.support import warm

PREFLIGHT = 2
TOMORROW = datetime.now(UTC) + timedelta(days=1)


def extend(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run extend.yml as an organiser types it."""
    return warm.run("ansible-playbook", "playbooks/extend.yml", *arguments, environment=environment)


def client(cloud: str):
    return boto3.client("ec2", "us-west-2", endpoint_url=cloud, aws_access_key_id="testing", aws_secret_access_key="testing")


@pytest.fixture
def endless(cloud: str) -> Iterator[None]:
    """Take the end off the seats again: the other tests of this process read them, too."""
    yield
    seats = [one["InstanceId"] for group in client(cloud).describe_instances()["Reservations"] for one in group["Instances"]]
    client(cloud).delete_tags(Resources=seats, Tags=[{"Key": "classroom:ends"}])


def ends(cloud: str) -> dict[str, str | None]:
    """Return the end of each class's seat."""
    seats = [one for group in client(cloud).describe_instances()["Reservations"] for one in group["Instances"]]
    tags = [{tag["Key"]: tag["Value"] for tag in seat["Tags"]} for seat in seats]
    return {tag["classroom:name"]: tag.get("classroom:ends") for tag in tags}


@pytest.mark.usefixtures("endless")
def test_the_end_of_one_class_moves_and_is_told_before_and_after(cloud: str, environment: dict[str, str]) -> None:
    first = extend(environment, "-e", f"ends='{TOMORROW:%Y-%m-%d} 17:00 UTC'")
    assert (first.returncode, first.stderr) == (0, ""), first.stdout
    assert ", from now on " in first.stdout and "changed=1" in first.stdout
    assert ends(cloud) == {"rehearsal": f"{TOMORROW:%Y-%m-%d}T17:00:00Z", "other": None}


@pytest.mark.slow
@pytest.mark.usefixtures("endless")
def test_the_end_of_one_seat_moves_once_and_its_hour_is_the_class_s(cloud: str, environment: dict[str, str]) -> None:
    summer = "2099-07-04T18:00"  # in the class's zone, which is Berlin's
    second = extend(environment, "-e", f"ends={summer}", "-e", "seats=s01")
    assert ends(cloud) == {"rehearsal": "2099-07-04T16:00:00Z", "other": None}
    assert ", from now on 2099-07-04 18:00 Europe/Berlin" in second.stdout and "changed=1" in second.stdout
    assert "changed=0" in extend(environment, "-e", f"ends={summer}").stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "until", "words"),
    [
        ({}, "2026-01-31T20:00", "-e ends=2026-01-31T20:00 is 2026-01-31 20:00 Europe/Berlin, which is past."),
        ({}, "8pm", "-e ends=: 8pm is no time. Write it as 20:00, which is today, as "),
        ({"CLASSROOM": "empty"}, "never", "Class empty has no seat whose end could be moved."),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_moves(cloud: str, environment: dict[str, str], change: dict, until: str, words: str) -> None:
    before = ends(cloud)
    done = extend(environment | change, "-e", f"ends={until}", "-e", "classroom_account=123456789012")
    assert (done.returncode, done.stderr) == (PREFLIGHT, "")
    assert f"localhost: {words}" in done.stdout
    assert ends(cloud) == before
