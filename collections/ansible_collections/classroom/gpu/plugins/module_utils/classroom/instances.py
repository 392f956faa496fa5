"""The machines of a class as EC2 describes them, and which seat each one is by its tags. Pure functions."""

from __future__ import annotations

from datetime import datetime

ALIVE = ("pending", "running", "stopping", "stopped")


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
