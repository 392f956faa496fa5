"""Whose each machine of a class is: by its tags, and by all else that knows it, should somebody have changed these.

A seat is held, that is nothing is launched, started or configured for it, while it has two machines, or while a machine's tags are not what
ledger, proofs, disk, network interface and Name say. Only a person knows which of them is right. Pure functions but two.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances, roster
from ansible_collections.classroom.gpu.plugins.module_utils.cost import ledger, ledger_files

Ask = Callable[[str, list[dict]], list[dict]]  # an operation that lists, and its filters
Place = tuple[str, str]  # a class and a seat of it
NOWHERE: Place = ("", "")
CLASSROOM = re.compile(r"[a-z][a-z0-9_]{0,30}")
NAME, TOKEN = "its Name", "the token of its launch"
TEARDOWN = "ansible-playbook playbooks/teardown.yml"
COUNTS = {2: "two", 3: "three"}
VALUES = 200  # of a filter: docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html


class Known(NamedTuple):
    """What tells of machines beside their own tags. proofs: of each machine the seats whose proof names it; the rest as EC2 lists it."""

    runs: dict[str, list[ledger.Run]] = {}
    proofs: dict[str, list[str]] = {}
    volumes: list[dict] = []
    cards: list[dict] = []


class Claim(NamedTuple):
    """What a machine is by its tags, and by all else; `traces` are what each source says of it, `runs` its runs in the ledger."""

    machine: dict
    tagged: Place
    was: Place
    traces: list[tuple[str, Place]]
    runs: list[ledger.Run]

    @property
    def id(self) -> str:
        return self.machine["InstanceId"]

    @property
    def is_alive(self) -> bool:
        return self.machine["State"]["Name"] in instances.ALIVE

    @property
    def is_sure(self) -> bool:
        """Tell whether tags and all else agree, which they do where nothing else is known."""
        return all(self.tagged) and self.was in (self.tagged, NOWHERE)

    @property
    def place(self) -> Place:
        return self.tagged if self.was == NOWHERE else self.was


class Held(NamedTuple):
    """Why nothing is done for a seat. sure: its machines are all its own; it has more than one. next: what to type."""

    seat: str
    message: str
    sure: bool
    next: str


class Survey(NamedTuple):
    """One look at a class. others: machines without its tag that its folder or its disks know to be its own; claims are of all machines."""

    machines: list[dict]
    others: list[dict]
    volumes: list[dict]
    claims: list[Claim]

    @property
    def look(self) -> ledger_files.Look:
        """Return what the ledger is to know."""
        return ledger_files.Look(self.machines + self.others, self.volumes, places(self.claims))


def proofs(class_dir: str) -> dict[str, list[str]]:
    """Return of each machine the seats whose proof names it. A proof that cannot be read names none."""
    named: dict[str, list[str]] = {}
    for path in sorted(Path(class_dir).glob("seats/*/proof.json")):
        try:
            named.setdefault(json.loads(path.read_text(encoding="utf-8"))["instance_id"], []).append(path.parent.name)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return named


def by_folder(*class_dirs: str) -> Known:
    """Return what the folders of a class know."""
    runs: dict[str, list[ledger.Run]] = {}
    proven: dict[str, list[str]] = {}
    for class_dir in filter(None, class_dirs):
        kept, proven = ledger_files.Folder(class_dir), proven | proofs(class_dir)
        for run in kept.read(kept.file) or ():
            runs.setdefault(run.instance_id, []).append(run)
    return Known(runs, proven)


def survey(ask: Ask, classroom: str, class_dir: str) -> Survey:
    """Look at the class's machines and disks; once more, where one is odd or where folder or disks know of a machine without its tag."""
    own = [{"Name": "tag:classroom:name", "Values": [classroom]}]
    found, known = ask("describe_instances", own), by_folder(class_dir)._replace(volumes=ask("describe_volumes", own))
    unseen = sorted(remembered(known, class_dir) - {machine["InstanceId"] for machine in found})
    asked = [[{"Name": "instance-id", "Values": unseen[begin : begin + VALUES]}] for begin in range(0, len(unseen), VALUES)]
    others = [machine for only in asked for machine in ask("describe_instances", only)]
    if others or is_odd(found):
        known = known._replace(cards=ask("describe_network_interfaces", own))
    claims = [claim(machine, known, classroom) for machine in found + others]
    claims = claims[: len(found)] + [one for one in claims[len(found) :] if one.was[0] == classroom]
    return Survey(found, [one.machine for one in claims[len(found) :]], known.volumes, claims)


def remembered(known: Known, class_dir: str) -> set[str]:
    """Return the machines that folder and disks know, but for those that are known to have ended."""
    open_runs = {name for name, runs in known.runs.items() if not all(run.ended for run in runs)}
    over = (known.runs.keys() - open_runs) | (ledger_files.Folder(class_dir).settled() if class_dir else set())
    holding = {held["InstanceId"] for volume in known.volumes for held in volume.get("Attachments", []) if held.get("InstanceId")}
    return (open_runs | known.proofs.keys() | holding) - over


