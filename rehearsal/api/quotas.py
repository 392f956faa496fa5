"""vCPU quotas: how many vCPUs of a family of types an account may run in a region, and the requests for more.

https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html: running and pending on-demand instances count, stopped ones
do not. A new account has the default; the rehearsal's was granted more, so that a class fits until a test says otherwise.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from .errors import Refused

GRANTED = 5000.0  # vCPUs of each family that the rehearsal's account has unless told otherwise
OPEN = ("PENDING", "CASE_OPENED")


@dataclass(frozen=True)
class Family:
    """A quota: code and name are those of Service Quotas, `name` is what people type, `letters` begin the types it counts."""

    code: str
    name: str
    title: str
    letters: tuple[str, ...]
    default: float = 0.0


STANDARD = Family("L-1216C47A", "standard", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", (), 5.0)
FAMILIES = (
    STANDARD,
    Family("L-6E869C2A", "dl", "Running On-Demand DL instances", ("dl",)),
    Family("L-74FC7D96", "f", "Running On-Demand F instances", ("f",)),
    Family("L-DB2E81BA", "g", "Running On-Demand G and VT instances", ("g", "gr", "vt")),
    Family("L-43DA4232", "high-memory", "Running On-Demand High Memory instances", ("u",)),
    Family("L-F7808C92", "hpc", "Running On-Demand HPC instances", ("hpc",)),
    Family("L-1945791B", "inf", "Running On-Demand Inf instances", ("inf",)),
    Family("L-417A185B", "p", "Running On-Demand P instances", ("p",)),
    Family("L-2C3B7624", "trn", "Running On-Demand Trn instances", ("trn",)),
    Family("L-7295265B", "x", "Running On-Demand X instances", ("x",)),
)


def family_of(instance_type: str) -> Family:
    """Return the family whose quota counts a type."""
    letters = re.match("[a-z]+", instance_type)[0]
    return next((family for family in FAMILIES if letters in family.letters), STANDARD)


def family_named(name: str) -> Family | None:
    """Return the family with this code or short name."""
    return next((family for family in FAMILIES if name in (family.code, family.name)), None)


def vcpus(instance_type: str) -> int:
    return INSTANCE_TYPES[instance_type]["VCpuInfo"]["DefaultVCpus"]


@dataclass
class Increase:
    """A request for more. status: one of the API's, created and updated: seconds since 1970."""

    region: str
    family: Family
    desired: float
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    status: str = "PENDING"
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)

    def close(self, status: str) -> None:
        self.status, self.updated = status, time.time()


@dataclass
class Quotas:
    """The applied quotas of one account by region and code, and every request. None: no value is applied, the default counts."""

    applied: dict[tuple[str, str], float | None] = field(default_factory=dict)
    increases: list[Increase] = field(default_factory=list)

    def value(self, region: str, family: Family) -> float | None:
        """Return the applied value, None where only the default is there."""
        return self.applied.get((region, family.code), GRANTED)

    def limit(self, region: str, family: Family) -> float:
        value = self.value(region, family)
        return family.default if value is None else value

    def apply(self, region: str, family: Family, value: float | None) -> None:
        self.applied[region, family.code] = value

    def used(self, backend: Any, family: Family) -> int:
        """Return the vCPUs in use."""
        counted = (one for one in backend.all_instances() if one.state in ("pending", "running") and one.lifecycle != "spot")
        return sum(vcpus(one.instance_type) for one in counted if family_of(one.instance_type) is family)

    def fitting(self, backend: Any, instance_type: str) -> int:
        """Return how many instances more of a type the quota allows."""
        family = family_of(instance_type)
        return int((self.limit(backend.region_name, family) - self.used(backend, family)) // vcpus(instance_type))

    def exceeded(self, region: str, family: Family) -> Refused:
        """Return EC2's answer to a launch or start beyond the quota (github.com/firesim/firesim/issues/410)."""
        return Refused(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {self.limit(region, family):.0f} allows for the "
            "instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to "
            "request an adjustment to this limit.",
        )

    def check_start(self, backend: Any, instances: list[Any]) -> None:
        """Refuse a start of instances that together exceed a quota.

        Raises:
            Refused: VcpuLimitExceeded.
        """
        for family in {family_of(one.instance_type) for one in instances}:
            wanted = sum(vcpus(one.instance_type) for one in instances if family_of(one.instance_type) is family)
            if self.used(backend, family) + wanted > self.limit(backend.region_name, family):
                raise self.exceeded(backend.region_name, family)

    def open_increase(self, region: str, family: Family) -> Increase | None:
        """Return the request that AWS has not answered yet; there is one at most."""
        mine = (one for one in self.increases if (one.region, one.family) == (region, family))
        return next((one for one in mine if one.status in OPEN), None)

    def request(self, region: str, family: Family, desired: float) -> Increase:
        self.increases.append(Increase(region, family, desired))
        return self.increases[-1]

    def grant(self, region: str, family: Family, value: float | None) -> float:
        """Answer the open request, with less than was asked for if a value is given. Returns what is applied now.

        A grant in part is agreed on in a support case, so the request ends as CASE_CLOSED: "check the support case correspondence for the
        outcome" (https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_RequestedServiceQuotaChange.html).
        """
        increase = self._to_answer(region, family)
        value = increase.desired if value is None else value
        increase.close("APPROVED" if value >= increase.desired else "CASE_CLOSED")
        self.apply(region, family, value)
        return value

    def deny(self, region: str, family: Family) -> None:
        self._to_answer(region, family).close("DENIED")

    def _to_answer(self, region: str, family: Family) -> Increase:
        increase = self.open_increase(region, family)
        if increase is None:
            raise ValueError(f"There is no open request for {family.code} ({family.title}) in {region}.")
        return increase
