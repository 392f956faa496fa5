"""What a class costs, from a dated table."""

from __future__ import annotations

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.cost import prices
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import preflight_report


def test_a_table_knows_the_types_that_a_class_is_made_of() -> None:
    assert prices.machine("g4dn.xlarge") == 0.526
    assert prices.machine("p2.xlarge") is None, "EC2 no longer sells it"


def test_a_disk_costs_by_the_hour_what_it_costs_a_month() -> None:
    assert prices.disk(100) * prices.HOURS == pytest.approx(8.0)


def test_an_estimate_says_where_its_prices_are_those_of_another_region() -> None:
    assert "us-east-1" not in prices.caveat("us-west-2")
    assert "those of us-east-1: eu-central-1 costs more" in prices.caveat("eu-central-1")


HOURS = [["2026-12-04T08:00:00Z", "2026-12-04T16:00:00Z"]]
ADDRESS = prices.ADDRESS_HOUR


@pytest.mark.parametrize(
    ("seats", "least", "most", "told"),
    [
        ([["g4dn.xlarge"]] * 2, 2 * 0.526, 2 * 0.526, "$1.06"),
        ([["g4dn.xlarge", "g5.xlarge"]] * 2, 2 * 0.526, 2 * 1.006, "from $1.06 to $2.02"),
        ([["g5.xlarge", "g4dn.xlarge"]] * 2, 2 * 0.526, 2 * 1.006, "from $1.06 to $2.02"),
        # A seat that exists is what it is; the other one may be either.
        ([["g4dn.xlarge"], ["g4dn.xlarge", "g5.xlarge"]], 2 * 0.526, 0.526 + 1.006, "from $1.06 to $1.54"),
        ([["g4dn.xlarge", "p2.xlarge"]], 0.526, 0.526, "$0.53"),
        ([["p2.xlarge"]], 0.0, 0.0, "$0.01"),
        ([], 0.0, 0.0, "$0.00"),
    ],
)
def test_a_class_of_several_types_costs_from_its_cheapest_to_its_dearest(seats: list, least: float, most: float, told: str) -> None:
    found = preflight_report.cost(seats, 0, HOURS)
    for sums, machines in ((found, least), (found["most"], most)):
        hour = machines + len(seats) * ADDRESS
        expected = {"hour": hour, "day": 24 * hour, "sessions": 8 * hour}
        assert {what: sums[what] for what in expected} == pytest.approx(expected)
    assert preflight_report.span(found, "hour") == told
    assert found["unknown"] == (["p2.xlarge"] if "p2" in str(seats) else [])


def test_the_page_and_the_short_plan_tell_both_ends() -> None:
    found = {
        "cost": preflight_report.cost([["g4dn.xlarge", "g5.xlarge"]] * 12, 100, HOURS),
        "wanted": ["s"] * 12,
        "disk_gib": 100,
        "region": "us-west-2",
    }
    lines = preflight_report.price(found, {"page": True, "instance_types": ["g4dn.xlarge", "g5.xlarge"]})
    assert lines[0] == "Cost of 12 seats: from $6.50 to $12.26 an hour while they run, $0.132 while they are stopped"
    assert lines[1] == "  from $156.08 to $294.32 for a day of 24 hours"
    assert lines[2] == "  from $52.03 to $98.11 for classroom_sessions, stopped in between"
    assert lines[3].startswith("  of that each seat: g4dn.xlarge $0.526, g5.xlarge $1.006, public address")