def is_odd(found: list[dict]) -> bool:
    """Tell whether a machine that has not ended has no seat, or one that another has, too."""
    seats = Counter(instances.tags(one).get("classroom:seat", "") for one in found if one["State"]["Name"] in instances.ALIVE)
    return bool(seats[""]) or max(seats.values(), default=0) > 1


def claim(machine: dict, known: Known, classroom: str) -> Claim:
    """Return what a machine is. `was` is what most sources say, or its tags where its Name says the same: both were changed on purpose."""
    own, runs = instances.tags(machine), known.runs.get(machine["InstanceId"], [])
    tagged, found = (own.get("classroom:name", ""), own.get("classroom:seat", "")), traces(machine, known, classroom)
    votes = Counter(place for _, place in found).most_common(1)
    was = tagged if all(tagged) and (NAME, tagged) in found else votes[0][0] if votes else NOWHERE
    return Claim(machine, tagged, was, found, runs)


def traces(machine: dict, known: Known, classroom: str) -> list[tuple[str, Place]]:
    """Return which sources know a machine's place, those first that nobody changes at the console."""
    name = machine["InstanceId"]
    found = [("the ledger", run.seat) for run in known.runs.get(name, []) if run.seat][:1]
    found += [(f"the proof of {seat}", seat) for seat in known.proofs.get(name, [])]
    found += [("its disk", seat) for seat in disk_seats(machine, known.volumes)]
    cards = [card for card in known.cards if card.get("Attachment", {}).get("InstanceId") == name]
    found += [("its network interface", instances.tags({"Tags": card.get("TagSet", [])}).get("classroom:seat", "")) for card in cards]
    places = [(source, (classroom, seat)) for source, seat in found if seat]
    return places + ([(NAME, named)] if (named := by_name(machine, classroom)) else [])


def disk_seats(machine: dict, volumes: list[dict]) -> list[str]:
    """Return the seat of the disk that a machine boots from. One that somebody attached to it tells nothing."""
    root = (machine["InstanceId"], machine.get("RootDeviceName"))
    booted = [one for one in volumes for held in one.get("Attachments", []) if (held.get("InstanceId"), held.get("Device")) == root]
    return [instances.tags(volume).get("classroom:seat", "") for volume in booted]


def by_name(machine: dict, classroom: str) -> Place | None:
    """Return what a machine's Name says: a seat of the class, or its own seat of another. Anything else is a name that somebody liked."""
    own = instances.tags(machine)
    whose, dash, seat = own.get("Name", "").partition("-")
    is_ours = dash and CLASSROOM.fullmatch(whose) and roster.SEAT_ID.fullmatch(seat)
    return (whose, seat) if is_ours and (whose == classroom or seat == own.get("classroom:seat")) else None


def claims_of(found: list[dict], classroom: str, *class_dirs: str) -> list[Claim]:
    """Return what machines are by their tags and by what the class's folders know, where no more is asked of EC2."""
    known = by_folder(*class_dirs)
    return [claim(machine, known, classroom) for machine in found]


def places(claims: Iterable[Claim]) -> dict[str, str]:
    """Return the seat of each machine, by all that is known of it."""
    return {one.id: one.place[1] for one in claims}


def held(claims: Iterable[Claim], classroom: str, region: str, wanted: Iterable[str] = ()) -> dict[str, Held]:
    """Return why nothing may be done for which seats; wanted ones without a machine are, while one is there that may be theirs."""
    alive = [one for one in claims if one.is_alive]
    seats = {place[1] for one in alive for place in (one.tagged, one.was) if place[0] == classroom and place[1]}
    found = {}
    for seat in sorted(seats):
        own = [one for one in alive if (classroom, seat) in (one.tagged, one.was)]
        if len(own) > 1 or not own[0].is_sure:
            found[seat] = (several if len(own) > 1 else misplaced)(seat, own, classroom, region)
    if stray := next((one for one in alive if one.place == (classroom, "")), None):
        found |= {seat: unclaimed(seat, stray, region) for seat in wanted if seat not in seats}
    return found


def several(seat: str, own: list[Claim], classroom: str, region: str) -> Held:
    """Say that a seat has more than one machine, all that is known of each, and how one of them is put back or ended."""
    tagged, count = all(one.tagged == (classroom, seat) for one in own), COUNTS.get(len(own), str(len(own)))
    head = f"Seat {seat} has {count} machines" if tagged else f"{count.capitalize()} machines may be that of seat {seat}"
    own = sorted(own, key=lambda one: (instances.born(one.machine), one.id))
    lines = [
        f"{head}, {' and '.join(one.id for one in own)}: nothing is done to them until somebody says which one it is.",
        *map(facts, own),
    ]
    back = [one for one in own if not one.is_sure]
    lines += [f"  {one.id} was {whose(one.was, classroom)}. Put its tag back: `{put_back(one, region)}`{needs(one)}" for one in back]
    ends = [f"{TEARDOWN} -e seats={seat} -e machine={one.id}" for one in own if one.tagged == (classroom, seat)]
    lines += (
        [f"  {'Or end' if back else 'End'} the one that nobody needs, with its disk: {' or '.join(f'`{end}`' for end in ends)}"]
        if ends
        else []
    )
    return Held(seat, "\n".join(lines), not back, put_back(back[0], region) if back else ends[-1])


