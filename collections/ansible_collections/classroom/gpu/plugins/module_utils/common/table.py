"""Rows of text as people read them."""

from __future__ import annotations

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align rows in columns; the first one is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def dollars(amount: float | None, digits: int = 2) -> str:
    """Return an amount as a table tells it; None is one that nobody here knows."""
    return "?" if amount is None else f"${amount:.{digits}f}"
