"""Beginning and end of the rehearsal cloud: what a killed server leaves is found, and `down` leaves nothing. Needs that no cloud runs."""

import os
import re
import signal
from collections.abc import Iterator

import boto3
import pytest

from rehearsal import state
from tests.support.machine import Organiser, environment, output, rehearsal, traces


@pytest.fixture(scope="module")
def before() -> Iterator[dict]:
    """What the machine looks like without a cloud; one that runs is somebody's and is not ended for a test."""
    if state.MACHINE.alive():
        pytest.fail("a rehearsal cloud runs: end it first with python -m rehearsal down")
    rehearsal("down")
    yield traces()
    rehearsal("down")


def up() -> None:
    done = rehearsal("up")
    assert done.returncode == 0, done.stderr


def kill_server() -> None:
    (pid,) = re.findall(r"^\s*(\d+) .*rehearsal\.server", output("ps", "-eo", "pid,args"), re.M)
    output("kill", f"-{signal.SIGKILL.value}", pid)
    assert state.MACHINE.wait_until_gone(5)


def test_down_leaves_nothing(before, tmp_path):
    up()
    organiser = Organiser(tmp_path)
    organiser.launch(2)
    assert rehearsal("down").returncode == 0
    assert traces() == before


def test_up_after_a_killed_server_is_a_clean_cloud(before, tmp_path):
    up()
    old = Organiser(tmp_path)
    address = old.see(old.launch()[0])["PublicIpAddress"]
    kill_server()
    assert traces()["containers"] and address in traces()["routes"]
    up()
    assert not traces()["containers"] and address not in traces()["routes"]
    assert environment()["AWS_ACCESS_KEY_ID"] != old.env["AWS_ACCESS_KEY_ID"]
    new = Organiser(tmp_path)
    assert new.ec2.describe_instances()["Reservations"] == []
    assert new.reachable(new.launch()) == [True]


def test_down_after_a_killed_server_leaves_nothing(before):
    up()
    kill_server()
    assert rehearsal("down").returncode == 0
    assert traces() == before


def test_without_a_cloud_env_and_status_say_what_to_type(before):
    rehearsal("down")
    for command in ("env", "status"):
        done = rehearsal(command)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "No rehearsal cloud is running. Start it first: python -m rehearsal up\n"


def test_a_cloud_on_another_network(before, tmp_path):
    assert rehearsal("up", "--cidr", "10.231.0.0/20").returncode == 0
    refused = rehearsal("up")
    assert refused.returncode == 1 and "python -m rehearsal down" in refused.stderr
    organiser = Organiser(tmp_path)
    (seat,) = organiser.launch()
    assert organiser.see(seat)["PrivateIpAddress"].startswith("10.231.")
    assert organiser.says(seat, "curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/") == "200"
    assert rehearsal("down").returncode == 0
    assert traces() == before


def test_env_needs_no_library(before):
    up()
    done = output("/usr/bin/python3", "-S", "-m", "rehearsal", "env") if os.path.exists("/usr/bin/python3") else rehearsal("env").stdout
    assert "export AWS_ENDPOINT_URL=http://127.0.0.1:5555" in done
    assert boto3.client  # the libraries are there, and were not needed
