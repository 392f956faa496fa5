"""A class that rests and goes on: real runs of the playbooks against the rehearsal's API alone, by message, exit status and what exists."""

from __future__ import annotations

import subprocess

import pytest
from test_launch import FOLDER, Organiser
from test_launch import organiser as _organiser

pytestmark = pytest.mark.slow  # some twenty playbook runs
organiser = _organiser
KIND = "t3.large"


@pytest.fixture
def class_of_two(organiser: Organiser) -> Organiser:
    """Seats s01 and s02 run, beside a class other with a seat s01."""
    assert organiser.run("playbooks/provision.yml")[0] == 0
    organiser.both = organiser.seats()
    organiser.other = organiser.add("s01", "other")
    organiser.before = organiser.see(organiser.other)
    return organiser


def holds(organiser: Organiser) -> None:
    """Check that the other class is as it was."""
    assert organiser.see(organiser.other) == organiser.before


def states(organiser: Organiser) -> dict[str, str]:
    return {seat: organiser.see(name)["State"]["Name"] for seat, name in organiser.both.items()}


def test_a_class_is_stopped_for_the_night_and_starts_as_far_as_there_is_room(class_of_two: Organiser) -> None:
    organiser = class_of_two
    status, said = organiser.run("playbooks/stop.yml", "-e", "confirm=false")
    assert status == 2 and states(organiser) == dict.fromkeys(organiser.both, "running")
    assert f"  Stopping s01, s02 saves $0.18 an hour (2 {KIND} at $0.083, 2 public addresses at $0.005)." in said
    assert "the variables of open notebooks" in said and "go on to cost $16.00 a month" in said
    assert "Nothing was done. To go on without being asked, type: ansible-playbook playbooks/stop.yml -e confirm=true" in said

    status, said = organiser.run("playbooks/stop.yml", "-e", "seats=s02")
    assert status == 0 and states(organiser) == {"s01": "running", "s02": "stopped"}, said
    status, said = organiser.run("playbooks/stop.yml")
    assert status == 0 and states(organiser) == dict.fromkeys(organiser.both, "stopped")
    assert "Stopping s01 saves" in said

    # Nothing is free: said at once, with status 2, and nothing is launched in place of what holds work.
    organiser.control("Capacity", types="*", zones="*", room=0)
    status, said = organiser.run("playbooks/start.yml")
    assert status == 2 and "Not started: " in said and f"AWS has no {KIND} free in us-west-2" in said
    assert "playbooks/resize.yml -e seats=s0" in said and "s01   -        NOT PROVEN: not started: AWS has no" in said
    assert states(organiser) == dict.fromkeys(organiser.both, "stopped") and organiser.seats() == {}

    # There is room for one.
    zone = organiser.see(organiser.both["s01"])["Placement"]["AvailabilityZone"]
    organiser.control("Capacity", types=KIND, zones=zone, room=1 + (organiser.before["Placement"]["AvailabilityZone"] == zone))
    assert organiser.run("playbooks/provision.yml")[0] == 2 and "s01" in organiser.seats()
    organiser.control("Capacity", clear=True)
    status, said = organiser.run("playbooks/provision.yml")
    assert status == 0 and organiser.seats() == organiser.both
    holds(organiser)


def test_one_seat_for_a_month(class_of_two: Organiser) -> None:
    organiser = class_of_two
    mine = organiser.both["s01"]
    shown = subprocess.run(["ssh", "-G", "-F", FOLDER / "ssh_config", "s01"], capture_output=True, text=True, check=True).stdout
    for line in (f"hostname {organiser.see(mine)['PublicIpAddress']}", f"hostkeyalias {mine}", "user ubuntu", "identitiesonly yes"):
        assert f"{line}\n" in shown
    assert f"userknownhostsfile {FOLDER}/known_hosts\n" in shown and "stricthostkeychecking accept-new\n" in shown
    assert "Host scarce-s01 s01" in (FOLDER / "ssh_config").read_text()

    resize = ("playbooks/resize.yml", "-e", "seats=s01", "-e", "instance_type=t3.xlarge")
    status, said = organiser.run(*resize, "--check")
    assert status == 0 and organiser.see(mine)["InstanceType"] == KIND and states(organiser)["s01"] == "running"
    status, said = organiser.run(*resize, "-e", "confirm=false")
    assert status == 2 and "s01: t3.xlarge at $0.166 an hour while it runs, instead of t3.large at $0.083 an hour" in said
    assert organiser.see(mine)["InstanceType"] == KIND and states(organiser)["s01"] == "running"
    status, said = organiser.run(*resize)
    assert status == 0 and "To start: ansible-playbook playbooks/start.yml -e seats=s01" in said, said
    assert organiser.see(mine)["InstanceType"] == "t3.xlarge" and states(organiser) == {"s01": "stopped", "s02": "running"}
    assert "changed=0" in organiser.run(*resize)[1]

    status, said = organiser.run("playbooks/resize.yml", "-e", "seats=s01", "-e", "instance_type=t3.xlrage")
    assert status == 2 and "localhost: us-west-2 offers no instance type t3.xlrage." in said

    # The next run neither complains nor changes it back.
    assert organiser.run("playbooks/provision.yml")[0] == 0
    status, said = organiser.run("playbooks/provision.yml")
    assert status == 0 and "changed=0" in said and "s01: running, t3.xlarge" in said
    assert organiser.see(mine)["InstanceType"] == "t3.xlarge" and organiser.seats() == organiser.both
    assert f"hostname {organiser.see(mine)['PublicIpAddress']}\n" in subprocess.run(
        ["ssh", "-G", "-F", FOLDER / "ssh_config", "scarce-s01"], capture_output=True, text=True, check=True
    ).stdout  # fmt: skip

    # The disk of a seat at rest: nothing can log in to these.
    assert organiser.run("playbooks/stop.yml", "-e", "seats=s01")[0] == 0
    status, said = organiser.run("playbooks/grow.yml", "-e", "seats=s01", "-e", "gib=150")
    assert status == 0 and "s01: 150 GiB of disk at $12.00 a month, instead of 100 GiB at $8.00, and never less again" in said, said
    status, said = organiser.run("playbooks/grow.yml", "-e", "seats=s01", "-e", "gib=120")
    assert status == 2 and "localhost: The disk of s01 has 150 GiB, and AWS makes none smaller" in said
    holds(organiser)
