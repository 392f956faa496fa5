"""Tags that somebody changed, a class elsewhere, and what was lost here: real runs, after which each machine and its disk are there."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.support.organiser import ACCOUNT, CLASSROOM, REGION, ROOT, Organiser, organised

pytestmark = pytest.mark.slow  # some sixty playbook runs
PROVISION, STATUS, STOP, TEARDOWN = (f"playbooks/{name}.yml" for name in ("provision", "status", "stop", "teardown"))
ELSEWHERE = "us-east-1"


@pytest.fixture(scope="module")
def _somebody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Organiser]:
    with organised(tmp_path_factory.mktemp("cloud")) as somebody:
        yield somebody


@pytest.fixture
def organiser(_somebody: Organiser) -> Organiser:
    """Somebody whose seats s01, s02 and s03 run, and were proven."""
    _somebody.begin()
    _somebody.enrol("s01", "s02", "s03")
    assert _somebody.run(PROVISION)[0] == 0
    for seat, machine in _somebody.seats().items():
        prove(_somebody, seat, machine)
    return _somebody


def prove(organiser: Organiser, seat: str, machine: str) -> None:
    """Write a proof as seat_proof does, as far as it names a machine."""
    folder = organiser.folder / "seats" / seat
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "proof.json").write_text(json.dumps({"instance_id": machine}))


def made(organiser: Organiser) -> dict[str, tuple[str, list[str]]]:
    """Return every machine of the account with its state and its disks."""
    groups = organiser.ec2.describe_instances()["Reservations"]
    machines = [one for group in groups for one in group["Instances"]]
    return {one["InstanceId"]: (one["State"]["Name"], [disk["Ebs"]["VolumeId"] for disk in one["BlockDeviceMappings"]]) for one in machines}


def tag(organiser: Organiser, machine: str, **tags: str | None) -> None:
    """Change tags of a machine at the console, or take them off."""
    for name, value in tags.items():
        key = {"seat": "classroom:seat", "classroom": "classroom:name"}.get(name, name)
        if value is None:
            organiser.ec2.delete_tags(Resources=[machine], Tags=[{"Key": key}])
        else:
            organiser.ec2.create_tags(Resources=[machine], Tags=[{"Key": key, "Value": value}])


def obey(organiser: Organiser, said: str) -> None:
    """Type the commands that put tags back, as they were told."""
    told = set(
        re.findall(r"`aws ec2 create-tags --resources (\S+) --tags (Key=classroom:\S+(?: Key=classroom:\S+)*) --region (\S+)`", said)
    )
    assert told, said
    for machine, labels, region in told:
        pairs = [re.fullmatch(r"Key=(.+),Value=(.+)", label).groups() for label in labels.split()]
        assert region == REGION
        organiser.ec2.create_tags(Resources=[machine], Tags=[{"Key": key, "Value": value} for key, value in pairs])


def lines(said: str, begin: str) -> list[str]:
    return [line.strip() for line in said.splitlines() if line.strip().startswith(begin)]


def run(organiser: Organiser, *command: str, **environment: str) -> tuple[int, str]:
    """Run a playbook where tags are odd, which Organiser.hold would not have."""
    shell = organiser.environment | environment
    done = subprocess.run(
        organiser.type(*command), cwd=ROOT, env=shell, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


# What somebody changed on the machine of s03; seats that wait for a person then; how the sentence of s03 goes on.
CHANGES: dict[str, tuple[dict[str, str | None], set[str], str]] = {
    "another seat's": ({"seat": "s01"}, {"s01", "s03"}, "has the tag classroom:seat=s01."),
    "a seat that is none": ({"seat": "s09"}, {"s03"}, "has the tag classroom:seat=s09."),
    "no seat": ({"seat": None}, {"s03"}, "has lost its tag classroom:seat."),
    "an empty seat": ({"seat": ""}, {"s03"}, "has lost its tag classroom:seat."),
    "no class": ({"classroom": None}, {"s03"}, "has lost its tag classroom:name."),
    "another class's": ({"classroom": "others"}, {"s03"}, "has the tag classroom:name=others."),
    "nothing of ours": ({"classroom": None, "seat": None, "Name": None}, {"s03"}, "has lost its tag classroom:name and classroom:seat."),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_tag_that_somebody_changed_costs_no_work_and_makes_no_second_machine(organiser: Organiser, change: str) -> None:
    """Whatever was changed, the next run changes nothing, tells what to type, and with that typed finds the class as it was."""
    tags, held, words = CHANGES[change]
    before, seats = made(organiser), organiser.seats()
    organiser.control("Calls", clear=True)
    tag(organiser, seats["s03"], **tags)
    status, said = run(organiser, PROVISION)
    told = f"The machine of s03, {seats['s03']}, {words} It is known as s03 by the ledger (from 20"
    assert status == 2 and f"Not launched: s03. {told}" in said and lines(said, f"s03: {told}"), said
    assert "s03   -  " in said and "not launched: The machine of s03" in said
    for seat in ("s01", "s02"):
        assert (f"{seat}: running, t3.large" in said) == (seat not in held)
    assert made(organiser) == before and not {"ec2:RunInstances", "ec2:TerminateInstances"} & set(organiser.control("Calls"))

    _, listed = inventory(organiser)
    assert set(listed) == {"s01", "s02"} - held
    obey(organiser, said)
    status, said = organiser.run(PROVISION)
    assert status == 0 and organiser.seats() == seats and made(organiser) == before, said


@pytest.mark.parametrize("change", ["another seat's", "no class"])
def test_no_other_run_acts_on_a_machine_whose_tag_somebody_changed_or_calls_it_ended(organiser: Organiser, change: str) -> None:
    tags, held, words = CHANGES[change]
    seats = organiser.seats()
    tag(organiser, seats["s03"], **tags)
    told = f"The machine of s03, {seats['s03']}, {words} It is known as s03 by the ledger (from 20"
    status, said = run(organiser, STATUS)
    assert status == 0 and told in said and said.count("running  t3.large") == 3 and "3 machines: $0." in said, said
    status, said = run(organiser, STOP)
    assert status == 2 and f"Not stopped: s03. {told}" in said, said
    rest = {name: state for name, (state, _) in made(organiser).items()}
    assert {seat for seat, name in seats.items() if rest[name] == "stopped"} == {"s01", "s02", "s03"} - held
    status, said = run(organiser, STOP, "-e", "seats=s03")
    assert status == 2 and f"localhost: {told}" in said, said


def inventory(organiser: Organiser) -> tuple[str, dict]:
    """Return what is said beside the inventory, and its seats."""
    command = ["ansible-inventory", "--list"]
    done = subprocess.run(command, cwd=ROOT, env=organiser.environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return done.stderr, {seat: found["_meta"]["hostvars"][seat] for seat in found.get("seats", {}).get("hosts", [])}


def test_tags_that_were_swapped_are_told_of_both(organiser: Organiser) -> None:
    seats, before = organiser.seats(), made(organiser)
    tag(organiser, seats["s01"], seat="s03")
    tag(organiser, seats["s03"], seat="s01")
    status, said = run(organiser, PROVISION)
    assert status == 2 and "Not launched: s01. Two machines may be that of seat s01, " in said and made(organiser) == before, said
    assert set(inventory(organiser)[1]) == {"s02"}
    obey(organiser, said)
    assert organiser.run(PROVISION)[0] == 0 and organiser.seats() == seats


def test_a_seat_that_was_moved_on_purpose_has_its_name_changed_too(organiser: Organiser) -> None:
    """A spare for a student whose machine was ended: whoever changes the Name as well means it."""
    seats = organiser.seats()
    organiser.ec2.terminate_instances(InstanceIds=[seats["s01"]])
    tag(organiser, seats["s03"], seat="s01")
    status, said = run(organiser, PROVISION, "-e", "seats=s01")
    name = f"aws ec2 create-tags --resources {seats['s03']} --tags Key=Name,Value={CLASSROOM}-s01 --region {REGION}"
    assert status == 2 and f"Or, if it is to be s01 from now on, let its Name say so, too: `{name}`" in said, said
    tag(organiser, seats["s03"], Name=f"{CLASSROOM}-s01")
    status, said = organiser.run(PROVISION)
    assert status == 0 and organiser.seats()["s01"] == seats["s03"] and organiser.seats()["s03"] not in seats.values(), said


def test_two_machines_of_a_seat_wait_for_a_person_who_names_the_one_to_end(organiser: Organiser) -> None:
    seats = organiser.seats()
    second = organiser.add("s01")
    before = made(organiser)
    status, said = run(organiser, PROVISION)
    assert status == 2 and f"Not launched: s01. Seat s01 has two machines, {seats['s01']} and {second}" in said, said
    assert f"{seats['s01']}: launched 20" in said and "running, t3.large, 198." in said and made(organiser) == before
    errors, listed = inventory(organiser)
    assert set(listed) == {"s02", "s03"} and "Not in the inventory: Seat s01 has two machines" in errors
    command = f"ansible-playbook playbooks/teardown.yml -e seats=s01 -e machine={second}"
    assert f"`{command}`" in said

    typed = command.split()[1:]
    status, said = run(organiser, *typed)
    assert status == 2 and made(organiser) == before and f"type: {command} -e confirm=true" in said.replace("\n", " "), said
    assert f"To be ended, of {second} of s01 of class {CLASSROOM}" in said, said
    assert f"s01   {second}" in said and f"s01   {seats['s01']}" not in said, said
    status, said = run(organiser, *typed, "-e", "confirm=true")
    assert status == 0 and "0 left of" in said, said
    after = made(organiser)
    assert after.pop(second)[0] == "terminated" and after == {name: one for name, one in before.items() if name != second}
    assert (organiser.folder / "id_ed25519").exists() and organiser.run(PROVISION)[0] == 0 and organiser.seats() == seats

    for wrong, words in (
        (organiser.neighbour["machines"][0]["InstanceId"], f"names no machine with the tag of class {CLASSROOM}."),
        (seats["s02"], "is not s01: its tag says s02."),
    ):
        status, said = run(organiser, TEARDOWN, "-e", "seats=s01", "-e", f"machine={wrong}", "-e", "confirm=true")
        assert status == 2 and words in said, said
    assert organiser.seats() == seats


def test_a_seat_s_end_takes_no_machine_that_was_another_s(organiser: Organiser) -> None:
    seats, before = organiser.seats(), made(organiser)
    tag(organiser, seats["s03"], seat="s01")
    status, said = run(organiser, TEARDOWN, "-e", "seats=s01", "-e", "confirm=true")
    assert status == 2 and f"instance {seats['s03']} (s01), $0." in said and f"The machine of s03, {seats['s03']}, has the tag" in said, (
        said
    )
    after = made(organiser)
    assert (
        after[seats["s01"]][0] == "terminated"
        and after[seats["s03"]] == before[seats["s03"]]
        and after[seats["s02"]] == before[seats["s02"]]
    )
    obey(organiser, said)
    assert organiser.run(PROVISION)[0] == 0 and organiser.seats()["s03"] == seats["s03"]


@pytest.mark.parametrize("folder", ["kept", "lost"])
def test_the_end_of_a_class_leaves_and_names_what_has_lost_its_tag(organiser: Organiser, folder: str) -> None:
    seats = organiser.seats()
    tag(organiser, seats["s03"], classroom=None)
    if folder == "lost":
        shutil.rmtree(organiser.folder)
    status, said = run(organiser, TEARDOWN, "-e", "confirm=true")
    assert (
        status == 2
        and "localhost: No certificate, " in said
        and f"The machine of s03, {seats['s03']}, has lost its tag classroom:name." in said
    )
    assert made(organiser)[seats["s03"]][0] == "running" and list(organiser.folder.glob("bill-*")) == []
    (run_of,) = [one for one in json.loads((organiser.folder / "ledger.json").read_text())["runs"] if one["instance_id"] == seats["s03"]]
    assert (run_of["seat"], run_of["stopped"], run_of["ended"]) == ("s03", "", "")
    status, said = run(organiser, STATUS)
    assert status == 0 and re.search(r"^  s03 +running  t3\.large .* \$0\.\d+ ", said, re.M) and "1 machine: $0.0" in said, said
    obey(organiser, said)
    status, said = organiser.run(TEARDOWN, "-e", "confirm=true")
    assert status == 0 and f"0 left of class {CLASSROOM}" in said and organiser.is_gone()
    (bill,) = organiser.folder.glob("bill-*.csv")
    assert [line["seat"] for line in csv.DictReader(bill.open())] == ["s01", "s02", "s03"]


# --- another region --------------------------------------------------------------------------------------------------
def far(organiser: Organiser) -> list:
    keys = {name.lower(): organiser.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    ec2 = boto3.client("ec2", ELSEWHERE, endpoint_url=organiser.environment["AWS_ENDPOINT_URL"], **keys)
    groups = ec2.describe_instances()["Reservations"]
    return [one["InstanceId"] for group in groups for one in group["Instances"]] + ec2.describe_key_pairs()["KeyPairs"]


def test_another_region_than_the_class_s_is_said_before_anything_is_planned(organiser: Organiser) -> None:
    before = made(organiser)
    lives = f"Class {CLASSROOM} lives in {REGION} (s01, s02, s03), and this is {ELSEWHERE}: type `export AWS_REGION={REGION}`."
    for command in (
        (PROVISION,),
        (STATUS,),
        (STOP,),
        (TEARDOWN, "-e", "confirm=true"),
        ("playbooks/verify.yml",),
        ("playbooks/preflight.yml",),
    ):
        status, said = organiser.run(*command, AWS_REGION=ELSEWHERE)
        assert status == 2 and lines(said, f"localhost: {lives}") and "$0.000" not in said and "Certificate" not in said, said
    assert made(organiser) == before and far(organiser) == [] and not organiser.folder.parent.with_name(f"{ACCOUNT}-{ELSEWHERE}").exists()

    status, said = organiser.run(PROVISION, "-e", f"classroom_home_region={ELSEWHERE}")
    words = (
        f"This is region {REGION}, but the class may only touch {ELSEWHERE} (classroom_home_region). Type `export AWS_REGION={ELSEWHERE}`"
    )
    assert status == 2 and words in said, said
    status, said = organiser.run(STATUS, "-e", f"classroom_home_region={ELSEWHERE}", AWS_REGION=ELSEWHERE)
    assert status == 0 and f"region {ELSEWHERE}; it lives in {REGION} too (s01, s02, s03): export AWS_REGION={REGION}" in said, said

    # A class that has ended lives nowhere.
    assert organiser.run(TEARDOWN, "-e", "confirm=true")[0] == 0
    status, said = organiser.run(STATUS, AWS_REGION=ELSEWHERE)
    assert status == 0 and "No machine: $0.000 an hour now" in said, said


# --- what is lost here -----------------------------------------------------------------------------------------------
LOST = {
    "the key": ["id_ed25519"],
    "the authority": ["ca.key"],
    "the secret": ["secret"],
    "both halves of the key": ["id_ed25519", "id_ed25519.pub"],
    "all that is secret": ["id_ed25519", "id_ed25519.pub", "ca.key", "ca.crt", "secret"],
    "the whole folder": [""],
}


@pytest.mark.parametrize("lost", LOST)
def test_what_was_lost_here_is_not_made_anew_while_seats_exist(organiser: Organiser, lost: str, tmp_path: Path) -> None:
    seats, before = organiser.seats(), made(organiser)
    shutil.copytree(organiser.folder, tmp_path / "copy")
    for name in LOST[lost]:
        path = organiser.folder / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    status, said = organiser.run(PROVISION)
    keys = [name for name in ("id_ed25519", "ca.key", "secret") if {name, ""} & set(LOST[lost])]
    words = f"Seats of class {CLASSROOM} exist, but {organiser.folder} lacks {', '.join(keys)}. Copy that folder from the machine that made"
    assert status == 2 and words in said and made(organiser) == before, said
    status, said = organiser.run(STATUS)
    assert status == 0 and "3 machines: $0." in said and said.count("running  t3.large") == 3, said
    shutil.copytree(tmp_path / "copy", organiser.folder, dirs_exist_ok=True)
    status, said = organiser.run(PROVISION)
    assert status == 0 and "changed=0" in said and organiser.seats() == seats, said


def test_a_class_whose_folder_is_lost_ends_with_the_whole_bill(organiser: Organiser) -> None:
    shutil.rmtree(organiser.folder)
    status, said = organiser.run(TEARDOWN, "-e", "confirm=true")
    assert status == 0 and f"0 left of class {CLASSROOM}" in said and organiser.is_gone(), said
    (bill,) = organiser.folder.glob("bill-*.csv")
    assert [line["seat"] for line in csv.DictReader(bill.open())] == ["s01", "s02", "s03"]


# --- two organisers --------------------------------------------------------------------------------------------------
def test_two_organisers_at_two_computers_make_one_machine_a_seat(organiser: Organiser, tmp_path: Path) -> None:
    """The second one's folder is a copy of the first one's, and no lock of this machine is between them."""
    assert organiser.run(TEARDOWN, "-e", "confirm=true")[0] == 0
    organiser.control("Capacity", types="*", zones="*", room=0)
    assert organiser.run(PROVISION)[0] == 2 and (organiser.folder / "id_ed25519").exists()
    organiser.control("Capacity", clear=True)
    other = tmp_path / "classes"
    shutil.copytree(organiser.folder, other / organiser.folder.parent.name / CLASSROOM)
    organiser.control("AddFault", action="RunInstances", delay=0.3, count=None)
    at_once(organiser, other, [0, 0])
    assert set(organiser.seats()) == {"s01", "s02", "s03"}
    assert organiser.run(PROVISION)[0] == 0 and organiser.run(PROVISION, CLASSROOM_CLASSES=str(other))[0] == 0


def test_a_second_organiser_with_keys_of_their_own_locks_nobody_out(organiser: Organiser, tmp_path: Path) -> None:
    assert organiser.run(TEARDOWN, "-e", "confirm=true")[0] == 0
    other = tmp_path / "classes"
    at_once(organiser, other, None)
    assert set(organiser.seats()) == {"s01", "s02", "s03"}
    (key,) = organiser.ec2.describe_key_pairs(KeyNames=[f"classroom-{CLASSROOM}"], IncludePublicKey=True)["KeyPairs"]
    ends = [organiser.run(PROVISION, CLASSROOM_CLASSES=str(place)) for place in (organiser.folder.parents[1], other)]
    assert sorted(status for status, _ in ends) == [0, 2]
    # By when the second one came: before it had keys, it makes none while seats exist; with keys of its own, it is told of the other's.
    words = ("were launched with another key than the one here. Copy the folder", f"Seats of class {CLASSROOM} exist, but ")
    assert any(word in said for status, said in ends if status for word in words), ends
    assert len(organiser.of(CLASSROOM)["keys"]) == 1 and organiser.of(CLASSROOM)["keys"][0]["KeyPairId"] == key["KeyPairId"]


def at_once(organiser: Organiser, other: Path, statuses: list[int] | None) -> None:
    """Run provision.yml from here and from another computer's folder at the same time."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    shells = [organiser.environment, organiser.environment | {"CLASSROOM_CLASSES": str(other)}]
    runs = [subprocess.Popen(organiser.type(PROVISION), cwd=ROOT, env=shell, **quiet) for shell in shells]
    said = [one.communicate(timeout=300)[0] for one in runs]
    assert "Another run is at work" not in "".join(said)
    assert statuses is None or [one.returncode for one in runs] == statuses, said
    organiser.control("Faults", clear=True)
    organiser.hold()


