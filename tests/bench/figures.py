"""What was measured, as the table of docs/figures.md: pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# What one run of one build gave, by measure: {"cpu": 39.1, "wall": 63.2}.
Sample = Mapping[str, float]
# What the earlier build and today's gave, one right after the other.
Pair = tuple[Sample, Sample]


@dataclass(frozen=True)
class Figure:
    """One line of the table: a measure of a row, and its aim: for the ratio or, if `absolute`, for today's build."""

    row: str
    measure: str
    what: str
    unit: str = "s"
    aim: float | None = None
    absolute: bool = False


FIGURES = (
    Figure("noop1", "cpu", "nothing to do, 1 seat: CPU", aim=0.35),
    Figure("noop1", "wall", "nothing to do, 1 seat: wall", aim=0.45),
    Figure("noop2", "cpu", "nothing to do, 2 seats: CPU"),
    Figure("noop2", "wall", "nothing to do, 2 seats: wall", aim=0.45),
    Figure("noop20", "cpu", "nothing to do, 20 seats: CPU"),
    Figure("noop20", "wall", "nothing to do, 20 seats: wall", aim=0.4),
    Figure("further", "cpu", "nothing to do, each further seat (20 less 2, by 18): CPU", aim=2, absolute=True),
    Figure("repair", "cpu", "repair of 1 seat, a deleted file of the environment: CPU"),
    Figure("repair", "wall", "repair of 1 seat, a deleted file of the environment: wall", aim=0.5),
    Figure("first", "cpu", "first configuration of 2 seats, with their launch: CPU"),
    Figure("first", "wall", "first configuration of 2 seats, with their launch: wall"),
    Figure("counts", "tasks", "tasks that ran on a seat, nothing to do", "", aim=20, absolute=True),
    Figure("counts", "modules", "distinct modules that a run used, nothing to do", "", aim=18, absolute=True),
    Figure(
        "memory20",
        "pss",
        "memory at 20 seats, peak: PSS of all processes (shared pages once)",
        "MB",
        aim=600,
        absolute=True,
    ),
    Figure("memory20", "rss", "memory at 20 seats, peak: RSS of all processes (shared pages in each)", "MB"),
    Figure("defaults1", "cpu", "nothing to do, 1 seat, Ansible's default settings: CPU"),
    Figure("defaults1", "wall", "nothing to do, 1 seat, Ansible's default settings: wall"),
    Figure("defaults20", "cpu", "nothing to do, 20 seats, Ansible's default settings: CPU"),
    Figure("defaults20", "wall", "nothing to do, 20 seats, Ansible's default settings: wall"),
    Figure("lint_unit", "wall", "`make lint unit modules`: wall", aim=0.54),
    Figure("rehearsal", "wall", "`make rehearsal`, image and tools in place: wall", aim=0.5),
    Figure("tests", "wall", "`make test`: wall", aim=0.5),
)
HEAD = (
    "what",
    "ratio",
    "lowest to highest",
    "aim",
    "earlier, here",
    "today, here",
    "pairs",
    "earlier build",
    "today's build",
    "date",
)
MACHINE = "Machine: "


def ratios(pairs: Iterable[Pair], measure: str) -> list[float]:
    """Return today's part of the earlier build's, pair by pair; there is none of nothing."""
    return [today[measure] / earlier[measure] for earlier, today in pairs if earlier[measure] > 0]


def further(few: Sequence[Pair], many: Sequence[Pair], seats: int) -> list[Pair]:
    """Return what each of `seats` more seats takes: a run of `many` less the same run of `few`."""

    def slope(less: Sample, more: Sample) -> Sample:
        return {"cpu": (more["cpu"] - less["cpu"]) / seats}

    return [(slope(old, more_old), slope(new, more_new)) for (old, new), (more_old, more_new) in zip(few, many, strict=True)]


def aim(figure: Figure, ratio: float, today: float) -> str:
    """Return the aim of a figure, and by how much it is missed."""
    if figure.aim is None:
        return ""
    unit = f" {figure.unit}" if figure.absolute and figure.unit else ""
    over = (today if figure.absolute else ratio) - figure.aim
    digits = ".3g" if figure.absolute else ".2f"
    missed = f", missed by {over:{digits}}{unit}" if over > 0 else ""
    return f"≤ {figure.aim:g}{unit}{missed}"


def amount(value: float, unit: str) -> str:
    """Return a value with its unit, as exactly as it is worth: 39.1 s, 412 MB, 47."""
    return f"{value:.1f} s" if unit == "s" else f"{value:.0f} {unit}".strip()


def line(figure: Figure, pairs: Sequence[Pair], commits: tuple[str, str], date: str) -> tuple[str, ...]:
    """Return the cells of a figure: medians over all pairs, and the lowest and the highest ratio."""
    found = ratios(pairs, figure.measure)
    earlier, today = (statistics.median(pair[build][figure.measure] for pair in pairs) for build in (0, 1))
    if not found:
        return (
            figure.what,
            "-",
            "-",
            "",
            amount(earlier, figure.unit),
            amount(today, figure.unit),
            str(len(pairs)),
            *commits,
            date,
        )
    ratio, spread = statistics.median(found), f"{min(found):.2f} to {max(found):.2f}"
    values = amount(earlier, figure.unit), amount(today, figure.unit)
    return (
        figure.what,
        f"{ratio:.2f}",
        spread,
        aim(figure, ratio, today),
        *values,
        str(len(found)),
        *commits,
        date,
    )


def kept(text: str, machine: str) -> dict[str, tuple[str, ...]]:
    """Return the lines of an earlier docs/figures.md by their first cell, unless another machine measured them."""
    lines = text.splitlines()
    if f"{MACHINE}{machine}" not in lines:
        return {}
    cells = [tuple(cell.strip() for cell in one.strip("|").split("|")) for one in lines if one.startswith("|")]
    return {one[0]: one for one in cells if len(one) == len(HEAD) and one[0] in {figure.what for figure in FIGURES}}


def table(lines: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table, in the order of FIGURES."""
    rows = [lines[figure.what] for figure in FIGURES if figure.what in lines]
    return [f"| {' | '.join(row)} |" for row in (HEAD, ["---"] * len(HEAD), *rows)]


def page(lines: Mapping[str, Sequence[str]], machine: str) -> str:
    """Return docs/figures.md."""
    return INTRODUCTION + "\n".join([f"{MACHINE}{machine}", "", *table(lines)]) + "\n"


INTRODUCTION = """# Figures

What `make bench` measured: today's build beside an earlier one, in turn (earlier, today, earlier, today).
Both run on the same seats of a rehearsal with the stack `minimal`. The ratio is the median of the pairs'
ratios: today's part of what the earlier build takes, so that less is better. Ratios are what is meant to hold
elsewhere. The two columns marked "here" are medians on this one machine, whose seats share its cores with the
controller. Nothing asserts a time.

- CPU is user and system time of `ansible-playbook` and all that it waited for on the controller; the seats
  are not in it.
- A run with nothing to do counts once it reports `changed=0`: what the other build left is put right by a run
  before, uncounted.
- Each run makes its own SSH connections. What a build keeps from run to run is in place, as for an
  organiser's second run.
- Ansible's default settings are no pipelining, 5 forks, and no payloads of modules kept from run to run.
- A commit with `+` was measured with changes that were not committed. A line keeps commits and date until it
  is measured again.

"""
