"""The machines of a class as EC2 describes them: which seat each one is, and which of two for one seat may go. Pure functions but one."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

ALIVE = ("pending", "running", "stopping", "stopped")
UNREADABLE = "?"


def tags(machine: dict) -> dict[str, str]:
    """Return a machine's tags by key."""
    return {tag["Key"]: tag["Value"] for tag in machine.get("Tags", [])}


def brief(machine: dict) -> dict:
    """Return of a machine what tells whether it is as wanted, short enough to travel through a run's variables; LaunchTime is its birth."""
    kept = ("InstanceId", "InstanceType", "Placement", "State", "Tags", "SecurityGroups", "MetadataOptions")
    return {name: machine[name] for name in kept if name in machine} | {"LaunchTime": born(machine)}


def born(machine: dict) -> datetime:
    """Return when a machine was launched. LaunchTime is that of its last start; disk and interface stay attached from the launch on."""
    attached = [disk["Ebs"]["AttachTime"] for disk in machine.get("BlockDeviceMappings", []) if "Ebs" in disk]
    attached += [nic["Attachment"]["AttachTime"] for nic in machine.get("NetworkInterfaces", []) if "Attachment" in nic]
    return min([machine["LaunchTime"], *attached])


def by_seat(machines: list[dict], classroom: str) -> dict[str, list[dict]]:
    """Return the machines of a class's seats that have not ended, the oldest of each seat first."""
    seats: dict[str, list[dict]] = {}
    for machine in sorted(machines, key=lambda one: (born(one), one["InstanceId"])):
        named = tags(machine)
        if machine["State"]["Name"] in ALIVE and named.get("classroom:name") == classroom and named.get("classroom:seat"):
            seats.setdefault(named["classroom:seat"], []).append(machine)
    return seats


def proven(class_dir: str, seat: str) -> str:
    """Return the id of the machine that a seat's proof is about, empty if there is no proof."""
    try:
        return json.loads((Path(class_dir) / "seats" / seat / "proof.json").read_text(encoding="utf-8"))["instance_id"]
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError):
        return UNREADABLE


def strays(machines: list[dict], proof: str) -> list[str] | None:
    """Return which of one seat's machines, oldest first, may be ended: the younger ones, never proven. None: a person has to choose."""
    younger = [machine["InstanceId"] for machine in machines[1:]]
    return None if younger and proof in (UNREADABLE, *younger) else younger


def choose(seat: str, machines: list[dict]) -> str:
    """Say that a person has to choose."""
    ids = " and ".join(machine["InstanceId"] for machine in machines)
    return f"Seat {seat} has two machines, {ids}: end the wrong one (`aws ec2 terminate-instances --instance-ids ...`)."
