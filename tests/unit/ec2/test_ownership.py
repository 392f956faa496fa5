"""Whose a machine is: tags against ledger, proofs, disk, network interface and Name, and what a person is told to type."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.cost import ledger, ledger_files
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import ownership

CLASS, REGION = "physics", "us-west-2"
OURS = (CLASS, "s03")
SOURCES = ("ledger", "proof", "disk", "interface", "Name")


def machine(name: str = "i-3", classroom: str | None = CLASS, seat: str | None = "s03", state: str = "running", label: str = "") -> dict:
    """Return a machine as EC2 describes it."""
    tags = {"classroom:name": classroom, "classroom:seat": seat, "Name": label or None}
    return {
        "InstanceId": name,
        "InstanceType": "g4dn.xlarge",
        "RootDeviceName": "/dev/xvda",
        "State": {"Name": state},
        "LaunchTime": datetime(2026, 12, 4, 8, int(name[-1]), tzinfo=UTC),
        "PublicIpAddress": "198.51.100.7",
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items() if value is not None],
    }


def run_of(name: str, seat: str, **more) -> ledger.Run:
    moments = {"since": "2026-12-04T08:00:00Z", "started": "2026-12-04T08:00:00Z", "seen": "2026-12-04T12:00:00Z"}
    return ledger.Run(**{"seat": seat, "instance_id": name, "instance_type": "g4dn.xlarge", "zone": "a", "disk_gib": 8} | moments | more)


def known(name: str = "i-3", seat: str = "s03", *sources: str) -> ownership.Known:
    """Return what these sources say of a machine."""
    labels = [{"Key": "classroom:name", "Value": CLASS}, {"Key": "classroom:seat", "Value": seat}]
    disk = {"Attachments": [{"InstanceId": name, "Device": "/dev/xvda"}], "Tags": labels}
    card = {"Attachment": {"InstanceId": name}, "TagSet": labels}
    return ownership.Known(
        {name: [run_of(name, seat)]} if "ledger" in sources else {},
        {name: [seat]} if "proof" in sources else {},
        [disk] if "disk" in sources else [],
        [card] if "interface" in sources else [],
    )


def held(*found: dict, by: ownership.Known | None = None, wanted: tuple[str, ...] = ()) -> dict[str, ownership.Held]:
    claims = [ownership.claim(one, by or ownership.Known(), CLASS) for one in found]
    return ownership.held(claims, CLASS, REGION, wanted)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("tag", ["s01", "", None])
def test_each_source_alone_knows_a_machine_whose_seat_was_changed(source: str, tag: str | None) -> None:
    label = f"{CLASS}-s03" if source == "Name" else ""
    told = held(machine(seat=tag, label=label), by=known("i-3", "s03", source))["s03"]
    assert told.message.startswith("The machine of s03, i-3, has ") and source in told.message and not told.sure
    assert told.next == "aws ec2 create-tags --resources i-3 --tags Key=classroom:seat,Value=s03 --region us-west-2"
    assert f"Put it back: `{told.next}`" in told.message and "\n" not in told.message


@pytest.mark.parametrize("source", SOURCES[:4])
def test_a_machine_without_its_class_is_known_too_and_takes_more_than_the_policy(source: str) -> None:
    (told,) = held(machine(classroom=None, seat=None), by=known("i-3", "s03", source)).values()
    assert told.next.endswith("--tags Key=classroom:name,Value=physics Key=classroom:seat,Value=s03 --region us-west-2")
    assert told.message.endswith(" (by somebody whose permissions go beyond the policy of docs/aws.md).")


@pytest.mark.parametrize(
    ("tagged", "label", "by", "is_held"),
    [
        (OURS, "", (), False),
        (OURS, "Ada's box", SOURCES, False),
        (OURS, "web-server", (), False),  # a name that somebody liked, of no class
        (OURS, "physics-s05", SOURCES, False),  # the Name alone against all the rest
        (OURS, "physics-s05", (), True),
        (OURS, "chemistry-s03", (), True),  # another class's, whose tag was changed
        ((CLASS, "s05"), "physics-s05", SOURCES, False),  # both were changed, on purpose
        ((CLASS, "s05"), "physics-s03", SOURCES, True),
        ((CLASS, "s05"), "", ("proof",), True),
        (("chemistry", "s03"), "chemistry-s03", SOURCES, False),  # on purpose another class's
    ],
)
def test_what_most_say_counts_unless_tag_and_name_agree(tagged: tuple[str, str], label: str, by: tuple[str, ...], is_held: bool) -> None:
    told = held(machine("i-3", *tagged, label=label), by=known("i-3", "s03", *by))
    assert bool(told) == is_held, told


def test_of_two_machines_all_that_is_known_of_each_is_told_and_both_ways_out() -> None:
    told = held(machine("i-1", seat="s01"), machine("i-3", seat="s01", state="stopped"), by=known("i-3", "s03", *SOURCES[:3]))
    assert list(told) == ["s01", "s03"] and not told["s01"].sure
    end, back = "ansible-playbook playbooks/teardown.yml -e seats=s01 -e machine=", told["s03"].next
    assert told["s01"].message.splitlines() == [
        "Seat s01 has two machines, i-1 and i-3: nothing is done to them until somebody says which one it is.",
        "  i-1: launched 2026-12-04 08:01 UTC, running, g4dn.xlarge, 198.51.100.7. Nothing but its tags tells of it.",
        "  i-3: launched 2026-12-04 08:03 UTC, stopped, g4dn.xlarge, 198.51.100.7. It is known as s03 by the ledger (from"
        " 2026-12-04T08:00:00Z, seen to run until 2026-12-04T12:00:00Z), the proof of s03, its disk.",
        f"  i-3 was s03. Put its tag back: `{back}`",
        f"  Or end the one that nobody needs, with its disk: `{end}i-1` or `{end}i-3`",
    ]
    assert told["s01"].next == back
    twins = held(machine("i-1", seat="s01"), machine("i-2", seat="s01"))["s01"]
    assert twins.sure and twins.next == f"{end}i-2" and "  End the one that nobody needs" in twins.message
    assert held(machine("i-1", seat="s01"), machine("i-2", seat="s01", state="terminated")) == {}


def test_a_machine_that_nothing_knows_holds_the_seats_that_have_none() -> None:
    told = held(machine("i-1", seat=None), machine("i-2", seat="s02"), wanted=("s02", "s03", "s04"))
    assert list(told) == ["s03", "s04"] and "it may be that of s04" in told["s04"].message
    assert "`ansible-playbook playbooks/teardown.yml -e machine=i-1`" in told["s04"].message


# --- the look --------------------------------------------------------------------------------------------------------
class Api:
    """Answers as EC2 does, by tag or by id, and notes what it was asked."""

    def __init__(self, *found: dict, volumes: tuple[dict, ...] = ()) -> None:
        self.found, self.volumes, self.asked = found, volumes, []

    def __call__(self, operation: str, filters: list[dict]) -> list[dict]:
        (only,) = filters
        self.asked.append((operation, only["Values"]))
        if only["Name"] == "instance-id":
            return [one for one in self.found if one["InstanceId"] in only["Values"]]
        tagged = [one for one in self.found if {"Key": "classroom:name", "Value": CLASS} in one["Tags"]]
        return {"describe_instances": tagged, "describe_volumes": list(self.volumes), "describe_network_interfaces": []}[operation]


def folder(path: Path, *runs: ledger.Run, **proofs: str) -> str:
    """Write a class's folder."""
    ledger_files.Folder(str(path)).keep(list(runs))
    for seat, name in proofs.items():
        (path / "seats" / seat).mkdir(parents=True)
        (path / "seats" / seat / "proof.json").write_text(json.dumps({"instance_id": name}))
    return str(path)


