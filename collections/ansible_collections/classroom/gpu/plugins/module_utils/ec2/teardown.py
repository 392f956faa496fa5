"""What a class has at EC2, what each thing costs, and what it means that one cannot be ended. Pure functions."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances
from ansible_collections.classroom.gpu.plugins.module_utils.common.table import dollars, table
from ansible_collections.classroom.gpu.plugins.module_utils.cost import costs, ledger, prices
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import errors as ec2_errors

AGAIN = "run the same command again"
# Codes of what something else still holds: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
HELD = {
    *("DependencyViolation", "VolumeInUse", "IncorrectState", "InvalidIPAddress.InUse", "InvalidNetworkInterface.InUse"),
    *("InvalidNetworkInterfaceID.InUse", "InvalidGroup.InUse"),
}


class Kind(NamedTuple):
    """A kind of resource, as DescribeTags calls it: what lists it, what deletes it, and by which of its fields."""

    name: str
    listing: str
    key: str
    id: str
    deleting: str
    by: str


# In the order in which EC2 lets go of them, after the instances.
KINDS = (
    Kind("volume", "describe_volumes", "Volumes", "VolumeId", "delete_volume", "VolumeId"),
    Kind("elastic-ip", "describe_addresses", "Addresses", "AllocationId", "release_address", "AllocationId"),
    Kind(
        *("network-interface", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
        *("delete_network_interface", "NetworkInterfaceId"),
    ),
    Kind("security-group", "describe_security_groups", "SecurityGroups", "GroupId", "delete_security_group", "GroupId"),
    Kind("key-pair", "describe_key_pairs", "KeyPairs", "KeyPairId", "delete_key_pair", "KeyName"),
)
LISTED = ("i-", "vol-", "eipalloc-", "eni-", "sg-", "key-")  # the ids of instances and of these


class Thing(NamedTuple):
    """Something that is there. hour: what it costs an hour in dollars, None where nobody here knows; why: what is in the way of its end."""

    kind: str
    id: str
    seat: str
    what: str
    hour: float | None
    why: str = ""


def seat(item: dict) -> str:
    """Return the seat of anything that has tags."""
    return instances.tags({"Tags": item.get("Tags", item.get("TagSet", []))}).get("classroom:seat", "")


def holders(item: dict) -> list[str]:
    """Return what a volume, an address or an interface is attached to, by its own description."""
    attached = [*item.get("Attachments", []), *([item["Attachment"]] if "Attachment" in item else [])]
    attached += [item] if "AssociationId" in item else []
    ids = [one.get("InstanceId") or one.get("NetworkInterfaceId") or one.get("InstanceOwnerId") for one in attached]
    return [one for one in dict.fromkeys(ids) if one]


def belongs(item: dict, classroom: str) -> bool:
    """Tell whether anything carries the tag of a class."""
    return instances.tags({"Tags": item.get("Tags", item.get("TagSet", []))}).get("classroom:name") == classroom


def of_machine(machine: dict, sizes: dict[str, int], why: str = "") -> Thing:
    """Return an instance with the disks that end with it."""
    size, state = ledger.gib(machine, sizes), machine["State"]["Name"]
    what = f"{machine['InstanceType']}, {state}, disk {size} GiB, {machine['Placement']['AvailabilityZone']}"
    return Thing("instance", machine["InstanceId"], seat(machine), what, costs.an_hour(machine, size), why)


def of_item(kind: Kind, item: dict, why: str = "") -> Thing:
    """Return anything else that the class has."""
    words = {
        "volume": lambda: (f"{item['Size']} GiB", prices.disk(item["Size"])),
        "elastic-ip": lambda: (item["PublicIp"], prices.ADDRESS_HOUR),
        "network-interface": lambda: (item.get("Description") or item.get("PrivateIpAddress", ""), 0.0),
        "security-group": lambda: (item["GroupName"], 0.0),
        "key-pair": lambda: (item["KeyName"], 0.0),
    }
    return Thing(kind.name, item[kind.id], seat(item), *words[kind.name](), why)


def of_tag(kind: str, resource: str) -> Thing:
    """Return what only its tag tells of, which none of the playbooks has made: nobody knows whether it may go."""
    why = f"No playbook makes a {kind}. Delete it in the EC2 console if nobody needs it, or take its tag classroom:name off."
    return Thing(kind or "unknown", resource, "", "", None, why)


def blind(kind: str, why: str) -> Thing:
    """Return that a kind could not be searched."""
    return Thing(kind, "?", "", "not searched", None, why)


def is_gone(error: Exception) -> bool:
    """Tell whether a call failed because what it was about is not there."""
    return ec2_errors.code(error).endswith(".NotFound")


def is_held(error: Exception) -> bool:
    """Tell whether a call failed because something else still needs what it was about."""
    return ec2_errors.code(error) in HELD


def concerns_all(error: Exception) -> bool:
    """Tell whether a call failed for a reason that is the same for each of many machines."""
    return ec2_errors.code(error) in ec2_errors.DENIED | ec2_errors.REFUSED | ec2_errors.EXPIRED or ec2_errors.status(error) >= 500


def refusal(error: Exception, resource: str) -> str:
    """Say why EC2 does not end something, and what to do."""
    if ec2_errors.code(error) == "OperationNotPermitted" and resource.startswith("i-"):
        lift = f"aws ec2 modify-instance-attribute --instance-id {resource} --no-disable-api-termination"
        return f"It is protected against termination. Type `{lift}`, and {AGAIN}."
    return f"{ec2_errors.explain(error, 'EC2').rstrip('.')}. When that is mended, {AGAIN}."


def held_by(names: list[str], ours: bool) -> str:
    """Say that something is in use, by whom, and what to do."""
    if ours:
        return f"{', '.join(names)} of this class still holds it: when that has ended, {AGAIN}."
    return f"{', '.join(names)} uses it, which does not end with it: take it out of there, and {AGAIN}."


def an_hour(things: list[Thing]) -> float:
    """Return what things cost an hour, as far as that is known."""
    return sum(thing.hour or 0 for thing in things)


def price(thing: Thing) -> str:
    """Return what a thing costs an hour."""
    return "free" if thing.hour == 0 else dollars(thing.hour, 3)


def listing(things: list[Thing]) -> list[str]:
    """Return things as a table."""
    rows = [(thing.kind, thing.seat or "-", thing.id, thing.what, price(thing)) for thing in things]
    return [f"  {line}" for line in table([("what", "seat", "id", "", "an hour"), *rows])] if things else []


def summary(ending: list[Thing]) -> str:
    """Say in a few words what would end; empty if that is nothing."""
    owners = [thing.seat or thing.id for thing in ending if thing.kind == "instance"]
    rest = [thing.kind for thing in ending if thing.kind != "instance"]
    told = [f"{rest.count(kind)} {kind}{'s' if rest.count(kind) > 1 else ''}" for kind in dict.fromkeys(rest)]
    return ", ".join([*([f"{', '.join(owners)} with all work on them"] if owners else []), *told])


def plan(whose: str, ending: list[Thing], staying: list[Thing], region: str) -> list[str]:
    """Say what would end and what each of it costs."""
    if not ending:
        head = [f"Nothing of {whose} is there to be ended."]
    else:
        head = [f"To be ended, of {whose}: {dollars(an_hour(ending), 3)} an hour, {prices.caveat(region)}", *listing(ending)]
    return head + (["Not ended by this:", *reasons(staying)] if staying else [])


def reasons(left: list[Thing]) -> list[str]:
    """Say of each thing that is left why, and what it costs."""
    named = [f"{thing.kind} {thing.id}{f' ({thing.seat})' if thing.seat else ''}" for thing in left]
    return [f"  {name}, {price(thing)} an hour: {thing.why}" for name, thing in zip(named, left, strict=True)]


def certificate(whose: str, left: list[Thing], region: str, now: datetime) -> list[str]:
    """Certify that nothing is left, or say what is."""
    when = f"{now:%Y-%m-%d %H:%M} UTC, {region}"
    if not left:
        return [f"Certificate, {when}: 0 left of {whose}. Searched: every kind of EC2 resource, by the tag classroom:name."]
    return [f"No certificate, {when}: {len(left)} left of {whose}, {dollars(an_hour(left), 3)} an hour", *reasons(left)]
