"""What the machines of a class cost, by their runs and at list prices: an estimate, for the eyes of people. Pure functions."""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances, schedule
from ansible_collections.classroom.gpu.plugins.module_utils.common.table import dollars, table
from ansible_collections.classroom.gpu.plugins.module_utils.cost import ledger, prices

NOTES = 5  # at most, below a table
STATUS = ("seat", "state", "type", "zone", "address", "end", "an hour", "so far")
BILL = ("seat", "types", "machine_hours", "machine_usd", "address_usd", "disk_usd", "total_usd")
COMPARE = (
    "What AWS really charged: Billing › Cost Explorer, grouped by the tag classroom:name, a day later. Activate the tag once, under"
    " Billing › Cost allocation tags: it counts from that day on."
)


class Cost(NamedTuple):
    """What runs cost in dollars, the hours of machines among it, and what is not known about them."""

    hours: float
    machine: float
    address: float
    disk: float
    notes: list[str]

    @property
    def total(self) -> float:
        return self.machine + self.address + self.disk


def cost(runs: list[ledger.Run], now: str) -> Cost:
    """Return what runs cost, each machine's disk from one run's begin to the next one's or the machine's end."""
    up, machine, disk = 0.0, 0.0, 0.0
    begins: dict[str, list[str]] = {}
    for run in runs:
        begins.setdefault(run.instance_id, []).append(run.since)
    for run in runs:
        spent = ledger.hours(run.started, run.stopped or now)
        next_one = min((begin for begin in begins[run.instance_id] if begin > run.since), default=run.ended or now)
        up += spent
        machine += spent * (prices.machine(run.instance_type) or 0)
        disk += ledger.hours(run.since, next_one) * prices.disk(run.disk_gib)
    return Cost(up, machine, up * prices.ADDRESS_HOUR, disk, notes(runs))


def notes(runs: list[ledger.Run]) -> list[str]:
    """Say what is not known about runs."""
    unpriced = sorted({run.instance_type for run in runs if prices.machine(run.instance_type) is None})
    return [
        *([f"without the hours of {', '.join(unpriced)}, whose price is not known here"] if unpriced else []),
        *(f"{run.seat}: {run.instance_id} ran before {run.started}, unseen from here" for run in runs if run.since < run.started),
        *(
            f"{run.seat}: EC2 did not tell when {run.instance_id} stopped or ended, at the latest {run.ended or run.stopped}"
            for run in runs
            if run.estimated
        ),
    ]


def an_hour(machine: dict, size: int) -> float | None:
    """Return what a machine with its disks of so many GiB costs an hour as it is now; None where its price is not known."""
    if machine["State"]["Name"] not in ledger.GOES:
        return prices.disk(size)
    price = prices.machine(machine["InstanceType"])
    return None if price is None else price + prices.ADDRESS_HOUR + prices.disk(size)


def explained(whole: Cost, region: str) -> list[str]:
    """Say what kind of sum this is."""
    more = len(whole.notes) - NOTES
    return [f"  {note}" for note in [prices.caveat(region), *whole.notes[:NOTES], *([f"and {more} more like these"] if more > 0 else [])]]


def status(found: list[dict], sizes: dict[str, int], runs: list[ledger.Run], zone: str, now: str) -> list[str]:
    """Return a table of the machines that there are, and of those that ended and cost something."""
    rows, ids = [], {machine["InstanceId"] for machine in found}
    for machine in found:
        tags = instances.tags(machine)
        end = tags.get("classroom:ends", "")
        own = [run for run in runs if run.instance_id == machine["InstanceId"]]
        zoned = machine["Placement"]["AvailabilityZone"]
        seat = own[-1].seat if own else tags.get("classroom:seat", "")
        told = (seat or "-", machine["State"]["Name"], machine["InstanceType"], zoned)
        end = schedule.words(end, zone) if schedule.is_stamp(end) else "-"
        hour = dollars(an_hour(machine, ledger.gib(machine, sizes)), 3)
        rows.append((*told, machine.get("PublicIpAddress", "-"), end, hour, dollars(cost(own, now).total)))
    for seat in {run.seat for run in runs}:
        if own := [run for run in runs if run.seat == seat and run.instance_id not in ids]:
            rows.append((seat or "-", "ended", own[-1].instance_type, own[-1].zone, "-", "-", "-", dollars(cost(own, now).total)))
    return table([STATUS, *sorted(rows)]) if rows else []


def summary(found: list[dict], sizes: dict[str, int], runs: list[ledger.Run], region: str, now: str) -> list[str]:
    """Say what all of it costs, now and so far."""
    hour = sum(an_hour(machine, ledger.gib(machine, sizes)) or 0 for machine in found)
    count = {0: "No machine", 1: "1 machine"}.get(len(found), f"{len(found)} machines")
    whole = cost(runs, now)
    return [f"{count}: {dollars(hour, 3)} an hour now, {dollars(whole.total)} so far", *explained(whole, region)]


def bill(runs: list[ledger.Run], now: str) -> list[dict[str, str]]:
    """Return the bill, a line a seat."""
    lines = []
    for seat in sorted({run.seat for run in runs}):
        own = [run for run in runs if run.seat == seat]
        one = cost(own, now)
        lines.append(
            {
                "seat": seat or "-",
                "machines": " ".join(dict.fromkeys(run.instance_id for run in own)),
                "types": " ".join(dict.fromkeys(run.instance_type for run in own)),
                "from": min(run.since for run in own),
                "to": max(run.ended or now for run in own),
                "machine_hours": f"{one.hours:.2f}",
                "machine_usd": f"{one.machine:.2f}",
                "address_usd": f"{one.address:.2f}",
                "disk_usd": f"{one.disk:.2f}",
                "total_usd": f"{one.total:.2f}",
                "estimate": "; ".join(["list prices", *one.notes]),
            }
        )
    return lines


def sheet(lines: list[dict[str, str]]) -> str:
    """Return a bill as a CSV file."""
    text = io.StringIO()
    file = csv.DictWriter(text, lines[0], lineterminator="\n")
    file.writeheader()
    file.writerows(lines)
    return text.getvalue()


def shown(lines: list[dict[str, str]]) -> list[str]:
    """Return a bill as a table."""
    return table([BILL, *([line[name] for name in BILL] for line in lines)])
