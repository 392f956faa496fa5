"""What a class is and costs, and its end: real runs of status.yml and teardown.yml, by message, exit status and what exists."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.organiser import ACCOUNT, CLASSROOM, REGION, ROOT, Organiser, organised

OTHER = ROOT / "classes" / f"{ACCOUNT}-{REGION}" / "other"


@pytest.fixture
def organiser(tmp_path: Path) -> Iterator[Organiser]:
    with organised(tmp_path) as somebody:
        yield somebody


@pytest.fixture
def other(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment of someone whose class is other."""
    yield environment | {"CLASSROOM": "other"}
    shutil.rmtree(OTHER, ignore_errors=True)


def status(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    command = ("ansible-playbook", "playbooks/status.yml", "-e", "classroom_account=123456789012", *arguments)
    done = warm.run(*command, environment=environment)
    return done.returncode, done.stdout + done.stderr


def test_status_tells_what_a_class_is_and_costs(other: dict[str, str]) -> None:
    code, said = status(other, "-e", "seats=s01")
    assert code == 0 and "s01   running  t3.large  us-west-2" in said and "1 machine: $0.0" in said, said
    assert "estimated from prices of" in said and said.count("s01") == 1
    file = OTHER / "ledger.json"
    (run,) = json.loads(file.read_text())["runs"]
    assert run["seat"] == "s01" and run["stopped"] == "" and file.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_status_changes_nothing_that_it_knows_and_names_a_seat_that_is_not_there(other: dict[str, str]) -> None:
    assert status(other)[0] == 0
    assert "changed=0" in status(other)[1]
    code, said = status(other, "-e", "seats=s09")
    assert code == 2 and "localhost: -e seats= names s09, but class other has s01." in said


@pytest.mark.slow
def test_status_of_a_class_without_seats(environment: dict[str, str]) -> None:
    code, said = status(environment | {"CLASSROOM": "empty"})
    assert code == 0 and "No machine: $0.000 an hour now, $0.00 so far" in said
    assert not OTHER.with_name("empty").exists()


# --- the end, with what can go wrong ---------------------------------------------------------------------------------


END = ("playbooks/teardown.yml", "-e", "confirm=true")


@pytest.mark.slow
def test_a_class_ends_with_its_certificate_and_bill_in_spite_of_all(organiser: Organiser) -> None:
    assert organiser.run("playbooks/provision.yml")[0] == 0
    before = organiser.seats()
    first, second = before.values()
    code, said = organiser.run("playbooks/teardown.yml")
    assert code == 2 and f"instance        s01   {first}" in said and "-e confirm=true" in said, said
    assert organiser.seats() == before

    # A seat is ended by hand, the other is protected; the key may not be deleted.
    organiser.ec2.terminate_instances(InstanceIds=[first])
    organiser.ec2.modify_instance_attribute(InstanceId=second, DisableApiTermination={"Value": True})
    organiser.control("AddFault", action="DeleteKeyPair", code="Denied", count=None)
    code, said = organiser.run(*END)
    assert code == 2 and f"instance {second} (s02), $0.099 an hour: It is protected against termination" in said, said
    assert "may not call DeleteKeyPair: allow it in IAM" in said
    assert "localhost: No certificate" in said and f"3 left of class {CLASSROOM}" in said
    assert (organiser.folder / "secret").exists() and list(organiser.folder.glob("bill-*")) == []

    organiser.ec2.modify_instance_attribute(InstanceId=second, DisableApiTermination={"Value": False})
    organiser.kill("ec2:TerminateInstances", *END)
    code, said = organiser.run(*END)
    assert code == 0 and f"0 left of class {CLASSROOM}" in said, said
    assert f"Bill of class {CLASSROOM}, an estimate: $0." in said and "Cost Explorer" in said
    assert organiser.is_gone()
    (bill,), (old,) = organiser.folder.glob("bill-*.csv"), organiser.folder.glob("ledger-*.json")
    assert [line["seat"] for line in csv.DictReader(bill.open())] == ["s01", "s02"]
    assert {path.name for path in organiser.folder.iterdir()} == {bill.name, old.name} and bill.stat().st_mode & 0o777 == 0o600

    # The same once more; then a class of that name begins anew, with a ledger of its own.
    code, said = organiser.run(*END)
    assert code == 0 and "changed=0" in said and f"0 left of class {CLASSROOM}" in said, said
    assert organiser.run("playbooks/provision.yml")[0] == 0
    anew = organiser.seats()
    assert {run["instance_id"] for run in json.loads((organiser.folder / "ledger.json").read_text())["runs"]} == set(anew.values())
    assert organiser.run(*END, "-e", "seats=s01")[0] == 0
    assert organiser.seats() == {"s02": anew["s02"]} and bill.exists()


@pytest.mark.slow
def test_what_a_stop_and_a_start_cost_is_kept(organiser: Organiser) -> None:
    assert organiser.run("playbooks/provision.yml")[0] == 0
    assert organiser.run("playbooks/stop.yml")[0] == 0
    runs = json.loads((organiser.folder / "ledger.json").read_text())["runs"]
    assert [run["seat"] for run in runs] == ["s01", "s02"] and all(run["stopped"] and not run["estimated"] for run in runs)
    assert organiser.run("playbooks/provision.yml", "-e", "seats=s02")[0] == 0
    runs = json.loads((organiser.folder / "ledger.json").read_text())["runs"]
    assert [(run["seat"], bool(run["stopped"])) for run in runs] == [("s01", True), ("s02", True), ("s02", False)]
    assert "changed=0" in organiser.run("playbooks/provision.yml", "-e", "seats=s02")[1]
    code, said = organiser.run("playbooks/status.yml")
    assert code == 0 and "s01   stopped  t3.large" in said and "s02   running  t3.large" in said
