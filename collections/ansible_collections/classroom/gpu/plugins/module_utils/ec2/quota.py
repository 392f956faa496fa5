"""How many seats an account's vCPU quotas let run, what to ask AWS for, and what to do with less. Pure functions.

https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html: by region and family of types, in vCPUs; on-demand
instances count while they are pending or running.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple


class Family(NamedTuple):
    """The types that one quota counts. code, title: those of Service Quotas; letters: what the types begin with."""

    code: str
    title: str
    letters: tuple[str, ...]


STANDARD = Family("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", ())
FAMILIES = (
    Family("L-DB2E81BA", "Running On-Demand G and VT instances", ("g", "gr", "vt")),
    Family("L-417A185B", "Running On-Demand P instances", ("p",)),
    Family("L-6E869C2A", "Running On-Demand DL instances", ("dl",)),
    Family("L-74FC7D96", "Running On-Demand F instances", ("f",)),
    Family("L-43DA4232", "Running On-Demand High Memory instances", ("u",)),
    Family("L-F7808C92", "Running On-Demand HPC instances", ("hpc",)),
    Family("L-1945791B", "Running On-Demand Inf instances", ("inf",)),
    Family("L-2C3B7624", "Running On-Demand Trn instances", ("trn",)),
    Family("L-7295265B", "Running On-Demand X instances", ("x",)),
)
# The name of a type tells its vCPUs: 4 for each x. So for every type with a GPU in DescribeInstanceTypes of 2026-09-30 but these two.
SIZE = re.compile(r"\.(?:(?P<times>\d*)xlarge|metal-(?P<metal>\d+)xl|(?P<small>nano|micro|small|medium|large))")
METAL = {"g4dn.metal": 96, "g5g.metal": 64}
OPEN = ("PENDING", "CASE_OPENED")
PREFLIGHT = "ansible-playbook playbooks/preflight.yml"


class Quota(NamedTuple):
    """A family's quota. limit: in vCPUs, None where it could not be read and `unknown` says why; used: by all of the account."""

    family: Family
    limit: float | None
    applied: bool
    used: int
    unknown: str = ""

    @property
    def free(self) -> float:
        return math.inf if self.limit is None else self.limit - self.used


def family_of(kind: str) -> Family:
    """Return the family whose quota counts a type."""
    letters = re.match("[a-z]*", kind)[0]
    return next((family for family in FAMILIES if letters in family.letters), STANDARD)


def vcpus(kind: str) -> int:
    """Return the vCPUs of a type; 0 where its name does not tell."""
    found = SIZE.search(kind)
    if kind in METAL or not found:
        return METAL.get(kind, 0)
    return 2 if found["small"] else 4 * int(found["metal"] or found["times"] or 1)


def used(machines: list[dict], family: Family) -> int:
    """Return the vCPUs that a family's quota counts among running machines as EC2 describes them."""
    counted = [one for one in machines if family_of(one["InstanceType"]) == family and not one.get("InstanceLifecycle")]
    cpus = [one.get("CpuOptions") for one in counted]
    return sum(
        cpu["CoreCount"] * cpu["ThreadsPerCore"] if cpu else vcpus(one["InstanceType"]) for one, cpu in zip(counted, cpus, strict=True)
    )


def needed(seats: dict[str, list[str]], family: Family) -> int:
    """Return the vCPUs that seats take of a family, each by the first of its types."""
    return sum(vcpus(kinds[0]) for kinds in seats.values() if family_of(kinds[0]) == family)


def fitting(seats: dict[str, list[str]], quotas: list[Quota]) -> list[str]:
    """Return the seats that fit, each with the first of its types that there is room for."""
    left, fit = {quota.family.code: quota.free for quota in quotas}, []
    for seat, kinds in seats.items():
        kind = next((one for one in kinds if vcpus(one) <= left[family_of(one).code]), None)
        if kind:
            left[family_of(kind).code] -= vcpus(kind)
            fit.append(seat)
    return fit


