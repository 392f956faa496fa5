"""Which machine of a class ran from when to when, as EC2 forgets earlier runs at a start. Pure functions.

EC2 tells of a machine its last start (LaunchTime) and, where somebody stopped or ended it through the API, when (StateTransitionReason:
`User initiated (2026-11-25 20:00:00 GMT)`). It does not tell when one that powered itself off did so, nor anything an hour after its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances, schedule

GOES = ("pending", "running")
GONE = ("shutting-down", "terminated")
LAUNCH = 1 / 60  # hours that disk and interface may be attached before a machine counts as launched
TOLD = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")


class Run(NamedTuple):
    """One run of a machine. Moments are texts as tags hold them, which sort by time; an empty one has not come.

    since: from when on its disk counts with this run; earlier than `started` where runs before it were not seen.
    ended: when the machine ended; until then its disk cost, whether or not it ran.
    seen, ends: when it was last seen to run, and the end that its tag had.
    estimated: EC2 did not tell when it stopped or ended.
    """

    seat: str
    instance_id: str
    instance_type: str
    zone: str
    disk_gib: int
    since: str
    started: str
    stopped: str = ""
    ended: str = ""
    seen: str = ""
    ends: str = ""
    estimated: bool = False


def stamp(when: datetime) -> str:
    """Return a moment as the ledger holds it."""
    return schedule.stamp(when.astimezone(UTC))


def hours(begin: str, end: str) -> float:
    """Return the hours between two moments."""
    return max(0.0, (schedule.of_stamp(end) - schedule.of_stamp(begin)).total_seconds() / 3600)


def gib(machine: dict, sizes: dict[str, int]) -> int:
    """Return the size of a machine's disks; 0 where EC2 tells of none any more."""
    return sum(sizes.get(disk["Ebs"]["VolumeId"], 0) for disk in machine.get("BlockDeviceMappings", []) if "Ebs" in disk)


def begun(machine: dict, seat: str) -> Run:
    """Return the run that EC2 tells of."""
    born, started = stamp(instances.born(machine)), stamp(machine["LaunchTime"])
    return Run(
        seat=seat,
        instance_id=machine["InstanceId"],
        instance_type=machine["InstanceType"],
        zone=machine["Placement"]["AvailabilityZone"],
        disk_gib=0,
        since=born if hours(born, started) > LAUNCH else started,
        started=started,
    )


def told(machine: dict) -> str:
    """Return when EC2 says that somebody stopped or ended a machine; empty where it does not."""
    found = TOLD.search(machine.get("StateTransitionReason", ""))
    return stamp(datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)) if found else ""


def guess(run: Run, latest: str) -> str:
    """Return when a run probably stopped: at the end of its tag, if that lies between when it was last seen to run and `latest`."""
    return run.ends if (run.seen or run.started) <= run.ends <= latest else latest


def closed(run: Run, latest: str) -> Run:
    """Return a run that must have stopped by `latest`; nobody told when."""
    return run if run.stopped else run._replace(stopped=guess(run, latest), estimated=True)


def updated(run: Run, machine: dict, size: int, now: str) -> Run:
    """Return a run as EC2 tells it now. What was once found out stays, except that it stopped, when it runs."""
    ends = instances.tags(machine).get("classroom:ends", "")
    state, when = machine["State"]["Name"], told(machine)
    run = run._replace(disk_gib=size or run.disk_gib, ends=ends if schedule.is_stamp(ends) else "")
    if state in GOES:
        return run._replace(seen=now, stopped="", ended="", estimated=False)
    if state not in GONE:
        return run._replace(stopped=when) if when and not run.stopped else closed(run, now)
    if run.ended:
        return run
    ended = when or now
    stopped = run.stopped or guess(run, ended)
    unsure = run.estimated if run.stopped else stopped != ended
    return run._replace(stopped=stopped, ended=ended, estimated=unsure or not when)


def merged(runs: Iterable[Run], found: list[dict], sizes: dict[str, int], now: str, seats: Mapping[str, str] | None = None) -> list[Run]:
    """Return the runs known so far, brought to what EC2 tells of all machines of the class.

    sizes: the volumes' in GiB; seats: the machines' by all that is known of them, for one whose tag was changed.
    """
    known = {(run.instance_id, run.started): run for run in runs}
    seen = {machine["InstanceId"]: machine for machine in found}
    for machine in found:
        new = begun(machine, (seats or {}).get(machine["InstanceId"]) or instances.tags(machine).get("classroom:seat", ""))
        earlier = [key for key in known if key[0] == new.instance_id and key[1] < new.started]
        known |= {key: closed(known[key], new.started) for key in earlier}
        run = known.get((new.instance_id, new.started)) or (new._replace(since=new.started) if earlier else new)
        known[new.instance_id, new.started] = updated(run, machine, gib(machine, sizes), now)
    for key, run in known.items():
        if run.instance_id not in seen and not run.ended:
            known[key] = closed(run, now)._replace(ended=now, estimated=True)
    return sorted(known.values(), key=lambda run: (run.seat, run.since, run.started, run.instance_id))


def same(runs: list[Run], others: list[Run]) -> bool:
    """Tell whether two ledgers have the same starts, stops and ends: when a machine was last seen, and with what, is no change of it."""
    facts = [[(run.instance_id, run.started, run.stopped, run.ended) for run in one] for one in (runs, others)]
    return facts[0] == facts[1]
