"""The commands that make a cloud scarce or faulty. They act on the cloud that the shell points at, as every AWS tool does."""

from __future__ import annotations

import os
from argparse import Namespace

from rehearsal.control import Control
from rehearsal.state import MACHINE, StateError


def capacity(options: Namespace) -> int:
    """Say how many instances of a type a zone has room for; without a word, list what was said."""
    if options.types and options.room is False:
        raise StateError("Say all three: python -m rehearsal capacity TYPE ZONE ROOM")
    said = {"types": options.types, "zones": options.zones, "room": options.room, "after": options.after} if options.types else {}
    for pool in _control()("Capacity", clear=options.clear, **said):
        room = "unlimited" if pool["room"] is None else pool["room"]
        print(f"{pool['types']:16} {pool['zones']:12} {room}" + (f" in {pool['since']} s" if pool["since"] else ""))
    return 0


def quota(options: Namespace) -> int:
    """Set the vCPUs that a family may use, or answer a request for more; then list the quotas."""
    control, region = _control(), options.region
    if options.grant is not False:
        control("GrantQuota", region=region, family=options.family, value=options.grant)
    elif options.deny:
        control("DenyQuota", region=region, family=options.family)
    elif options.vcpus is not False:
        control("SetQuota", region=region, family=options.family, value=options.vcpus)
    for one in control("Quotas", region=region):
        applied = f"{one['default']:.0f} by default" if one["applied"] is None else f"{one['applied']:.0f}"
        asked = f"  requested: {one['asked']:.0f}" if one["asked"] is not None else ""
        print(f"{one['code']}  {one['name']:12} {one['used']:5} of {applied} vCPUs in use{asked}")
    return 0


def verification(options: Namespace) -> int:
    """Let AWS validate the account first, or be through with it."""
    _control()("Verification", pending=options.state == "pending")
    return 0


def throttle(options: Namespace) -> int:
    """Have EC2's request rates, or none."""
    _control()("Throttle", on=options.state == "on")
    return 0


def fault(options: Namespace) -> int:
    """Add a fault, or clear; then list what is to come."""
    control = _control()
    if options.clear:
        control("Faults", clear=True, action=options.action or "")
    elif options.action:
        names = ("action", "code", "status", "message", "count", "skip", "delay", "lost_reply", "partial", "stale")
        control("AddFault", **{name: getattr(options, name) for name in names})
    for one in control("Faults"):
        parts = {name: value for name, value in one.items() if value and name not in ("id", "action", "code", "count")}
        times = "until cleared" if one["count"] is None else f"{one['count']} times"
        print(" ".join([one["action"], one["code"] or "-", times, *(f"{name}={value}" for name, value in parts.items())]))
    return 0


def calls(options: Namespace) -> int:
    """Count the calls of each action."""
    for name, count in _control()("Calls", clear=options.clear).items():
        print(f"{count:7} {name}")
    return 0


def reset(options: Namespace) -> int:
    """Begin anew."""
    _control()("Reset")
    return 0


def _control() -> Control:
    return Control(os.environ if "AWS_ENDPOINT_URL" in os.environ else MACHINE.environment())
