"""Refuses, before anything is attempted, a command line that would act on the wrong seats."""

from __future__ import annotations

import difflib
import fcntl
import os
import re
import sys
from pathlib import Path

import yaml
from ansible import constants, context
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import roster

ROOT = Path(__file__).parents[6]
SWITCHES = ("seats", "confirm", "machine", "interrupt", "reprove", "fresh_course", "ends", "here", "instance_type", "gib")
# Switches that one playbook alone reads, and cannot do without: that playbook, why, an example, whether it wants to know for whom.
BOUND = {
    "ends": ("extend.yml", "Only extend.yml moves the end, and needs to know until when.", "20:00", False),
    "here": ("access.yml", "Only access.yml opens the class to the network that you are in.", "true", False),
    "instance_type": ("resize.yml", "Only resize.yml gives seats another type, and needs to know which, and whose.", "g5.xlarge", True),
    "gib": ("grow.yml", "Only grow.yml makes disks larger, and needs to know how many GiB, and whose.", "150", True),
}
EXTEND = "ansible-playbook playbooks/extend.yml"
# Playbooks that make and change nothing of a class, at EC2 or in its folder, beside what each of them keeps whole.
LOOKING = ("lock.yml", "preflight.yml", "status.yml", "verify.yml")
CLASSROOM = re.compile(r"[a-z][a-z0-9_]{0,30}")
MACHINE = re.compile(r"i-[0-9a-f]{8,17}")
REFUSED = 4


def classroom() -> str:
    """Return the name of the class that this run is about."""
    return os.environ.get("CLASSROOM") or "class"


def classes() -> Path:
    """Return the folder in which the controller keeps what it has of all classes; group_vars/all/roles.yml says the same."""
    return Path(os.environ.get("CLASSROOM_CLASSES") or ROOT / "classes")


def is_ours(playbook: str) -> bool:
    """Say whether a playbook's path is site.yml or in playbooks/ of this repository."""
    path = Path(playbook).resolve()
    return path == ROOT / "site.yml" or path.parent == ROOT / "playbooks"


def settings() -> list[str]:
    """Return the names of the settings, which `-e` may override for a run."""
    return list(yaml.safe_load((ROOT / "group_vars/all/classroom.yml").read_text(encoding="utf-8")))


def refusal(classroom: str, subset: str | None, extra: dict, command: str, known: list[str]) -> str | None:
    """Return why a run must not begin, with the line to type, or None.

    `subset` is the value of --limit, `extra` what -e set, `command` the command without options, `known` the settings' names.
    """
    if not CLASSROOM.fullmatch(classroom):
        return f"CLASSROOM={classroom!r} is no name of a class: a small letter, then up to 30 small letters, digits or _."
    if subset:
        return f"--limit would leave the controller out, which all of this needs. Type: {command} -e seats={subset}"
    if "classroom_name" in extra:
        return f"The inventory cannot see -e. Type: CLASSROOM={extra['classroom_name']} {command}"
    if "until" in extra:
        return f"Ansible keeps the name until for itself. Type: {EXTEND} -e ends={extra['until']}"
    for name in extra:
        if name not in (*SWITCHES, *known):
            return unknown(name, extra[name], command, [*SWITCHES, *known])
    if misplaced := unbound(extra, command) or bad_machine(extra, command):
        return misplaced
    if "fresh_course" in extra and "seats" not in extra:
        return f"Every student's course would move aside. Type, with whose it shall be: {command} -e fresh_course=true -e seats=s01"
    if not str(extra.get("gib", 0)).isdecimal():
        return f"-e gib={extra['gib']} is no number of GiB. Type: {command} -e gib=150 -e seats={extra['seats']}"
    return bad_seats(extra["seats"], command) if "seats" in extra else None


