"""What an organiser wrote down about a class: the stack and its machines, the roster, the networks, the end. No cloud is asked."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import networks, roster, schedule
from ansible_collections.classroom.gpu.plugins.module_utils.stack import verdict


def guess(word: str, known: list[str]) -> str:
    """Return ` Did you mean x?` or nothing."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""


def settings_file(params: dict) -> str:
    """The file in which an organiser sets what is wrong."""
    return f"group_vars/classroom_{params['classroom']}.yml"


def check_settings(params: dict, problems: list[str]) -> None:
    """Check what needs no cloud."""
    mend = f"in {settings_file(params)}."
    wrong = networks.network_problems(params["allowed_cidrs"], params["allow_everyone"])
    problems += [f"classroom_allowed_cidrs in {settings_file(params)}: {problem}" for problem in wrong]
    if params["spot"]:
        problems.append(f"Spot machines are refused: AWS takes them back at two minutes' notice, in class. Remove classroom_spot {mend}")
    if not params["course"]:
        problems.append(f"The class has no course. Set classroom_course_repository, the address of a git repository, {mend}")
    wrong = schedule.session_problems(params["sessions"], zone(params))
    problems += [f"classroom_sessions in {settings_file(params)}: {problem}" for problem in wrong]


def read_stack(path: Path) -> tuple[dict, list[str]]:
    """Return the stack of a stack.yml, and what is wrong with the file."""
    try:
        stack = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        return {}, [f"it is no YAML ({' '.join(str(error).split())})."]
    wrong = verdict.stack_problems(stack)
    return ({} if wrong else stack), wrong


def check_stack(params: dict, problems: list[str]) -> str:
    """Judge the stack on the class's instance types, before anything else; return the plan's line about the GPU."""
    folder, mend = Path(params["stack"]), f"in {settings_file(params)}."
    known = {path.parent.name: read_stack(path) for path in sorted(folder.parent.glob("*/stack.yml"))}
    if folder.name not in known:
        problems.append(f"There is no stack {folder.name}.{guess(folder.name, list(known))} Set classroom_stack {mend}")
        return ""
    stack, wrong = known[folder.name]
    problems += [f"{folder}/stack.yml: {problem}" for problem in wrong]
    if wrong:
        return ""
    system, cards = verdict.system_of(params["image"]), []
    for kind in params["instance_types"]:
        found = verdict.verdict(stack, kind, system, [one for one, _ in known.values() if one])
        cards.append(found.gpu)
        if not found.ok:
            works = [f"What works is {found.nearest}: set classroom_stack and classroom_instance_type {mend}"] if found.nearest else []
            where = f"{kind} under {system}" if system else kind
            reasons = [f"- {reason}" for reason in found.reasons]
            problems.append("\n".join([f"Stack {folder.name} cannot run on {where}:", *reasons, *works]))
    gpu = ", or ".join(dict.fromkeys(cards))
    return gpu if system else f"{gpu} (the image's system is unknown, so it was not held against the stack)"


def zone(params: dict) -> str:
    """Return the zone in which ends are told."""
    return schedule.zone_of(params["ends"], params["timezone"])


def check_ends(params: dict, problems: list[str]) -> str:
    """Return the end that is set, as tags hold it; empty if it is none."""
    example = f'`classroom_ends: "{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d} 18:00 Europe/Berlin"`, or never'
    if not params["ends"]:
        problems.append(f"classroom_ends is not set: nothing is launched without its end. Write {example}, into {settings_file(params)}.")
        return ""
    try:
        return schedule.stamp(schedule.end_of(params["ends"]))
    except ValueError as error:
        problems.append(f"classroom_ends: {error} Write it as {example}, in {settings_file(params)}.")
        return ""


def check_until(params: dict, problems: list[str]) -> str:
    """Return the end that -e ends= asks for, as tags hold it; empty if it is none."""
    now = datetime.now(UTC)
    try:
        end = schedule.until(params["until"], zone(params), now)
    except ValueError as error:
        problems.append(f"-e ends=: {error} Write it as 20:00, which is today, as {now:%Y-%m-%d}T20:00, or never.")
        return ""
    if end and end <= now:
        told = schedule.words(schedule.stamp(end), zone(params))
        other = f"Another day's is written as {now + timedelta(days=1):%Y-%m-%d}T20:00."
        problems.append(f"-e ends={params['until']} is {told}, which is past. {other}")
    return schedule.stamp(end)


def moved(found: dict, params: dict) -> list[str]:
    """Return the wanted seats that exist and get another end. One that was moved since the settings were last edited keeps its own."""
    if not found["ends"]:
        return []
    known = "ends" if params["until"] else "planned"
    return [seat["seat"] for seat in found["existing"] if seat[known] != found["ends"] or not seat["ends"]]


def check_past(found: dict, params: dict, problems: list[str]) -> None:
    """Refuse to launch or start what would stop at once."""
    new = [seat["seat"] for seat in found["missing"]] + found["moved"]
    now = datetime.now(UTC)
    if new and schedule.is_past(found["ends"], now):
        mend = f"Set a later one in {settings_file(params)}."
        problems.append(f"classroom_ends is {params['ends']}, which is past: {', '.join(new)} would stop at once. {mend}")
    over = [seat["seat"] for seat in found["existing"] if seat["seat"] not in new and schedule.is_past(seat["ends"], now)]
    if over:
        move = f"Move it: `ansible-playbook playbooks/extend.yml -e ends=20:00 -e seats={','.join(over)}`"
        problems.append(f"The end of {', '.join(over)} is past. {move}, or set another classroom_ends in {settings_file(params)}.")


def check_roster(params: dict, problems: list[str]) -> list[str]:
    """Return the seats of the roster file."""
    path = Path(params["roster"])
    if not path.is_file():
        problems.append(f"There is no roster {path}. Type `cp rosters/example.csv {path}` and write your class into it.")
        return []
    seats, wrong = roster.read_roster(path.read_text(encoding="utf-8-sig"))
    problems += [f"Roster {path}: {problem}" for problem in wrong]
    return seats


def choose(only: str, known: list[str], where: str, problems: list[str]) -> list[str]:
    """Return the seats that `-e seats=` chooses among the known ones; all of them if it is empty."""
    chosen = roster.chosen(only)
    unknown = [seat for seat in chosen if seat not in known]
    if unknown:
        problems.append(f"-e seats= names {', '.join(unknown)}, but {where} has {', '.join(known) or 'no seat'}.")
    return chosen or known
