"""EC2's request rates: a bucket of tokens for each action, off unless asked for.

Sizes and refill rates: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html, without the actions that no class uses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import Call, Refused

Rate = tuple[int, float]  # size of a bucket, tokens a second
READS: Rate = (100, 20)
READS_OF_ALL: Rate = (50, 10)  # asked without filter and page: "unfiltered and unpaginated"
WRITES: Rate = (50, 5)  # resource-intensive ones, as AuthorizeSecurityGroupIngress and CreateKeyPair, have a bucket of the same size
READING = ("Describe", "Get", "List", "Search")
OF_ALL = (
    "DescribeInstances",
    "DescribeInstanceStatus",
    "DescribeNetworkInterfaces",
    "DescribeSecurityGroups",
    "DescribeSnapshots",
    "DescribeSpotInstanceRequests",
    "DescribeVolumes",
)
OWN: dict[str, Rate] = {
    "AssociateIamInstanceProfile": (100, 5),
    "CreateDefaultVpc": (1, 1),
    "CreateLaunchTemplateVersion": (100, 5),
    "CreateNetworkInterface": (100, 5),
    "CreateSnapshot": (100, 5),
    "CreateTags": (100, 10),
    "CreateVolume": (100, 5),
    "DeleteNetworkInterface": (100, 5),
    "DeleteSnapshot": (100, 5),
    "DeleteTags": (100, 10),
    "DeleteVolume": (100, 5),
    "DeregisterImage": (100, 5),
    "DescribeReservedInstancesOfferings": (10, 10),
    "DisassociateIamInstanceProfile": (100, 5),
    "ModifyInstanceMetadataOptions": (100, 5),
    "ModifyLaunchTemplate": (100, 5),
    "ModifyNetworkInterfaceAttribute": (100, 5),
    "RunInstances": (5, 2),
    "StartInstances": (5, 2),
    "TerminateInstances": (100, 5),
}
INSTANCES: dict[str, Rate] = {
    "RunInstances": (1000, 2),
    "StartInstances": (1000, 2),
    "StopInstances": (1000, 20),
    "TerminateInstances": (1000, 20),
}


@dataclass
class Bucket:
    """Tokens that come back with time, up to the size."""

    rate: Rate
    tokens: float
    at: float

    def refill(self, now: float) -> None:
        size, speed = self.rate
        self.tokens, self.at = min(size, self.tokens + (now - self.at) * speed), now


@dataclass
class Throttle:
    """The buckets of one account, by region and action; full at their first use."""

    on: bool = False
    clock: Callable[[], float] = time.monotonic
    buckets: dict[tuple[str, ...], Bucket] = field(default_factory=dict)

    def check(self, region: str, call: Call, whole: bool, instances: int) -> None:
        """Take a token for a call, and one for each instance that it is about.

        Args:
            region: of the call; each has buckets of its own.
            call: only EC2's are counted.
            whole: a read without filter and without page.
            instances: how many instances a launch, start, stop or termination is about.

        Raises:
            Refused: RequestLimitExceeded; no token is taken then.
        """
        if not self.on or call.service != "ec2":
            return
        wanted = [(self._bucket(region, "request", call.action, rate=request_rate(call.action, whole)), 1)]
        if call.action in INSTANCES:
            wanted.append((self._bucket(region, "instances", call.action, rate=INSTANCES[call.action]), instances))
        if any(bucket.tokens < tokens for bucket, tokens in wanted):
            raise Refused("RequestLimitExceeded", "Request limit exceeded.", 503)
        for bucket, tokens in wanted:
            bucket.tokens -= tokens

    def _bucket(self, *name: str, rate: Rate) -> Bucket:
        now = self.clock()
        bucket = self.buckets.setdefault((*name, str(rate)), Bucket(rate, rate[0], now))
        bucket.refill(now)
        return bucket


def request_rate(action: str, whole: bool) -> Rate:
    """Return the bucket of an action."""
    if action in OWN:
        return OWN[action]
    if not action.startswith(READING):
        return WRITES
    return READS_OF_ALL if whole and action in OF_ALL else READS
