"""python -m rehearsal up | down | status | env | doctor: a local EC2 with real hosts."""

from __future__ import annotations

import argparse
import sys

from rehearsal import commands, privilege, state


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal", description=__doc__)
    commands_ = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands_.add_parser("up", help="start the cloud; a running one stays as it is (asks for root through sudo)")
    commands_.add_parser("down", help="end the cloud with everything in it; nothing is left (asks for root through sudo)")
    commands_.add_parser("status", help="say what runs")
    commands_.add_parser("env", help='print the environment for AWS tools: eval "$(python -m rehearsal env)"')
    doctor = commands_.add_parser("doctor", help="check this machine and print the command that mends each finding")
    for command in (up, doctor):
        command.add_argument("--cidr", default="172.31.0.0/16", help="network of the hosts, at least a /24 (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Run one command and return its exit status."""
    options = parse(argv)
    if options.command in ("up", "down"):
        privilege.become(argv)
    try:
        return getattr(commands, options.command)(options)
    except (state.StateError, *commands.problems()) as problem:
        print(problem, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