# --- nothing but teardown ends a machine -----------------------------------------------------------------------------
def test_only_the_module_of_the_teardown_can_end_a_machine() -> None:
    """By what is written: the call, and the module of amazon.aws that could make it."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    shipped = [
        name
        for name in listed
        if name.endswith((".py", ".yml", ".j2", ".sh")) and not name.startswith(("tests/", "rehearsal/", "molecule/"))
    ]
    text = {name: (ROOT / name).read_text(encoding="utf-8") for name in shipped if (ROOT / name).is_file()}
    (module,) = [name for name, said in text.items() if ".terminate_instances(" in said]
    assert module.endswith("plugins/modules/ec2_teardown.py")
    assert [name for name, said in text.items() if re.search(r"amazon\.aws\.(ec2_instance|autoscaling\w*|ec2_spot\w*)\b", said)] == []
    assert {name for name, said in text.items() if "classroom.gpu.ec2_teardown:" in said} == {"playbooks/teardown.yml", module}


def test_no_run_but_teardown_calls_for_the_end_of_a_machine(organiser: Organiser) -> None:
    """By what EC2 is asked: every playbook, over a class with all that used to end one."""
    seats = organiser.seats()
    second = organiser.add("s02")
    tag(organiser, seats["s03"], seat="s01")
    organiser.enrol("s01", "s02")
    before = made(organiser)
    organiser.control("Calls", clear=True)
    more = {
        "access": ("here=true",),
        "extend": ("ends=2099-01-01T20:00",),
        "grow": ("seats=s02", "gib=150"),
        "resize": ("seats=s02", "instance_type=t3.xlarge"),
        **dict.fromkeys(("lock", "teardown", "preflight")),  # preflight.yml's dry runs are calls, too, and end nothing
        **dict.fromkeys(("configure", "start", "verify")),  # they log in to seats, and ask EC2 no more than provision.yml does
    }
    for playbook in sorted((ROOT / "playbooks").glob("*.yml")):
        told = more.get(playbook.stem, ())
        if told is not None:
            run(organiser, str(playbook.relative_to(ROOT)), *(word for one in told for word in ("-e", one)))
    calls = organiser.control("Calls")
    assert calls["ec2:DescribeInstances"] > 5 and "ec2:TerminateInstances" not in calls and "ec2:RunInstances" not in calls, calls
    assert {name: disks for name, (_, disks) in made(organiser).items()} == {name: disks for name, (_, disks) in before.items()}
    assert second in before
