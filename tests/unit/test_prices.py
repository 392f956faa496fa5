"""What a class costs, from a dated table."""

from __future__ import annotations

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils import prices


def test_a_table_knows_the_types_that_a_class_is_made_of() -> None:
    assert prices.machine("g4dn.xlarge") == 0.526
    assert prices.machine("p2.xlarge") is None, "EC2 no longer sells it"


def test_a_disk_costs_by_the_hour_what_it_costs_a_month() -> None:
    assert prices.disk(100) * prices.HOURS == pytest.approx(8.0)


def test_an_estimate_says_where_its_prices_are_those_of_another_region() -> None:
    assert "us-east-1" not in prices.caveat("us-west-2")
    assert "those of us-east-1: eu-central-1 costs more" in prices.caveat("eu-central-1")
