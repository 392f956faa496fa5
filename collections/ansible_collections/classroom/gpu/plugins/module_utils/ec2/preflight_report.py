"""What a run is about to do and what that costs, for an organiser: short for site.yml, a page for preflight.yml. Pure functions."""

from __future__ import annotations

from datetime import timedelta

from ansible_collections.classroom.gpu.plugins.module_utils.classroom import schedule
from ansible_collections.classroom.gpu.plugins.module_utils.cost import prices
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import quota


def hours(begin: str, end: str) -> float:
    """Return the hours between two moments as tags hold them."""
    return (schedule.of_stamp(end) - schedule.of_stamp(begin)) / timedelta(hours=1)


def cost(seats: list[list[str]], disk_gib: int, sessions: list[list[str]]) -> dict:
    """Return what seats cost, in dollars: an hour and a day of running, an hour of standing still, the class's sessions.

    Each seat is the types that it may come as, so that there is a least sum, and under `most` the largest.
    """
    disks = len(seats) * prices.disk(disk_gib)
    known = [[prices.machine(kind) or 0.0 for kind in kinds if prices.machine(kind) is not None] or [0.0] for kinds in seats]
    least, most = (running(sum(map(pick, known)) + len(seats) * prices.ADDRESS_HOUR, disks, sessions) for pick in (min, max))
    unknown = sorted({kind for kinds in seats for kind in kinds if prices.machine(kind) is None})
    return least | {"stopped": disks, "unknown": unknown, "most": most}


def running(machines: float, disks: float, sessions: list[list[str]]) -> dict:
    """Return what machines and disks of so many dollars an hour cost in an hour, a day and the class's sessions.

    For the sessions machines run within them alone, while the disks are there from the first one's begin to the last one's end.
    """
    of_class = {}
    if sessions:
        whole = hours(min(begin for begin, _ in sessions), max(end for _, end in sessions))
        of_class = {"sessions": machines * sum(hours(*session) for session in sessions) + disks * whole}
    return {"hour": machines + disks, "day": 24 * (machines + disks)} | of_class


def span(told: dict, what: str, one: str = "") -> str:
    """Return a sum, from the least to the most where seats may come as one type or another; `one` comes before a single one."""
    least, most = (f"${sums[what]:.2f}" for sums in (told, told["most"]))
    return f"{one}{least}" if least == most else f"from {least} to {most}"


def price(found: dict, params: dict) -> list[str]:
    """Say what the wanted seats cost."""
    told, count = found["cost"], len(found["wanted"])
    lines = [f"Cost of {count} seats: {span(told, 'hour', 'about ')} an hour while they run, ${told['stopped']:.3f} while they are stopped"]
    lines += details(found, params) if params["page"] else []
    lines += [f"  without the price of {kind}, which is not known here: aws.amazon.com/ec2/pricing/on-demand" for kind in told["unknown"]]
    return [*lines, f"  {prices.caveat(found['region'] or prices.REGIONS[0])}"]


def details(found: dict, params: dict) -> list[str]:
    """Say what the costs are made of, and what they are for a day and for the class's hours."""
    told, month = found["cost"], found["disk_gib"] * prices.DISK_GIB_MONTH
    kinds = [f"{kind} ${dollars:.3f}" for kind in params["instance_types"] if (dollars := prices.machine(kind)) is not None]
    lines = [f"  {span(told, 'day')} for a day of 24 hours"]
    if "sessions" in told:
        lines.append(f"  {span(told, 'sessions')} for classroom_sessions, stopped in between")
    parts = [*kinds, f"public address ${prices.ADDRESS_HOUR:.3f} an hour; disk of {found['disk_gib']} GiB ${month:.2f} a month"]
    return [*lines, f"  of that each seat: {', '.join(parts)}"]


def ending(seat: dict, found: dict, zone: str) -> str:
    """Say when a seat that exists stops, and what this run makes of that."""
    now = f", ends {schedule.words(seat['ends'], zone)}" if seat["ends"] else ""
    return f"{now}, from now on {schedule.words(found['ends'], zone)}" if seat["seat"] in found["moved"] else now


def where(found: dict, params: dict) -> str:
    """Say where a run acts."""
    if not found["account"]:
        return f"Class {params['classroom']}, an estimate: the class's account was not looked at"
    also = "".join(
        f"; it lives in {region} too ({', '.join(ids)}): export AWS_REGION={region}" for region, ids in found["elsewhere"].items()
    )
    return f"Class {params['classroom']} on {found['cloud']}, account {found['account']}, region {found['region']}{also}"


