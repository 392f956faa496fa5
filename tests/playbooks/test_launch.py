"""When AWS has no machines: real runs of the playbooks against the rehearsal's API alone, by message, exit status and what exists."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.organiser import ACCOUNT, CLASSROOM, REGION, ROOT, Address, Organiser, organised

pytestmark = pytest.mark.slow  # some fifteen playbook runs


@pytest.fixture
def organiser(tmp_path: Path) -> Iterator[Organiser]:
    with organised(tmp_path) as somebody:
        yield somebody


def test_a_run_without_capacity_says_so_and_the_next_fills_the_gap(organiser: Organiser) -> None:
    organiser.control("Capacity", types="*", zones="*", room=0)
    status, said = organiser.run("playbooks/provision.yml")
    free = "AWS has no t3.large free in us-west-2a, us-west-2b, us-west-2c, us-west-2d."
    assert status == 2 and f"localhost: Not launched: s01, s02. {free} Run the same command again later" in said
    assert f"s01, s02 NOT PROVEN: not launched: {free}" in said
    assert organiser.seats() == {}

    organiser.control("Capacity", types="t3.large", zones="us-west-2b", room=1)
    status, said = organiser.run("playbooks/provision.yml")
    first = organiser.seats()
    (there,), (gap,) = first, {"s01", "s02"} - set(first)
    assert status == 2 and f"localhost: Not launched: {gap}. {free}" in said

    # All of site.yml goes on with the seat that there is.
    with subprocess.Popen(organiser.type("site.yml"), cwd=ROOT, env=organiser.environment, stdout=subprocess.PIPE, text=True) as going:
        lines = []
        while not lines or not lines[-1].startswith("PLAY [Configure and prove the seats]"):
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
    assert status == 2 and f"Class {CLASSROOM} has no security group yet. Type `ansible-playbook site.yml`" in said
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


@pytest.mark.parametrize("proven", [False, True])
def test_a_second_machine_of_a_seat_is_told_and_left_whether_or_not_it_was_proven(organiser: Organiser, proven: bool) -> None:
    assert organiser.run("playbooks/provision.yml")[0] == 0
    before, younger = organiser.seats(), organiser.add("s01")
    if proven:
        (organiser.folder / "seats/s01").mkdir(parents=True)
        (organiser.folder / "seats/s01/proof.json").write_text(json.dumps({"instance_id": younger}))
    status, said = organiser.run("playbooks/provision.yml")
    told = f"Seat s01 has two machines, {before['s01']} and {younger}: nothing is done to them until somebody says which one it is."
    assert status == 2 and f"localhost: Not launched: s01. {told}" in said and f"s01: {told}" in said, said
    assert ("It is known as s01 by the proof of s01, " in said) == proven
    assert organiser.machines() == sorted([*before.items(), ("s01", younger)])


def test_a_profile_that_assumes_a_role_is_all_that_it_takes(organiser: Organiser, tmp_path: Path) -> None:
    """Keys, region and endpoint come from the SDK's own files, as with single sign-on."""
    keys, clean = {}, {}
    for name, value in organiser.environment.items():
        (keys if name.startswith("AWS_") else clean)[name] = value
    issue = {"Version": 1, "AccessKeyId": keys["AWS_ACCESS_KEY_ID"], "SecretAccessKey": keys["AWS_SECRET_ACCESS_KEY"]}
    (tmp_path / "issued").write_text(json.dumps(issue))
    (tmp_path / "config").write_text(
        f"[profile base]\ncredential_process = cat {tmp_path}/issued\n"
        f"[profile organiser]\nsource_profile = base\nrole_arn = arn:aws:iam::{ACCOUNT}:role/organiser\n"
        f"region = {REGION}\nendpoint_url = {keys['AWS_ENDPOINT_URL']}\n"
    )
    organiser.environment = clean | {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_PROFILE": "organiser"}
    status, said = organiser.run("playbooks/preflight.yml")
    assert status == 0 and f"arn:aws:sts::{ACCOUNT}:assumed-role/organiser/" in said and f"region {REGION}" in said, said
    assert organiser.run("playbooks/provision.yml")[0] == 0 and set(organiser.seats()) == {"s01", "s02"}
    assert organiser.run("playbooks/stop.yml")[0] == 0 and set(organiser.seats("stopped")) == {"s01", "s02"}
    assert organiser.run("playbooks/provision.yml")[0] == 0 and set(organiser.seats()) == {"s01", "s02"}
    status, said = organiser.run("playbooks/status.yml")
    assert status == 0 and "s01   running" in said, said
    assert organiser.run("playbooks/teardown.yml", "-e", "confirm=true")[0] == 0 and organiser.is_gone()
