"""How many instances of a type a zone has room for: unlimited unless told.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html: a launch and a start want capacity, a stopped instance
has given its back. The messages are EC2's, as met in the threads named beside them.
"""

from __future__ import annotations

import functools
import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

from .errors import Refused

HOLDING = ("pending", "running", "stopping", "shutting-down")
CODE = "InsufficientInstanceCapacity"


@dataclass(frozen=True)
class Pool:
    """What a command said. types, zones: patterns of the shell; room: instances in each pool that matches, None without limit."""

    types: str
    zones: str
    room: int | None
    since: float = 0.0  # of time.monotonic()

    def holds(self, instance_type: str, zone: str) -> bool:
        """Tell whether this is about a pool, by now."""
        return self.since <= time.monotonic() and fnmatchcase(instance_type, self.types) and fnmatchcase(zone, self.zones)


@dataclass
class Capacity:
    """The pools of one cloud; of several words about a pool the last one holds."""

    said: list[Pool] = field(default_factory=list)

    def say(self, types: str, zones: str, room: int | None, after: float = 0.0) -> None:
        """Limit pools, at once or so many seconds from now."""
        if not after:
            self.said = [pool for pool in self.said if (pool.types, pool.zones) != (types, zones)]
        self.said.append(Pool(types, zones, room, time.monotonic() + after))

    def listed(self) -> list[dict[str, Any]]:
        """Return what was said, with the seconds until it holds."""
        return [asdict(pool) | {"since": max(0, round(pool.since - time.monotonic()))} for pool in self.said]

    def free(self, backend: Any, instance_type: str, zone: str) -> float:
        """Return how many instances more a pool has room for."""
        room = next((pool.room for pool in reversed(self.said) if pool.holds(instance_type, zone)), None)
        if room is None:
            return math.inf
        taken = sum(
            instance.state in HOLDING and (instance.instance_type, instance.placement.zone) == (instance_type, zone)
            for instance in backend.all_instances()
        )
        return max(0, room - taken)

    def best_zone(self, backend: Any, instance_type: str, zones: Iterable[str]) -> str:
        """Return the zone with the most room, the first of equal ones: where EC2 goes if no zone is asked for."""
        return max(sorted(zones), key=lambda zone: self.free(backend, instance_type, zone))

    def missing(self, backend: Any, instance_type: str, zone: str, chosen: bool) -> Refused:
        """Return EC2's answer to a launch. chosen: the request named the zone."""
        if not chosen:  # github.com/fedora-copr/copr/issues/3279 has both messages
            where, instead = "zones with support for 'gp3' volumes", []
        else:
            where = f"the Availability Zone you requested ({zone})"
            instead = [other for other in zones_of(backend.region_name, instance_type) if self.free(backend, instance_type, other) >= 1]
        hint = (
            f" You can currently get {instance_type} capacity by not specifying an Availability Zone in your request or choosing "
            f"{', '.join(instead)}."
        )
        return Refused(
            CODE,
            f"We currently do not have sufficient {instance_type} capacity in {where}. "
            f"Our system will be working on provisioning additional capacity.{hint if instead else ''}",
            500,  # github.com/red-hat-storage/ocs-ci/issues/9263
        )

    def check_start(self, backend: Any, instances: Iterable[Any]) -> None:
        """Refuse a start for which one pool lacks room; it starts all or nothing (github.com/cloud-custodian/cloud-custodian/issues/463).

        Raises:
            Refused: with a message that names neither type nor zone (github.com/nib-health-funds/hammertime/issues/29).
        """
        for (instance_type, zone), count in Counter((one.instance_type, one.placement.zone) for one in instances).items():
            if self.free(backend, instance_type, zone) < count:
                raise Refused(CODE, "Insufficient capacity.", 500)


@functools.cache
def zones_of(region: str, instance_type: str) -> tuple[str, ...]:
    """Return the zones of a region that offer a type."""
    offered = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, [])
    return tuple(sorted(offering["Location"] for offering in offered if offering["InstanceType"] == instance_type))


def check_zone(region: str, instance_type: str, zone: str) -> None:
    """Refuse a zone that does not offer a type, in EC2's words (github.com/ned1313/Getting-Started-Terraform/issues/44).

    Raises:
        Refused: Unsupported.
    """
    offering = zones_of(region, instance_type)
    if zone not in offering:
        raise Refused(
            "Unsupported",
            f"Your requested instance type ({instance_type}) is not supported in your requested Availability Zone ({zone}). "
            f"Please retry your request by not specifying an Availability Zone or choosing {', '.join(offering)}.",
        )
