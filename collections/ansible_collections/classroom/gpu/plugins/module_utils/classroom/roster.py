"""The roster: who sits where. Pure functions, shared by modules, filters and tests."""

from __future__ import annotations

import csv
import re

SEAT_ID = re.compile(r"[a-z][a-z0-9-]{0,30}")
# Names that Ansible gives to hosts and groups of its own: a play for a seat of that name would act on more than a seat.
RESERVED = ("all", "localhost", "seats", "ungrouped")
COLUMNS = ("seat", "name", "email")


def seat_problem(seat: str) -> str | None:
    """Say what is wrong with a seat id, or None."""
    if SEAT_ID.fullmatch(seat) and seat not in RESERVED:
        return None
    return f"{seat!r} is no seat id: a small letter, then up to 30 small letters, digits or dashes, and none of {', '.join(RESERVED)}."


def read_roster(text: str) -> tuple[list[str], list[str]]:
    """Return the seat ids of a roster (CSV with a header seat,name,email) in its order, and what is wrong with it."""
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or [])]
    if missing:
        return [], [f"its first line must be `{','.join(COLUMNS)}`, and {', '.join(missing)} is missing there."]
    seats, problems = [], []
    for row in rows:
        seat = (row["seat"] or "").strip()
        problem = f"seat {seat} is there twice." if seat in seats else seat_problem(seat)
        problems += [f"line {rows.line_num}: {problem}"] if problem else []
        seats.append(seat)
    return seats, problems if seats else ["it has no seat."]


def chosen(only: str) -> list[str]:
    """Split the value of `-e seats=s01,s07` into ids."""
    return [seat.strip() for seat in only.split(",") if seat.strip()]
