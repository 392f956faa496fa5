"""How seats become machines: which pools are tried in which order, what is asked of EC2, what its refusals mean. Pure functions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import errors as ec2_errors

REASONS = ("capacity", "verification", "quota", "held", "other")  # of several, the first is told: it is the one that waiting may mend
WAITING_MENDS = ("capacity", "verification")
# What a refusal is about, and so what it closes for the rest of a wave; all others are told in EC2's words and close their pool.
# Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
CODES = {
    "InsufficientInstanceCapacity": ("capacity", "pool"),
    "Unsupported": ("capacity", "pool"),
    "VcpuLimitExceeded": ("quota", "type"),
    "InstanceLimitExceeded": ("quota", "type"),
    "PendingVerification": ("verification", "account"),
    "IdempotentParameterMismatch": ("other", "seat"),
    "": ("other", "account"),  # no answer of EC2's: credentials that cannot be had, for one
    **dict.fromkeys(("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "OptInRequired"), ("other", "account")),
    **dict.fromkeys(ec2_errors.REFUSED | ec2_errors.EXPIRED | ec2_errors.DENIED, ("other", "account")),
}
THROTTLED = {"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"}
USED = "IdempotentInstanceTerminated"
GONE = ("shutting-down", "terminated")
MISMATCH = (
    "EC2 remembers another launch under this seat's token. If the console shows a machine for the seat, end it; else launch the seat"
    " tomorrow, when EC2 has forgotten, or today with another classroom_disk_gib."
)
MENDS = {
    "capacity": "Run the same command again later, keep trying with -e classroom_wait_for_capacity_minutes=60, or name a further type in"
    " classroom_instance_types.",
    "verification": "It takes minutes, four hours at most: run the same command again then.",
    "quota": "Ask AWS for a larger quota (docs/aws.md), or stop machines of that kind that nobody needs, and run the same command again.",
    "other": "Run the same command again when that is mended.",
    "held": "Then run the same command again.",
}


class Pool(NamedTuple):
    """Where AWS has machines of a type or has none."""

    instance_type: str
    zone: str
    subnet_id: str


class Refusal(NamedTuple):
    """Why a launch did not happen. closes: pool, type, account, or seat, which is nobody else's matter; text: what `other` says."""

    reason: str
    closes: str
    text: str = ""


OPTIONS = {
    "classroom": {"type": "str", "required": True},
    "seats": {"type": "list", "elements": "str", "required": True},
    "pools": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {name: {"type": "str", "required": True} for name in Pool._fields},
    },
    **{name: {"type": "str", "required": True} for name in ("image_id", "root_device", "key_name", "group_id")},
    "disk_gib": {"type": "int", "required": True},
    "tags": {"type": "dict", "default": {}},
    "user_data": {"type": "str", "default": ""},
    "class_dir": {"type": "path", "required": True},
    "wait_minutes": {"type": "float", "default": 0},
    "timeout": {"type": "int", "default": 300},
    "known": {"type": "list", "elements": "dict", "default": []},
    "held": {"type": "list", "elements": "dict", "default": []},
}


def order(seat: str, pools: list[Pool]) -> list[Pool]:
    """Return the pools in a seat's order: by type, each from a zone on that is the seat's at each run, whoever else is there."""
    start, walk = int(hashlib.sha256(seat.encode()).hexdigest(), 16), []
    for kind in dict.fromkeys(pool.instance_type for pool in pools):
        zones = [pool for pool in pools if pool.instance_type == kind]
        first = start % len(zones)
        walk += zones[first:] + zones[:first]
    return walk


