"""Type and disk of a seat that exists: what a change costs, and what keeps it from being made. Pure functions."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible_collections.classroom.gpu.plugins.module_utils.cost import prices
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import errors as ec2_errors
from ansible_collections.classroom.gpu.plugins.module_utils.stack import verdict

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVolume.html
RATE = "AWS lets a disk be changed four times in 24 hours, each time when the change before is complete"
WAIT = {
    "VolumeModificationRateExceeded": f"{RATE}, and this one was: run the same command again tomorrow.",
    "IncorrectModificationState": f"{RATE}, and it still works on the last one, which may take hours: run the same command again then.",
}
GROWN = ("optimizing", "completed")  # modification states in which the new size counts


def misfit(stack: str, kind: str, image: str) -> list[str]:
    """Return what keeps a stack, given by its folder, from running on an instance type under an image's system."""
    folder = Path(stack)
    known = {path.parent.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.parent.glob("*/stack.yml"))}
    sound = {name: one for name, one in known.items() if not verdict.stack_problems(one)}
    if folder.name not in sound:
        return [f"Stack {folder.name} has no stack.yml that could be judged: ansible-playbook playbooks/preflight.yml says why."]
    system = verdict.system_of(image)
    found = verdict.verdict(sound[folder.name], kind, system, list(sound.values()))
    if found.ok:
        return []
    works = [f"What works is {found.nearest}."] if found.nearest else []
    return ["\n".join([f"Stack {folder.name} cannot run on {kind}:", *(f"- {reason}" for reason in found.reasons), *works])]


def price(kind: str) -> str:
    """Return what a type costs, in words."""
    known = prices.machine(kind)
    return "a price that the table does not have" if known is None else f"${known:.3f} an hour"


def type_plan(seat: str, machine: dict, kind: str) -> str:
    """Say what another type means for a seat."""
    rest = "" if machine["State"]["Name"] == "stopped" else "; it is stopped for that: the variables of open notebooks are lost"
    return f"{seat}: {kind} at {price(kind)} while it runs, instead of {machine['InstanceType']} at {price(machine['InstanceType'])}{rest}"


def disk_plan(seat: str, size: int, gib: int) -> str:
    """Say what a larger disk means for a seat."""
    now, then = (prices.disk(one) * prices.HOURS for one in (size, gib))
    return f"{seat}: {gib} GiB of disk at ${then:.2f} a month, instead of {size} GiB at ${now:.2f}, and never less again"


def shrinks(seat: str, size: int, gib: int) -> str:
    """Say that no disk shrinks, or nothing."""
    fresh = f"A smaller one comes with a new seat: classroom_disk_gib, playbooks/teardown.yml -e seats={seat}, site.yml."
    return f"The disk of {seat} has {size} GiB, and AWS makes none smaller than it is, as {gib} GiB would be. {fresh}" if gib < size else ""


def explain(error: Exception, endpoint: str) -> str:
    """Return what a refusal of a change means."""
    return WAIT.get(ec2_errors.code(error)) or ec2_errors.explain(error, endpoint)