def misplaced(seat: str, own: list[Claim], classroom: str, region: str) -> Held:
    """Say that the one machine that is, or was, a seat's has lost its tags or has another's."""
    (one,) = own
    command = put_back(one, region)
    now = " and ".join(f"classroom:{key}={value}" for key, value, before in _tags(one) if value and value != before)
    lost = " and ".join(f"classroom:{key}" for key, value, before in _tags(one) if not value)
    said = " and ".join(filter(None, [f"has lost its tag {lost}" if lost else "", f"has the tag {now}" if now else ""]))
    text = f"The machine of {whose(one.was, classroom)}, {one.id}, {said}. {known_by(one)} Put it back: `{command}`{needs(one)}"
    if one.tagged == (classroom, seat):
        label = f"aws ec2 create-tags --resources {one.id} --tags Key=Name,Value={classroom}-{seat} --region {region}"
        text += f" Or, if it is to be {seat} from now on, let its Name say so, too: `{label}`"
    return Held(seat, text, False, command)


def unclaimed(seat: str, one: Claim, region: str) -> Held:
    """Say that a seat may have a machine that has the class's tag alone, which nothing here knows."""
    command = f"aws ec2 create-tags --resources {one.id} --tags Key=classroom:seat,Value={seat} --region {region}"
    text = (
        f"{one.id} has the tag of the class and no seat, and nothing here knows whose it is ({about(one)}): it may be that of {seat}."
        f" If so: `{command}`. If nobody needs it, end it with its disk: `{TEARDOWN} -e machine={one.id}`"
    )
    return Held(seat, text, False, command)


def moved_on_purpose(machine: dict, place: Place) -> bool:
    """Tell whether a machine is another's by now, by its tags and by its Name: whoever changes both means it."""
    own = instances.tags(machine)
    tagged = (own.get("classroom:name", ""), own.get("classroom:seat", ""))
    return all(tagged) and tagged != place and by_name(machine, tagged[0]) == tagged


def launched_before(machine: dict, place: Place, region: str) -> str:
    """Say that EC2 answered a launch with the machine that it had made by the same launch, and that this is tagged otherwise by now."""
    one = claim(machine, Known(), place[0])._replace(was=place, traces=[(TOKEN, place)])
    return misplaced(place[1], [one], place[0], region).message


def _tags(one: Claim) -> list[tuple[str, str, str]]:
    """Return name, value and earlier value of a machine's two tags."""
    return list(zip(("name", "seat"), one.tagged, one.was, strict=True))


def put_back(one: Claim, region: str) -> str:
    """Return the command that gives a machine the tags that it had."""
    lacking = " ".join(f"Key=classroom:{key},Value={before}" for key, value, before in _tags(one) if value != before)
    return f"aws ec2 create-tags --resources {one.id} --tags {lacking} --region {region}"


def needs(one: Claim) -> str:
    """Say who may type that: the policy of docs/aws.md lets nobody change what has no class."""
    return "" if one.tagged[0] else " (by somebody whose permissions go beyond the policy of docs/aws.md)."


def whose(place: Place, classroom: str) -> str:
    """Return a place in words."""
    return place[1] if place[0] == classroom else f"{place[1]} of class {place[0]}"


def about(one: Claim) -> str:
    """Return what EC2 says of a machine."""
    machine = one.machine
    address = machine.get("PublicIpAddress") or machine.get("PrivateIpAddress") or "no address"
    return f"launched {instances.born(machine):%Y-%m-%d %H:%M} UTC, {machine['State']['Name']}, {machine['InstanceType']}, {address}"


def known_by(one: Claim) -> str:
    """Say who knows a machine, and as whose."""
    told: dict[Place, list[str]] = {}
    for source, place in one.traces:
        seen = max((run.seen for run in one.runs), default="")
        used = f" (from {one.runs[0].since}{f', seen to run until {seen}' if seen else ''})" if source == "the ledger" else ""
        told.setdefault(place, []).append(source + used)
    words = [f"as {whose(place, one.was[0])} by {', '.join(sources)}" for place, sources in told.items()]
    return f"It is known {'; '.join(words)}." if words else "Nothing but its tags tells of it."


def facts(one: Claim) -> str:
    """Return a line with all that is known of a machine."""
    return f"  {one.id}: {about(one)}. {known_by(one)}"
