"""Faults on command: what a call is answered instead of, before or after it is carried out."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from rehearsal import ACCOUNT

from .errors import Answer, Call, answer

# No calls: the moments in which an instance's host starts, and in which its disk is made a snapshot.
BOOT, FREEZE = (Call("rehearsal", name, "") for name in ("Boot", "Freeze"))
CALLER = f"arn:aws:sts::{ACCOUNT}:user/moto"  # what moto's GetCallerIdentity says
DENIED = f"User: {CALLER} is not authorized to perform: {{name}} because no identity-based policy allows the {{name}} action"
VERIFYING = (
    "Your request for accessing resources in this region is being validated, and you will not be able to launch additional resources in "
    "this region until the validation is complete. We will notify you by email once your request has been validated. While normally "
    "resolved within minutes, please allow up to 4 hours for this process to complete. If the issue still persists, please let us know by "
    "writing to aws-verification@amazon.com for further assistance."
)
# Status and message of the codes that a class meets. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html and
# the threads: PendingVerification openshift/installer#1709, UnauthorizedOperation aws/karpenter-provider-aws#7370,
# AccessDeniedException aws-ia/terraform-aws-control_tower_account_factory#174.
KNOWN = {
    "AccessDenied": (403, DENIED),
    "AccessDeniedException": (400, DENIED),
    "InsufficientInstanceCapacity": (500, "Insufficient capacity."),
    "InternalError": (500, "An internal error has occurred"),
    "InternalServerError": (500, "An error occurred on the server side."),
    "OptInRequired": (401, "You are not subscribed to this service. Please go to http://aws.amazon.com to subscribe."),
    "PendingVerification": (400, VERIFYING),
    "RequestLimitExceeded": (503, "Request limit exceeded."),
    "ServiceUnavailable": (503, "Service unavailable. Please try again shortly."),
    "Throttling": (400, "Rate exceeded"),
    "ThrottlingException": (400, "Rate exceeded"),
    "TooManyRequestsException": (400, "Too Many Requests"),
    "Unavailable": (503, "The service is unavailable. Please try again shortly."),
    "UnauthorizedOperation": (403, f"You are not authorized to perform this operation. {DENIED}"),
}
# One word for what each service, or each protocol, says in its own.
WORDS = {
    "Denied": {"ec2": "UnauthorizedOperation", "query": "AccessDenied", "json": "AccessDeniedException", "rest-xml": "AccessDenied"},
    "Throttled": {
        "servicequotas": "TooManyRequestsException",
        "ec2": "RequestLimitExceeded",
        "query": "Throttling",
        "json": "ThrottlingException",
        "rest-xml": "ServiceUnavailable",
    },
}
_now: ContextVar[Fault | None] = ContextVar("fault", default=None)


@dataclass
class Fault:
    """One fault.

    Attributes:
        action: pattern of the shell, `RunInstances` or `ec2:Describe*`; `Boot` is the start of an instance's host, `Freeze` the
            moment in which its disk is made a snapshot.
        code: the error to answer instead of carrying the call out; empty for none. `Denied` and `Throttled` are each service's own.
        status, message: of that error; EC2's where they are not said.
        count: calls that it still meets; None until it is cleared.
        skip: calls that it still lets pass before.
        delay: seconds to wait first.
        lost_reply: carry the call out, then close the connection without an answer.
        partial: launch no more instances than this, or answer DescribeInstances in pages of this many reservations.
        stale: answer a read without the instances launched in the last so many seconds.
    """

    action: str
    code: str = ""
    status: int = 0
    message: str = ""
    count: int | None = 1
    skip: int = 0
    delay: float = 0.0
    lost_reply: bool = False
    partial: int | None = None
    stale: float = 0.0
    id: int = field(default_factory=itertools.count(1).__next__)

    def meets(self, call: Call) -> bool:
        if call in (BOOT, FREEZE) or self.action in (BOOT.action, FREEZE.action):
            return call in (BOOT, FREEZE) and self.action == call.action
        return fnmatchcase(call.name if ":" in self.action else call.action, self.action)

    def error(self, call: Call) -> Answer | None:
        """Return the answer that takes the call's place."""
        if not self.code:
            return None
        own = WORDS.get(self.code, {})
        code = own.get(call.service) or own.get(call.protocol, self.code)
        status, message = KNOWN.get(code, (400, f"{code}: a fault of this rehearsal."))
        return answer(call, self.status or status, code, (self.message or message).replace("{name}", call.name))


@dataclass
class Faults:
    """The faults of one cloud, the first one that meets a call counts."""

    listed: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **said: Any) -> Fault:
        with self.lock:
            self.listed.append(Fault(**said))
            return self.listed[-1]

    def describe(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self.listed]

    def clear(self, action: str = "") -> None:
        """Forget the faults of an action, or all."""
        with self.lock:
            self.listed = [fault for fault in self.listed if action and fault.action != action]

    def take(self, call: Call) -> Fault | None:
        """Return the fault that a call meets, after the wait that it orders."""
        with self.lock:
            fault = next((fault for fault in self.listed if fault.meets(call)), None)
            if fault and fault.skip:
                fault.skip -= 1
                return None
            if fault and fault.count is not None:
                fault.count -= 1
                if not fault.count:
                    self.listed.remove(fault)
        if fault:
            time.sleep(fault.delay)
        return fault


@contextmanager
def effective(fault: Fault | None) -> Iterator[None]:
    """Let `at_most` and `stale` know the fault of the call that is carried out."""
    token = _now.set(fault)
    try:
        yield
    finally:
        _now.reset(token)


def at_most(count: int) -> int:
    """Return how many of so many instances the fault of this call lets through."""
    fault = _now.get()
    return count if fault is None or fault.partial is None else min(count, fault.partial)


def stale() -> float:
    """Return how many seconds this read is behind."""
    fault = _now.get()
    return fault.stale if fault else 0.0