def seats(found: dict, params: dict, zone: str) -> list[str]:
    """Say of each seat what there is and what is to come."""
    states = {seat["seat"]: f"{seat['state']}, {seat['instance_type']}{ending(seat, found, zone)}" for seat in found["existing"]}
    end = f", ends {schedule.words(found['ends'], zone)}" if found["ends"] else ""
    absent = f"to be launched, {' or '.join(params['instance_types'])}{end}" if params["launch"] else "does not exist"
    held = {one["seat"] for one in found["held"] if seat_is_left(one, params)}
    return [f"{seat}: {states.get(seat, absent)}" for seat in found["wanted"] if seat not in held] + holding(found)


def seat_is_left(one: dict, params: dict) -> bool:
    """Tell whether a run does nothing for a seat that is held. One that launches nothing may act on all machines of a seat."""
    return params["launch"] or not one["sure"]


def holding(found: dict) -> list[str]:
    """Say what a person has to settle, and how."""
    told = [(one["seat"], one["message"].splitlines()) for one in found["held"]]
    return [line for seat, lines in told for line in (f"{seat}: {lines[0]}", *lines[1:])]


def leaving(found: dict) -> list[str]:
    """Say which seats the roster no longer has, and how they end: a run that makes a class ends none."""
    known = {"", *found["roster"], *(one["seat"] for one in found["held"])}
    gone = sorted({seat["seat"] for seat in found["seats"]} - known) if found["roster"] else []
    end = f"`ansible-playbook playbooks/teardown.yml -e seats={','.join(gone)}` ends what costs, with all work on it"
    return [f"{', '.join(gone)}: no longer in the roster; {end}"] if gone else []


def short(found: dict, params: dict, zone: str) -> list[str]:
    """Say where this run acts, what it finds there, and what that costs an hour."""
    lines = [*([found["gpu"]] if found["gpu"] else []), *seats(found, params, zone), *leaving(found)]
    lines += price(found, params) if params["launch"] and found["wanted"] else []
    return [where(found, params), *(f"  {line}" for line in lines)]


def kind_line(kind: str, found: dict) -> str:
    """Say what a type has and where it is offered."""
    cpus = f"{quota.vcpus(kind) or 'unknown'} vCPUs"
    zones = f", offered in {', '.join(found['offers'][kind])}" if found["offers"].get(kind) else ""
    return f"{kind}: {cpus}{zones}"


def counted(found: dict) -> str:
    """Say how many seats there are of each kind, and which are to come."""
    states = [seat["state"] for seat in found["existing"]]
    there = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    gone = ", ".join(one["seat"] for one in found["missing"])
    come = [f"{len(found['missing'])} to be launched ({gone})"] if gone else []
    return f"Seats: {len(found['wanted'])} wanted, {', '.join(there + come) or 'none'}"


def arithmetic(found: dict) -> list[str]:
    """Say what the quotas are, how many seats fit, and what to ask AWS for."""
    to_run = found["to_run"]
    lines = [quota.line(one, to_run, found["region"] or "its region") for one in found["quotas"]]
    if found["account"] and to_run:
        lines.append(f"  {len(quota.fitting(to_run, found['quotas']))} of {len(to_run)} seats that are to be launched or started fit")
    return [*lines, *(f"  {line}" for line in found["request"])]


def permissions(found: dict) -> list[str]:
    """Say which permissions were tried, and which are missing, as a policy."""
    told = found["permissions"]
    if not told:
        return []
    lines = [f"Permissions: {len(told['allowed'])} seen to be allowed, by reads and dry runs"]
    if told["untried"]:
        lines.append(f"  by the policy in docs/aws.md alone, as there is nothing to try them on: {', '.join(told['untried'])}")
    lines += [f"  not decided: {action}: {why}" for action, why in told["odd"].items()]
    return lines + (["Missing permissions. In IAM, add this policy:", *told["policy"]] if told["policy"] else [])


def page(found: dict, params: dict, zone: str) -> list[str]:
    """Say everything that was found; what AWS did not tell is left out."""
    image, vpc = found["image"], found["vpc_id"]
    zones = sorted({pool["zone"] for pool in found["pools"]})
    lines = [f"Who: {found['identity']}"] if found["identity"] else []
    lines += [counted(found)] if found["wanted"] else []
    lines += [*holding(found), *leaving(found)]
    lines += [f"End: {schedule.words(found['ends'], zone)}"] if found["ends"] else []
    lines += [f"Verdict: {found['gpu']}"] if found["gpu"] else []
    lines += [kind_line(kind, found) for kind in params["instance_types"]]
    lines += (
        [f"Image: {image['id']} ({image['name']}), of {image['size_gib']} GiB; disk of a seat {found['disk_gib']} GiB"] if image else []
    )
    lines += [f"Network: {vpc}, with subnets to launch in in {', '.join(zones) or 'no zone'}"] if vpc else []
    lines += arithmetic(found)
    lines += price(found, params) if found["wanted"] else []
    return [where(found, params), *(f"  {line}" for line in lines), *(f"  {line}" for line in permissions(found))]
