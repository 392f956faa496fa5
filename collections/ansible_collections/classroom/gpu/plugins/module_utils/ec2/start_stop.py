"""Starting and stopping seats: what differs from what is wanted, what EC2's refusals mean, what a stop saves. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances
from ansible_collections.classroom.gpu.plugins.module_utils.cost import prices
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import errors as ec2_errors
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import launch

BATCH = 100  # instances a call; StartInstances and the others take more, and refuse them all for the sake of one


class Goal(NamedTuple):
    """A state to bring machines to. call: the operation; ready: the states from which it is asked for; done: those that will do."""

    call: str
    ready: tuple[str, ...]
    done: tuple[str, ...]
    past: str


GOALS = {
    "running": Goal("start_instances", ("stopped",), ("running",), "started"),
    "stopped": Goal("stop_instances", ("running",), ("stopped", *launch.GONE), "stopped"),
}
OPTIONS = {
    "classroom": {"type": "str", "required": True},
    "seats": {"type": "list", "elements": "str", "required": True},
    "state": {"type": "str", "choices": list(GOALS)},
    "tags": {"type": "dict", "default": {}},
    "group_id": {"type": "str", "default": ""},
    "metadata_options": {"type": "dict", "default": {}},
    "wait_minutes": {"type": "float", "default": 0},
    "timeout": {"type": "int", "default": 300},
    "known": {"type": "list", "elements": "dict", "default": []},
    "held": {"type": "list", "elements": "dict", "default": []},
}
# What a refusal of one machine is about beyond a launch's: not the pool, but that machine.
OF_ONE = ("IncorrectInstanceState", "InvalidInstanceID.NotFound", "IncorrectState", "OperationNotPermitted")
MENDS = {
    "capacity": "Their files stay where they are. Run the same command again later, keep trying with -e"
    " classroom_wait_for_capacity_minutes=60, or let them have a type that is free there: `ansible-playbook playbooks/resize.yml -e"
    " seats={seats} -e instance_type=...`. A machine in another zone begins without the files: if that will do, end the seat with"
    " playbooks/teardown.yml, and site.yml launches it anew.",
    "quota": "Ask AWS for a larger quota (docs/aws.md), or stop machines of that kind that nobody needs, and run the same command again.",
    "verification": launch.MENDS["verification"],
    "other": "Run the same command again.",
    "held": launch.MENDS["held"],
}


def refusal(error: Exception, endpoint: str) -> launch.Refusal:
    """Return what an error of a start or stop means."""
    if ec2_errors.code(error) in OF_ONE:
        return launch.Refusal("other", "seat", ec2_errors.explain(error, endpoint))
    found = launch.refusal(error, endpoint)
    return found._replace(closes="seat") if ec2_errors.code(error) not in launch.CODES and not launch.is_unanswered(error) else found


def pool(machine: dict) -> tuple[str, str]:
    """Return type and zone of a machine."""
    return machine["InstanceType"], machine["Placement"]["AvailabilityZone"]


def closed(machine: dict, met: dict[tuple[str, str], launch.Refusal]) -> launch.Refusal | None:
    """Return what closes a machine's pool, its type or the account."""
    kind, zone = pool(machine)
    return next((met[key] for key in (("", ""), (kind, ""), (kind, zone)) if key in met), None)


def closes(machine: dict, found: launch.Refusal) -> tuple[str, str] | None:
    """Return what a refusal that one machine met closes, as keys of `met`; None: nothing else."""
    kind, zone = pool(machine)
    return {"account": ("", ""), "type": (kind, ""), "pool": (kind, zone)}.get(found.closes)


def batches(wanted: list[dict]) -> Iterator[list[dict]]:
    """Yield machines of one pool at a time, not too many of them."""
    for key in dict.fromkeys(map(pool, wanted)):
        alike = [machine for machine in wanted if pool(machine) == key]
        for begin in range(0, len(alike), BATCH):
            yield alike[begin : begin + BATCH]


def failed_start(machine: dict, before: dict) -> launch.Refusal | None:
    """Return why a machine that EC2 had begun to start is stopped; None while it may be what it was before. EC2's own reasons count."""
    reason = machine.get("StateReason", {})
    same = (reason, machine["LaunchTime"]) == (before.get("StateReason"), before["LaunchTime"])
    if machine["State"]["Name"] != "stopped" or not reason.get("Code", "").startswith("Server.") or same:
        return None
    if "InsufficientInstanceCapacity" in reason["Code"]:
        return launch.Refusal("capacity", "seat")
    why = reason["Message"].rstrip(".")
    return launch.Refusal("other", "seat", f"Its machine {machine['InstanceId']} stopped while it started: {why}.")


def gone(machine: dict) -> launch.Refusal:
    """Say that a machine came to its end while it was to be started."""
    return launch.Refusal("other", "seat", f"Somebody ended its machine {machine['InstanceId']}, with its disk: site.yml launches another.")


def late(machine: dict, state: str, seconds: int) -> launch.Refusal:
    """Say that a machine takes longer than anybody waits."""
    now = machine["State"]["Name"]
    return launch.Refusal("other", "seat", f"Its machine {machine['InstanceId']} is {now}, not {state}, after {seconds} seconds.")


def told(machine: dict, found: launch.Refusal) -> dict[str, str]:
    """Return reason and message of a seat that does not have its state."""
    kind, zone = pool(machine)
    texts = {
        "capacity": f"AWS has no {kind} free in {zone}, where the disk is.",
        "quota": f"The account's vCPU quota allows no more {kind}.",
        "verification": "AWS is still validating the account for this region.",
    }
    return {"reason": found.reason, "message": texts.get(found.reason, found.text)}