def unbound(extra: dict, command: str) -> str | None:
    """Return which switch belongs to another playbook, or is missing from its own, with the line to type, or None."""
    for name, (playbook, why, example, for_seats) in BOUND.items():
        own = command.endswith(playbook)
        if (name in extra) != own or (own and for_seats and "seats" not in extra):
            seats = f" -e seats={extra.get('seats', 's01')}" if for_seats else ""
            return f"{why} Type: ansible-playbook playbooks/{playbook}{seats} -e {name}={extra.get(name, example)}"
    return None


def bad_machine(extra: dict, command: str) -> str | None:
    """Return what is wrong with `-e machine=`, which names the one machine that teardown.yml is to end, with the line to type, or None."""
    if "machine" not in extra or (command.endswith("teardown.yml") and MACHINE.fullmatch(str(extra["machine"]))):
        return None
    seats = f" -e seats={extra['seats']}" if "seats" in extra else ""
    end = f"Type: ansible-playbook playbooks/teardown.yml{seats} -e machine=i-0123456789abcdef0"
    return f"Only teardown.yml ends a machine, with its disk, and needs to know its id. {end}"


def unknown(name: str, value: object, command: str, known: list[str]) -> str:
    """Say that nothing reads `-e name=value`, and what was probably meant."""
    near = difflib.get_close_matches(name, known, n=1)
    mend = f"Did you mean {near[0]}? Type: {command} -e {near[0]}={value}" if near else f"There are {', '.join(SWITCHES)} and the settings."
    return f"Nothing reads `-e {name}`, so it would act on every seat. {mend}"


def bad_seats(value: object, command: str) -> str | None:
    """Say what is wrong with the value of `-e seats=`, which becomes a host pattern, or return None."""
    seats = roster.chosen(value) if isinstance(value, str) else []
    problems = [problem for seat in seats if (problem := roster.seat_problem(seat))] or ([] if seats else ["-e seats= names no seat."])
    return f"{problems[0]} Type: {command} -e seats=s01,s02" if problems else None


def no_place(folder: Path) -> str | None:
    """Return why keys cannot be kept in a folder, with the line to type, or None. What is missing of it is made by the run."""
    elsewhere = "Type: export CLASSROOM_CLASSES=$HOME/classes"
    if not folder.is_absolute():
        return f"CLASSROOM_CLASSES={folder} would be another folder wherever you are. {elsewhere}, or another whole path"
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return None
    return f"{folder}, which keeps the keys of your classes, is not yours to write to. {elsewhere}"


def check(playbook: str, loader) -> None:
    """End the run with status 4 and one line, if `playbook` is ours and must not run like this. (Ansible would turn an exception of
    a callback into a warning.) A check of the syntax attempts nothing, whatever it is given."""
    if not is_ours(playbook) or context.CLIARGS.get("syntax"):
        return
    command = f"ansible-playbook {os.path.relpath(playbook)}"
    reason = refusal(classroom(), context.CLIARGS.get("subset"), load_extra_vars(loader), command, settings()) or no_place(classes())
    if reason:
        Display().display(f"Refused: {reason}", color=constants.COLOR_ERROR, stderr=True)
        sys.exit(REFUSED)


def take_turn(playbook: str) -> int | None:
    """Wait until no other run of this user's makes or changes the class at EC2; return what holds the others up, or None.

    Two first runs at once would each make keys, and one of them seats that the other's key opens. A run that is killed holds nobody up.
    """
    if not is_ours(playbook) or playbook.endswith(LOOKING) or context.CLIARGS.get("syntax") or context.CLIARGS.get("check"):
        return None
    classes().mkdir(mode=0o700, parents=True, exist_ok=True)
    turn = os.open(classes() / f".{classroom()}.turn", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        Display().display(f"Another run is at work on class {classroom()} at EC2. This one goes on when that is done.", stderr=True)
        fcntl.flock(turn, fcntl.LOCK_EX)
    return turn


def give_turn(turn: int | None) -> None:
    """Let the next run begin. (Closing the file alone would not: workers have it open, too.)"""
    if turn is not None:
        fcntl.flock(turn, fcntl.LOCK_UN)
        os.close(turn)