def test_a_class_in_order_is_looked_at_in_two_calls(tmp_path: Path) -> None:
    api = Api(machine("i-3"))
    seen = ownership.survey(
        api, CLASS, folder(tmp_path, run_of("i-3", "s03"), run_of("i-2", "s02", ended="2026-12-04T09:00:00Z"), s03="i-3", s02="i-2")
    )
    assert [operation for operation, _ in api.asked] == ["describe_instances", "describe_volumes"] and seen.others == []


def test_what_folder_and_disks_know_and_the_tag_does_not_show_is_asked_for_by_its_id(tmp_path: Path) -> None:
    bare = [machine(f"i-{number}", classroom=None, seat=None) for number in (1, 2, 3, 5)]
    disk = {"Attachments": [{"InstanceId": "i-3", "Device": "/dev/xvda"}], "Tags": machine("i-3")["Tags"]}
    lent = {"Attachments": [{"InstanceId": "i-5", "Device": "/dev/sdf"}], "Tags": machine("i-3")["Tags"]}  # to somebody else's machine
    api = Api(*bare, machine("i-4", seat="s04"), volumes=(disk, lent))
    seen = ownership.survey(api, CLASS, folder(tmp_path, run_of("i-1", "s01"), run_of("i-9", "s09"), s02="i-2"))
    assert api.asked[2] == ("describe_instances", ["i-1", "i-2", "i-3", "i-5", "i-9"])
    assert [one["InstanceId"] for one in seen.others] == ["i-1", "i-2", "i-3"]
    assert ownership.places(seen.claims) == {"i-1": "s01", "i-2": "s02", "i-3": "s03", "i-4": "s04"}
    assert [one["InstanceId"] for one in seen.look.machines] == ["i-4", "i-1", "i-2", "i-3"]


def test_a_machine_that_lost_its_tag_goes_on_in_the_ledger_as_the_seat_that_it_was(tmp_path: Path) -> None:
    where = folder(tmp_path, run_of("i-3", "s03"))
    started = machine("i-3", classroom=None, seat=None) | {
        "Placement": {"AvailabilityZone": "a"},
        "LaunchTime": datetime(2026, 12, 5, tzinfo=UTC),
    }
    look = ownership.survey(Api(started), CLASS, where).look
    noted = ledger_files.Books(where, look, "2026-12-05T01:00:00Z", False, str)
    assert noted.note() and [(run.seat, run.ended) for run in noted.runs] == [("s03", ""), ("s03", "")]


# --- the regions of a class ------------------------------------------------------------------------------------------
def test_a_class_lives_where_a_machine_of_its_has_not_ended(tmp_path: Path) -> None:
    def at(region: str, account: str = "1") -> Path:
        return tmp_path / f"{account}-{region}" / CLASS

    folder(at("us-west-2"), run_of("i-1", "s01"), run_of("i-2", "s02", ended="2026-12-04T09:00:00Z"))
    folder(at("eu-west-1"), run_of("i-3", "s03", ended="2026-12-04T09:00:00Z"), s03="i-3")
    folder(at("us-east-2"), s07="i-7")
    folder(at("us-east-1", account="2"), run_of("i-4", "s04"))
    (at("ap-south-1")).mkdir(parents=True)
    assert ledger_files.regions(str(at("eu-north-1")), "1") == {"us-east-2": ["s07"], "us-west-2": ["s01"]}
    assert ledger_files.regions("", "1") == {}