def chosen(listed: list[dict], params: dict) -> list[dict]:
    """Return the machines of a list that are the wanted seats'.

    Of two for one seat neither is started: a person has to say which one it is. Both cost until both are stopped.
    """
    known, left = instances.by_seat(listed, params["classroom"]), twins(listed, params)
    return [one for seat in params["seats"] if seat not in left for one in known.get(seat, [])]


def twins(listed: list[dict], params: dict) -> list[str]:
    """Return the seats with several machines, of which a start starts none."""
    known = instances.by_seat(listed, params["classroom"]) if params["state"] == "running" else {}
    return [seat for seat in params["seats"] if len(known.get(seat, [])) > 1]


def held_back(params: dict) -> list[dict]:
    """Return the seats that a stop leaves alone, as nobody knows which machine is theirs. (Of a start, the launch after it tells.)"""
    held = params["held"] if params["state"] == "stopped" else []
    return [{"seat": one["seat"], "reason": "held", "message": one["message"]} for one in held]


def has_all(listed: list[dict], seats: list[str]) -> bool:
    """Tell whether a list has a machine, ended or not, for each seat."""
    return set(seats) <= {instances.tags(one).get("classroom:seat") for one in listed}


def going(found: Iterable[dict], params: dict) -> list[dict]:
    """Return the machines that do not have the state that is asked for, if one is."""
    goal = GOALS.get(params["state"])
    return [one for one in found if one["State"]["Name"] not in goal.done] if goal else []


def unlike(found: Iterable[dict], params: dict) -> dict[str, list[str]]:
    """Return the machines whose tags, security groups or metadata options are others than wanted."""
    here = [one for one in found if one["State"]["Name"] not in launch.GONE]
    tests = {
        "tags": lambda one: lacking(one, params["tags"]),
        "groups": lambda one: other_groups(one, params["group_id"]),
        "metadata": lambda one: other_metadata(one, params["metadata_options"]),
    }
    return {what: [one["InstanceId"] for one in here if test(one)] for what, test in tests.items()}


def settled(params: dict) -> dict | None:
    """Return what there is to say where the machines that are known are all that is wanted; None where EC2 has to be asked."""
    found = chosen(params["known"], params)
    if twins(params["known"], params) or not has_all(found, params["seats"]) or going(found, params) or any(unlike(found, params).values()):
        return None
    done = {"moved": [], "equipped": [], "missing": held_back(params), "plan": []}
    return done | {"msg": message(done, params), "changed": False}


def message(done: dict, params: dict) -> str:
    """Say what is missing, or what was done."""
    if not params["state"]:
        return "Every seat has what it is to have."
    past = GOALS[params["state"]].past
    new = f"{past.capitalize()}: {', '.join(done['moved'])}." if done["moved"] else f"Every seat is {params['state']}."
    return launch.summary(done["missing"], past, MENDS) or new


def lacking(machine: dict, tags: dict[str, str]) -> bool:
    """Tell whether a machine lacks one of these tags, or has it with another value."""
    return bool(tags.items() - instances.tags(machine).items())


def other_groups(machine: dict, group_id: str) -> bool:
    """Tell whether a machine has other security groups than the one."""
    return bool(group_id) and [group["GroupId"] for group in machine.get("SecurityGroups", [])] != [group_id]


def other_metadata(machine: dict, options: dict[str, str]) -> bool:
    """Tell whether a machine's metadata answers otherwise than by these options."""
    return bool(options.items() - machine.get("MetadataOptions", {}).items())


def hourly(running: Iterable[dict]) -> tuple[float, list[str], list[str]]:
    """Return what machines and their addresses cost an hour, the parts of the sum in words, and the types without a price."""
    kinds = Counter(machine["InstanceType"] for machine in running)
    known = {kind: prices.machine(kind) for kind in kinds}
    priced = {kind: price for kind, price in known.items() if price is not None}
    count = sum(kinds.values())
    total = sum(kinds[kind] * price for kind, price in priced.items()) + count * prices.ADDRESS_HOUR
    parts = [f"{kinds[kind]} {kind} at ${price:.3f}" for kind, price in sorted(priced.items())]
    address = f"{count} public address{'es' if count > 1 else ''} at ${prices.ADDRESS_HOUR:.3f}"
    return total, [*parts, address], sorted(set(known) - set(priced))


def stop_plan(seats: list[str], running: list[dict], disks_gib: int, region: str) -> list[str]:
    """Say what stopping seats saves an hour, what goes on to cost, what is lost, and what nobody can promise."""
    if not running:
        return []
    total, parts, unknown = hourly(running)
    more = f", and the price of {', '.join(unknown)}, which the table does not have" if unknown else ""
    where = sorted({" in ".join(pool(machine)) for machine in running})
    month = prices.disk(disks_gib) * prices.HOURS
    return [
        f"Stopping {', '.join(seats)} saves ${total:.2f} an hour ({', '.join(parts)}){more}.",
        f"Their disks, {disks_gib} GiB, go on to cost ${month:.2f} a month, until teardown.yml ends them.",
        "Files stay. What is only in memory is lost: the variables of open notebooks, and whatever still computes.",
        f"The machines go back to AWS, which may have none at the next start ({'; '.join(where)}): start early, or leave them running.",
        f"Prices are {prices.caveat(region)}.",
    ]
