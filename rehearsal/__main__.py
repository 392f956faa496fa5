"""python -m rehearsal COMMAND: a local EC2 with real hosts, or its API alone.

up, down, status, env and doctor are the cloud; capacity, quota, verification, throttle and fault make it scarce or faulty:
docs/rehearsal.md, "Scarcity and faults".
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rehearsal import REGION, commands, state
from rehearsal.hosts import privilege

ALWAYS = "always"


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_cloud(subparsers)
    _add_scarcity(subparsers)
    _add_fault(subparsers)
    return parser.parse_args(argv)


def _add_cloud(subparsers: argparse._SubParsersAction) -> None:
    up = subparsers.add_parser("up", help="start the cloud; a running one stays as it is (asks for root through sudo)")
    down = subparsers.add_parser("down", help="end the cloud with everything in it; nothing is left (asks for root through sudo)")
    status = subparsers.add_parser("status", help="say what runs")
    env = subparsers.add_parser("env", help='print the environment for AWS tools: eval "$(python -m rehearsal env)"')
    doctor = subparsers.add_parser("doctor", help="check this machine and print the command that mends each finding")
    for command in (up, doctor):
        command.add_argument("--cidr", default="172.31.0.0/16", help="network of the hosts, at least a /24 (default: %(default)s)")
    for command in (up, down, status, env):
        command.add_argument("--no-hosts", action="store_true", help="the API alone: no root, no containers, instances run by themselves")
        command.add_argument("--state", type=Path, metavar="FOLDER", help="with --no-hosts: another cloud than the user's one")
    up.add_argument("--port", type=int, default=0, help="with --no-hosts: of the API (default: a free one)")
    up.add_argument("--throttle", action="store_true", help="have EC2's request rates from the start")


def _add_scarcity(subparsers: argparse._SubParsersAction) -> None:
    capacity = subparsers.add_parser("capacity", help="say how many instances of a type a zone has room for; the last word holds")
    capacity.add_argument("types", nargs="?", metavar="TYPE", help="g4dn.xlarge, or a pattern: 'g*'")
    capacity.add_argument("zones", nargs="?", metavar="ZONE", help="us-west-2a, or a pattern: '*'")
    capacity.add_argument("room", nargs="?", type=_or_none(int, "unlimited"), default=False, metavar="ROOM", help="or `unlimited`")
    capacity.add_argument("--after", type=float, default=0.0, metavar="SECONDS", help="from then on")
    capacity.add_argument("--clear", action="store_true", help="unlimited again, everywhere")
    quota = subparsers.add_parser("quota", help="set the vCPUs that a family may use, or answer a request for more; list")
    quota.add_argument("family", nargs="?", help="g, p, standard, ... or a code: L-DB2E81BA")
    quota.add_argument("vcpus", nargs="?", type=_or_none(float, "default"), default=False, help="or `default`: no value is applied")
    quota.add_argument("--region", default=REGION, help="(default: %(default)s)")
    quota.add_argument("--grant", nargs="?", type=float, const=None, default=False, metavar="VCPUS", help="the open request, or part of it")
    quota.add_argument("--deny", action="store_true", help="the open request")
    verification = subparsers.add_parser("verification", help="let AWS validate the account before it launches (PendingVerification)")
    verification.add_argument("state", choices=["pending", "done"])
    throttle = subparsers.add_parser("throttle", help="have EC2's request rates (RequestLimitExceeded); off unless asked for")
    throttle.add_argument("state", choices=["on", "off"])
    calls = subparsers.add_parser("calls", help="count the API calls of each action")
    calls.add_argument("--clear", action="store_true", help="and begin at 0")
    subparsers.add_parser("reset", help="empty a cloud without hosts: no instances, no limits, no faults")


def _add_fault(subparsers: argparse._SubParsersAction) -> None:
    fault = subparsers.add_parser("fault", help="let calls fail, wait, lose their reply or be behind; list", epilog=FAULT_HELP)
    moments = "Boot is a host's start, Freeze its disk's snapshot"
    fault.add_argument("action", nargs="?", metavar="ACTION", help=f"RunInstances, or a pattern: 'ec2:Describe*'; {moments}")
    fault.add_argument("code", nargs="?", default="", metavar="CODE", help="the error; `Denied` and `Throttled` are each service's own")
    fault.add_argument("--status", type=int, default=0, help="HTTP status (default: EC2's)")
    fault.add_argument("--message", default="", help="(default: EC2's)")
    fault.add_argument("--count", type=_or_none(int, ALWAYS), default=1, metavar="N", help="calls it meets, or `always` (default: 1)")
    fault.add_argument("--skip", type=int, default=0, metavar="N", help="calls that pass before")
    fault.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="wait before the answer")
    fault.add_argument("--lost-reply", action="store_true", help="carry the call out, then close the connection")
    fault.add_argument("--partial", type=int, metavar="N", help="launch N instances at most; DescribeInstances: pages of N reservations")
    fault.add_argument("--stale", type=float, default=0.0, metavar="SECONDS", help="reads without what was launched since so long ago")
    fault.add_argument("--clear", action="store_true", help="forget the faults of ACTION, or all")


FAULT_HELP = "Example: python -m rehearsal fault RunInstances InsufficientInstanceCapacity --count 2"


def _or_none(kind: type, word: str):
    """Return a reader of numbers that takes one word for None."""

    def read(text: str) -> int | float | None:
        return None if text == word else kind(text)

    read.__name__ = f"number or `{word}`"
    return read


def main(argv: list[str]) -> int:
    """Run one command and return its exit status."""
    options = parse(argv)
    if options.command in ("up", "down") and not options.no_hosts:
        privilege.become(argv)
    try:
        return _run(options)
    except state.StateError as problem:
        print(problem, file=sys.stderr)
    except commands.problems() as problem:
        print(problem, file=sys.stderr)
    return 1


def _run(options: argparse.Namespace) -> int:
    if hasattr(commands, options.command):
        return getattr(commands, options.command)(options)
    from rehearsal import fault_commands

    return getattr(fault_commands, options.command)(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
