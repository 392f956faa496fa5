"""When classes end and are held, as settings tell it: what is taken, what is refused, and days on which clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import schedule

NOW = datetime(2026, 12, 4, 22, 30, tzinfo=UTC)  # 23:30 in Berlin, and the next morning in Tokyo


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("2026-12-04 18:00 Europe/Berlin", "2026-12-04T17:00:00Z"),
        ("2026-07-04 18:00 Europe/Berlin", "2026-07-04T16:00:00Z"),
        ("2026-12-04 18:00 UTC", "2026-12-04T18:00:00Z"),
        ("2099-12-31 23:30 America/Los_Angeles", "2100-01-01T07:30:00Z"),
        ("2028-02-29 00:00 Asia/Kolkata", "2028-02-28T18:30:00Z"),
        ("2026-03-29 03:00 Europe/Berlin", "2026-03-29T01:00:00Z"),  # the first minute after clocks were put forward
        ("2026-10-25 01:59 Europe/Berlin", "2026-10-24T23:59:00Z"),  # the last before an hour that comes twice
        ("2026-10-25 03:00 Europe/Berlin", "2026-10-25T02:00:00Z"),
        ("never", "never"),
    ],
)
def test_an_end_as_tags_hold_it_and_back(text: str, stamp: str) -> None:
    assert schedule.stamp(schedule.end_of(text)) == stamp
    zone = schedule.zone_of(text, "UTC")
    assert schedule.words(stamp, zone) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-12-04", "is no date, time and zone"),
        ("2026-12-04 18:00", "is no date, time and zone"),
        ("2026-12-04 6 pm Europe/Berlin", "is no date, time and zone"),
        ("2026-12-04 18:00 Europe/Berlin ", "is no date, time and zone"),
        ("Never", "is no date, time and zone"),
        ("31.3.2027 18:00 UTC", "is no date, time and zone"),
        ("2026-02-29 18:00 UTC", "2026-02-29 18:00 is no date and time"),
        ("2026-12-04 24:00 UTC", "2026-12-04 24:00 is no date and time"),
        ("2026-12-04 18:00 Europe/Berln", "Did you mean Europe/Berlin?"),
        ("2026-12-04 18:00 ../../etc/passwd", "is no time zone"),
        ("2026-03-29 02:30 Europe/Berlin", "does not exist in Europe/Berlin, where clocks are put forward then: 03:30 does"),
        ("2026-10-25 02:30 Europe/Berlin", "they are 2026-10-25 00:30 UTC and 2026-10-25 01:30 UTC"),
    ],
)
def test_an_end_that_is_none_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError) as refused:
        schedule.end_of(text)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "zone", "stamp"),
    [
        ("23:45", "Europe/Berlin", "2026-12-04T22:45:00Z"),
        ("08:00", "Asia/Tokyo", "2026-12-04T23:00:00Z"),  # where it is the 5th already
        ("20:00", "Europe/Berlin", "2026-12-04T19:00:00Z"),  # past: the caller refuses it
        ("2026-12-05T18:00", "Europe/Berlin", "2026-12-05T17:00:00Z"),
        ("2026-12-05 18:00", "Europe/Berlin", "2026-12-05T17:00:00Z"),
        ("2026-12-05 18:00 UTC", "Europe/Berlin", "2026-12-05T18:00:00Z"),
        ("never", "Europe/Berlin", "never"),
    ],
)
def test_until(text: str, zone: str, stamp: str) -> None:
    assert schedule.stamp(schedule.until(text, zone, NOW)) == stamp


@pytest.mark.parametrize("text", ["", "8 pm", "20.00", "+1h", "2026-12-05", "25:00", "20:00 Berlin"])
def test_until_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        schedule.until(text, "Europe/Berlin", NOW)


@pytest.mark.parametrize(("text", "otherwise", "zone"), [("never", "Asia/Tokyo", "Asia/Tokyo"), ("1", "x", "UTC"), ("", "", "UTC")])
def test_the_zone_of_an_end_that_names_none(text: str, otherwise: str, zone: str) -> None:
    assert schedule.zone_of(text, otherwise) == zone


@pytest.mark.parametrize(
    ("text", "past"),
    [("2026-12-04T22:30:00Z", True), ("2026-12-04T22:30:01Z", False), ("never", False), ("", False), ("2026-12-04 20:00", False)],
)
def test_a_tags_end_is_past(text: str, past: bool) -> None:
    assert schedule.is_past(text, NOW) == past


DAY = {"day": "2026-12-04", "from": "09:00", "to": "17:00"}


def test_sessions() -> None:
    assert schedule.sessions([DAY], "Europe/Berlin") == [["2026-12-04T08:00:00Z", "2026-12-04T16:00:00Z"]]
    assert schedule.session_problems([DAY], "Europe/Berlin") == schedule.session_problems([], "UTC") == []


@pytest.mark.parametrize(
    ("day", "words"),
    [
        (DAY | {"to": 1020}, "in quotes"),  # what YAML makes of 17:00 without quotes
        (DAY | {"from": "9:00"}, "in quotes"),
        (DAY | {"to": "08:00"}, "ends at 08:00, before it begins"),
        (DAY | {"to": "09:00"}, "ends at 09:00, before it begins"),
        (DAY | {"day": "4.12."}, "is no date and time"),
        ({"day": "2026-12-04"}, "is no session"),
        (DAY | {"until": "18:00"}, "is no session"),
        ("2026-12-04", "is no session"),
    ],
)
def test_a_session_that_is_none_is_refused_in_words(day: object, words: str) -> None:
    (problem,) = schedule.session_problems([DAY, day], "Europe/Berlin")
    assert words in problem
