"""What is scarce in this account, and may fail: all of it in one object, so that a cloud can begin anew."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from . import faults
from .capacity import Capacity
from .errors import Refused
from .faults import Faults
from .quotas import Quotas, family_of
from .throttle import Throttle
from .tokens import Tokens


@dataclass
class Limits:
    """Attributes: verifying: AWS still validates the account; calls: how often each action was asked for."""

    capacity: Capacity = field(default_factory=Capacity)
    quotas: Quotas = field(default_factory=Quotas)
    throttle: Throttle = field(default_factory=Throttle)
    faults: Faults = field(default_factory=Faults)
    tokens: Tokens = field(default_factory=Tokens)
    calls: Counter[str] = field(default_factory=Counter)
    verifying: bool = False

    def check_verified(self) -> None:
        """Refuse what an account may not do that AWS still validates.

        Raises:
            Refused: PendingVerification.
        """
        if self.verifying:
            status, message = faults.KNOWN["PendingVerification"]
            raise Refused("PendingVerification", message, status)

    def admitted(self, backend: Any, instance_type: str, zone: str, least: int, most: int, spot: bool, chosen: bool) -> int:
        """Return how many instances may be launched: as many as the quota allows and the pool has room for.

        "EC2 launches the largest possible number of instances above the specified minimum count":
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html

        Raises:
            Refused: fewer than the least.
        """
        self.check_verified()
        allowed = most if spot else min(most, self.quotas.fitting(backend, instance_type))
        if allowed < least:
            raise self.quotas.exceeded(backend.region_name, family_of(instance_type))
        room = int(min(faults.at_most(allowed), self.capacity.free(backend, instance_type, zone)))
        if room < least:
            raise self.capacity.missing(backend, instance_type, zone, chosen)
        return room

    def check_start(self, backend: Any, instances: list[Any]) -> None:
        """Refuse a start beyond quota or capacity, before any of the instances is touched. Raises Refused."""
        self.check_verified()
        self.quotas.check_start(backend, instances)
        self.capacity.check_start(backend, instances)