def request(params: dict, seat: str, pool: Pool) -> dict:
    """Return what is asked of RunInstances for a seat; params are the module's."""
    classroom = params["classroom"]
    tags = params["tags"] | {"Name": f"{classroom}-{seat}", "classroom:name": classroom, "classroom:seat": seat}
    labels = [{"Key": key, "Value": str(value)} for key, value in sorted(tags.items())]
    disk = {"VolumeType": "gp3", "VolumeSize": params["disk_gib"], "Encrypted": True, "DeleteOnTermination": True}
    nic = {"DeviceIndex": 0, "SubnetId": pool.subnet_id, "Groups": [params["group_id"]], "AssociatePublicIpAddress": True}
    user_data = {"UserData": params["user_data"]} if params["user_data"] else {}
    return user_data | {
        "ImageId": params["image_id"],
        "InstanceType": pool.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "KeyName": params["key_name"],
        "NetworkInterfaces": [nic | {"DeleteOnTermination": True}],
        "BlockDeviceMappings": [{"DeviceName": params["root_device"], "Ebs": disk}],
        "MetadataOptions": {"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        "InstanceInitiatedShutdownBehavior": "stop",
        "TagSpecifications": [{"ResourceType": kind, "Tags": labels} for kind in ("instance", "volume", "network-interface")],
    }


def token(asked: dict, counter: int) -> str:
    """Return the client token of a request, which names class and seat in its tags. Whoever asks the same again gets the same machine."""
    return hashlib.sha256(json.dumps([asked, counter], sort_keys=True).encode()).hexdigest()


def is_unanswered(error: Exception) -> bool:
    """Tell whether a call has to be made again, a launch with its token: EC2 was too busy, or what became of it is unknown."""
    code = ec2_errors.code(error)
    return ec2_errors.is_lost(error) or code in THROTTLED or (ec2_errors.status(error) >= 500 and code not in CODES)


def refusal(error: Exception, endpoint: str) -> Refusal:
    """Return what an error of a launch means."""
    code = ec2_errors.code(error)
    if is_unanswered(error):
        return Refusal("other", "account", f"{ec2_errors.explain(error, endpoint)} What was launched nevertheless, the next run finds.")
    text = MISMATCH if code == "IdempotentParameterMismatch" else ec2_errors.explain(error, endpoint)
    return Refusal(*CODES.get(code, ("other", "pool")), text)


def closed_by(found: Refusal, pool: Pool, pools: list[Pool]) -> list[Pool]:
    """Return the pools that a refusal met in one of them closes for the rest of the wave."""
    if found.closes == "type":
        return [other for other in pools if other.instance_type == pool.instance_type]
    return {"pool": [pool], "account": pools, "seat": []}[found.closes]


def of_death(machine: dict) -> Refusal:
    """Return why a machine ended while it started."""
    reason = machine.get("StateReason", {})
    if "InsufficientInstanceCapacity" in reason.get("Code", ""):
        return Refusal("capacity", "seat")
    message = reason.get("Message", "no reason given").rstrip(".")
    return Refusal("other", "seat", f"Its machine {machine['InstanceId']} ended while it started: {message}.")


def told(refusals: Iterable[tuple[Pool, Refusal]]) -> dict[str, str]:
    """Return reason and message of a seat that is missing, from what was met in its pools."""
    met: dict[tuple[str, str], list[str]] = {}
    for pool, found in refusals:
        met.setdefault((found.reason, pool.instance_type if found.reason in ("capacity", "quota") else found.text), []).append(pool.zone)
    texts = {
        "capacity": lambda kind, zones: f"AWS has no {kind} free in {', '.join(zones)}.",
        "quota": lambda kind, _: f"The account's vCPU quota allows no more {kind}.",
        "verification": lambda *_: "AWS is still validating the account for this region.",
        "held": lambda text, _: text,
        "other": lambda text, _: text,
    }
    reason = next((one for one in REASONS if one in {reason for reason, _ in met}), "other")
    message = " ".join(texts[kind](what, zones) for (kind, what), zones in met.items())
    return {"reason": reason, "message": message or "There is no pool to launch it in."}


def sentences(missing: list[dict], mends: dict[str, str]) -> dict[str, list[str]]:
    """Return why seats are missing and what to do, each with its seats. Commands that mend it name them at `{seats}`."""
    seats: dict[tuple[str, str], list[str]] = {}
    for one in missing:
        seats.setdefault((one["reason"], one["message"]), []).append(one["seat"])
    return {f"{message} {mends[reason].format(seats=','.join(ids))}": ids for (reason, message), ids in seats.items()}


def summary(missing: list[dict], what: str, mends: dict[str, str]) -> str:
    """Say which seats are missing, why, and what to do."""
    return "\n".join(f"Not {what}: {', '.join(ids)}. {sentence}" for sentence, ids in sentences(missing, mends).items())


def described(seats: dict[str, dict]) -> list[dict]:
    """Return seats and their machines as the module tells them."""
    return [
        {
            "seat": seat,
            "instance_id": machine["InstanceId"],
            "instance_type": machine["InstanceType"],
            "zone": machine["Placement"]["AvailabilityZone"],
        }
        for seat, machine in sorted(seats.items())
    ]


def held_back(held: Iterable[dict], seats: list[str]) -> dict[str, dict[str, str]]:
    """Return reason and message of the seats for which nothing may be done."""
    return {one["seat"]: {"reason": "held", "message": one["message"]} for one in held if one["seat"] in seats}


def settled(params: dict) -> dict | None:
    """Return what there is to say where each seat is held or has one machine, which runs or rests; None: EC2 has to be asked."""
    known, held = instances.by_seat(params["known"], params["classroom"]), held_back(params["held"], params["seats"])
    found = {seat: known.get(seat, []) for seat in params["seats"] if seat not in held}
    if any(len(own) != 1 or own[0]["State"]["Name"] == "pending" for own in found.values()):
        return None
    missing = [{"seat": seat} | why for seat, why in sorted(held.items())]
    done = {"launched": [], "found": described({seat: own[0] for seat, own in found.items()}), "missing": missing}
    return done | {"msg": message(done, check=False), "changed": False}


def message(done: dict, check: bool) -> str:
    """Say what is missing, or what was done."""
    new = ", ".join(one["seat"] for one in done["launched"])
    well = f"{'Would launch' if check else 'Launched'} {new}." if new else "Every seat has a machine."
    return summary(done["missing"], "launched", MENDS) or well
