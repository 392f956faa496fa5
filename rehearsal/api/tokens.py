"""Client tokens of RunInstances: one launch a token, however often it is asked for.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html: a token holds in the zone that the request names, by Placement or
by subnet, else in the region. The same token with other parameters is IdempotentParameterMismatch, also after a launch that found no
capacity (github.com/ubicloud/ubicloud/pull/5898); with a terminated instance it is IdempotentInstanceTerminated, in whose place EC2
returned the instance until January 2025 (github.com/boto/boto3/issues/4406).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .capacity import CODE as NO_CAPACITY
from .errors import Refused

MISMATCH = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
TERMINATED = "The client token you have provided is associated with a terminated instance. Please use a different client token."
Key = tuple[str, str, str]  # region, zone or nothing, token


@dataclass
class Tokens:
    """What each token was first used for: the parameters, and the reservation once there is one."""

    used: dict[Key, tuple[str, Any | None]] = field(default_factory=dict)

    def launch(self, key: Key, asked: dict[str, Any], launch: Callable[[], Any]) -> Any:
        """Return the reservation of a token, launching it only the first time.

        Raises:
            Refused: the token was used for something else, or for an instance that is gone.
        """
        if not key[2]:
            return launch()
        asked_before, reservation = self.used.get(key, (None, None))
        wanted = json.dumps(asked, sort_keys=True, default=str)
        if asked_before not in (None, wanted):
            raise Refused("IdempotentParameterMismatch", MISMATCH)
        if reservation is None:
            return self._first(key, wanted, launch)
        if any(instance.state == "terminated" for instance in reservation.instances):
            raise Refused("IdempotentInstanceTerminated", TERMINATED)
        return reservation

    def _first(self, key: Key, wanted: str, launch: Callable[[], Any]) -> Any:
        try:
            reservation = launch()
        except Refused as refused:
            if refused.code == NO_CAPACITY:
                self.used[key] = (wanted, None)
            raise
        self.used[key] = (wanted, reservation)
        return reservation
