"""When a class is held and when its machines stop: the settings' texts, moments in UTC, and words for them. Pure functions."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

NEVER = "never"
# A moment as the tag classroom:ends and a seat's own file hold it.
STAMP = "%Y-%m-%dT%H:%M:%SZ"
END = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d) (\S+)")
UNTIL = re.compile(r"(?:(\d{4}-\d\d-\d\d)[T ])?(\d\d:\d\d)(?: (\S+))?")
HOUR = re.compile(r"\d\d:\d\d")
SESSION = {"day", "from", "to"}


@cache
def zones() -> set[str]:
    """Return the names of all time zones."""
    return available_timezones()


def zone_called(name: str) -> ZoneInfo:
    """Return a time zone; ValueError, with the nearest name, for one that the tz database does not have."""
    if name in zones():
        return ZoneInfo(name)
    near = difflib.get_close_matches(name, zones(), n=1)
    hint = f" Did you mean {near[0]}?" if near else "" if zones() else " This computer has no time zones: install the package tzdata."
    raise ValueError(f"{name} is no time zone of the tz database.{hint}")


def moment(day: str, hour: str, zone: ZoneInfo) -> datetime:
    """Return, in UTC, when clocks in a zone show a day and hour; ValueError where they never do, or do so twice."""
    try:
        wall = datetime.strptime(f"{day} {hour}", "%Y-%m-%d %H:%M")
    except ValueError as error:
        raise ValueError(f"{day} {hour} is no date and time.") from error
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    shown = first.astimezone(zone)
    if shown.replace(tzinfo=None, fold=0) != wall:
        raise ValueError(f"{day} {hour} does not exist in {zone}, where clocks are put forward then: {shown:%H:%M} does.")
    if first != second:
        twice = " and ".join(f"{one:%Y-%m-%d %H:%M} UTC" for one in (first, second))
        raise ValueError(f"{day} {hour} is there twice in {zone}, where clocks are put back then: they are {twice}.")
    return first


def end_of(text: str) -> datetime | None:
    """Return when `2026-12-04 18:00 Europe/Berlin` is, in UTC; None for `never`; ValueError for anything else."""
    if text == NEVER:
        return None
    found = END.fullmatch(text)
    if not found:
        raise ValueError(f"{text} is no date, time and zone.")
    return moment(found[1], found[2], zone_called(found[3]))


def zone_of(text: str, otherwise: str) -> str:
    """Return the zone that an end names, or another one; UTC where neither exists, which others complain of."""
    found = END.fullmatch(text)
    return next((name for name in (found and found[3], otherwise) if name in zones()), "UTC")


def until(text: str, zone: str, now: datetime) -> datetime | None:
    """Return what `-e ends=` means: `20:00` is today's in `zone`; `2026-12-05T18:00` and `never` are taken, too, and a zone of its own."""
    if text == NEVER:
        return None
    found = UNTIL.fullmatch(text)
    if not found:
        raise ValueError(f"{text} is no time.")
    place = zone_called(found[3] or zone)
    return moment(found[1] or f"{now.astimezone(place):%Y-%m-%d}", found[2], place)


def stamp(when: datetime | None) -> str:
    """Return a moment as tags hold it."""
    return when.strftime(STAMP) if when else NEVER


def of_stamp(text: str) -> datetime | None:
    """Return the moment that a tag holds; None for `never`; ValueError for what nobody here has written."""
    return None if text == NEVER else datetime.strptime(text, STAMP).replace(tzinfo=UTC)


def is_stamp(text: str) -> bool:
    """Tell whether a tag holds an end as it is written here."""
    try:
        of_stamp(text)
    except ValueError:
        return False
    return True


def is_past(text: str, now: datetime) -> bool:
    """Tell whether the end that a tag holds is past."""
    return is_stamp(text) and text != NEVER and of_stamp(text) <= now


def words(text: str, zone: str) -> str:
    """Return a tag's end as people say it in a zone."""
    when = of_stamp(text)
    return f"{when.astimezone(zone_called(zone)):%Y-%m-%d %H:%M} {zone}" if when else NEVER


def session(day: dict, zone: ZoneInfo) -> list[str]:
    """Return begin and end of one of the class's sessions as tags hold moments; ValueError says what is wrong with it."""
    if not isinstance(day, dict) or set(day) != SESSION:
        raise ValueError(f"{day} is no session: it has a day, from and to.")
    hours = [day["from"], day["to"]]
    if not all(isinstance(hour, str) and HOUR.fullmatch(hour) for hour in hours):
        raise ValueError(f'the hours of {day["day"]} are {hours[0]} and {hours[1]}: write them with four digits, in quotes, as "09:00".')
    begin, end = (moment(str(day["day"]), hour, zone) for hour in hours)
    if end <= begin:
        raise ValueError(f"the session of {day['day']} ends at {hours[1]}, before it begins.")
    return [stamp(begin), stamp(end)]


def sessions(days: list[dict], zone: str) -> list[list[str]]:
    """Return begin and end of each session."""
    return [session(day, zone_called(zone)) for day in days]


def session_problems(days: list[dict], zone: str) -> list[str]:
    """Say of each session what is wrong with it."""
    problems = []
    for day in days:
        try:
            session(day, zone_called(zone))
        except ValueError as error:
            problems.append(str(error))
    return problems