def short(seats: dict[str, list[str]], quotas: list[Quota]) -> list[Quota]:
    """Return the quotas that keep seats from running; none if another of their types will do."""
    if len(fitting(seats, quotas)) == len(seats):
        return []
    return [quota for quota in quotas if needed(seats, quota.family) > quota.free]


def desired(seats: dict[str, list[str]], quota: Quota) -> int:
    """Return the value to ask for: what runs in the account now, and the seats."""
    return quota.used + needed(seats, quota.family)


def open_request(history: list[dict]) -> dict | None:
    """Return the request that AWS has not answered."""
    return next((one for one in history if one["Status"] in OPEN), None)


def answered(history: list[dict], value: float) -> dict | None:
    """Return the last request for as much that AWS has answered: asking again is for people, in the support case."""
    enough = [one for one in history if one["DesiredValue"] >= value and one["Status"] not in OPEN]
    return max(enough, key=lambda one: one["Created"], default=None)


def line(quota: Quota, seats: dict[str, list[str]], region: str) -> str:
    """Say what the quota is, what is in use and what seats need of it."""
    name = f"{quota.family.title} ({quota.family.code}) in {region}"
    want = needed(seats, quota.family)
    if quota.limit is None:
        return f"vCPU quota of {name}: unknown; {f'{quota.used} in use, ' if quota.used else ''}{want} needed. {quota.unknown}"
    return f"vCPU quota of {name}: {quota.limit:.0f}{'' if quota.applied else ', the default'}, {quota.used} in use, {want} needed"


def told(request: dict) -> str:
    """Say what was asked for, when, and what became of it."""
    return f"the request for {request['DesiredValue']:.0f} of {request['Created']:%Y-%m-%d} ({request['Status']})"


def way_to_more(quota: Quota, value: int, history: list[dict]) -> str:
    """Say what is to do about the quota itself."""
    waiting, done = open_request(history), answered(history, value)
    if waiting:
        return f"AWS has not answered {told(waiting)}. It takes a day or more: run this again then."
    if done:
        return f"AWS has answered {told(done)} with {quota.limit:.0f}. Ask again in its support case, with the dates of your class."
    return f"Ask AWS for {value}: `{PREFLIGHT} -e classroom_request_quota=true` files it, once. That takes a day or more."


def plan_b(seats: dict[str, list[str]], fit: list[str]) -> list[str]:
    """Say what can be done with less than was wanted."""
    go_on = f"Go on with what fits: `ansible-playbook site.yml -e seats={','.join(fit)}`."
    pairs = f" Two students at each seat, that is {min(2 * len(fit), len(seats))} of {len(seats)}."
    elsewhere = (
        "Another region has a quota of its own: choose it with AWS_REGION and run preflight.yml there. Or move the class to a later date."
    )
    return [*([go_on + pairs] if fit else []), elsewhere]


def problem(seats: dict[str, list[str]], quotas: list[Quota], region: str, histories: dict[str, list[dict]]) -> str:
    """Say that quotas are too small, and all that can be done; empty if they are not. histories: requests by the quota's code."""
    tight, fit = short(seats, quotas), fitting(seats, quotas)
    if not tight:
        return ""
    lines = [f"The vCPU quota is too small: {len(fit)} of {len(seats)} seats fit."]
    lines += [f"- {line(quota, seats, region)}" for quota in tight]
    lines += [f"- {way_to_more(quota, desired(seats, quota), histories.get(quota.family.code, []))}" for quota in tight]
    return "\n".join([*lines, *(f"- {one}" for one in plan_b(seats, fit))])


def request_text(family: Family, value: int, region: str, reason: str) -> list[str]:
    """Return what to ask AWS for, for the console and for the shell."""
    command = f"aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {family.code} --desired-value {value}"
    return [
        f"To ask for it: console, Service Quotas › Amazon EC2 › {family.title} ({family.code}), region {region}, new value {value}; or",
        f"  {command} --region {region}",
        f"  Reason, for the support case: {reason}",
    ]
