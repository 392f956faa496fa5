"""The commands' side door: calls of a service of their own, signed with the cloud's key like every other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import errors
from .errors import Answer, Call
from .quotas import FAMILIES, Family, family_named

if TYPE_CHECKING:
    from .cloud import Cloud

SERVICE = "rehearsal"


def answer_to(cloud: Cloud, call: Call, asked: dict[str, Any]) -> Answer:
    """Carry out a command. What it cannot do is a ValidationException with a sentence for people."""
    act = ACTIONS.get(call.action)
    if act is None:
        return errors.unsupported(call)
    try:
        with cloud.lock:
            done = act(cloud, **asked)
    except (TypeError, ValueError) as problem:
        return errors.answer(call, 400, "ValidationException", str(problem))
    return 200, "application/x-amz-json-1.1", json.dumps(done).encode()


def _capacity(cloud: Cloud, types: str = "", zones: str = "", room: int | None = None, after: float = 0.0, clear: bool = False) -> Any:
    capacity = cloud.limits.capacity
    if clear:
        capacity.said.clear()
    if types:
        capacity.say(types, zones, room, after)
    return capacity.listed()


def _quotas(cloud: Cloud, region: str) -> Any:
    from moto.ec2.models import ec2_backends

    from rehearsal import ACCOUNT

    quotas, backend = cloud.limits.quotas, ec2_backends[ACCOUNT][region]
    return [
        {
            "code": family.code,
            "name": family.name,
            "title": family.title,
            "applied": quotas.value(region, family),
            "default": family.default,
            "used": quotas.used(backend, family),
            "asked": getattr(quotas.open_increase(region, family), "desired", None),
        }
        for family in FAMILIES
    ]


def _set_quota(cloud: Cloud, region: str, family: str, value: float | None) -> Any:
    cloud.limits.quotas.apply(region, _family(family), value)


def _grant_quota(cloud: Cloud, region: str, family: str, value: float | None) -> Any:
    return cloud.limits.quotas.grant(region, _family(family), value)


def _deny_quota(cloud: Cloud, region: str, family: str) -> Any:
    cloud.limits.quotas.deny(region, _family(family))


def _family(name: str) -> Family:
    family = family_named(name)
    if family is None:
        raise ValueError(f"There is no vCPU quota {name}. There are: {', '.join(f'{one.name} ({one.code})' for one in FAMILIES)}.")
    return family


def _verification(cloud: Cloud, pending: bool) -> Any:
    cloud.limits.verifying = pending


def _throttle(cloud: Cloud, on: bool) -> Any:
    cloud.limits.throttle.on = on
    cloud.limits.throttle.buckets.clear()


def _faults(cloud: Cloud, clear: bool = False, action: str = "") -> Any:
    if clear:
        cloud.limits.faults.clear(action)
    return cloud.limits.faults.describe()


def _add_fault(cloud: Cloud, **said: Any) -> Any:
    cloud.limits.faults.add(**said)


def _calls(cloud: Cloud, clear: bool = False) -> Any:
    counted = dict(sorted(cloud.limits.calls.items()))
    if clear:
        cloud.limits.calls.clear()
    return counted


def _reset(cloud: Cloud) -> Any:
    if not hasattr(cloud, "reset"):
        raise ValueError("A cloud with hosts begins anew with: python -m rehearsal down && python -m rehearsal up")
    cloud.reset()


ACTIONS: dict[str, Callable[..., Any]] = {
    "Capacity": _capacity,
    "Quotas": _quotas,
    "SetQuota": _set_quota,
    "GrantQuota": _grant_quota,
    "DenyQuota": _deny_quota,
    "Verification": _verification,
    "Throttle": _throttle,
    "Faults": _faults,
    "AddFault": _add_fault,
    "Calls": _calls,
    "Reset": _reset,
}
