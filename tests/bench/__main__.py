"""make bench: today's build beside an earlier one, in turn on the same seats, as ratios into docs/figures.md."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from rehearsal.state import StateError
from tests.bench import builds, classroom, figures, rows
from tests.bench.builds import BenchError, Build
from tests.bench.figures import Pair
from tests.bench.rows import CLASS_ROWS, MAKE_ROWS, Measure


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line; rows come in the order in which they are measured, however they are named."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--base",
        default="",
        help="the earlier commit (default: the last release, else the commit of the first figures)",
    )
    parser.add_argument("--runs", type=int, default=3, help="pairs of a row (default: %(default)s)")
    parser.add_argument(
        "--rows",
        nargs="*",
        default=[],
        choices=[*CLASS_ROWS, *MAKE_ROWS],
        help="(default: all those with seats)",
    )
    options = parser.parse_args(argv)
    if options.runs < 1:
        parser.error("RUNS must be at least 1")
    wanted = options.rows or list(CLASS_ROWS)
    options.rows = [row for row in (*CLASS_ROWS, *MAKE_ROWS) if row in wanted]
    return options


def machine() -> str:
    """Say what was measured on, without its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = f"{platform.system()} {platform.release().split('-')[0]}"
    tools = f"Python {platform.python_version()}, ansible-core {version('ansible-core')}"
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {kernel}, {tools}"


class Report:
    """The pairs so far, and docs/figures.md, written anew after each row: an interrupt loses one row at most."""

    def __init__(self, commits: tuple[str, str], page: Path = builds.FIGURES) -> None:
        self.commits, self.path, self.machine = commits, page, machine()
        self.pairs: dict[str, list[Pair]] = {}
        self.lines = figures.kept(page.read_text(), self.machine) if page.exists() else {}

    def add(self, row: str, pairs: list[Pair]) -> None:
        """Take a row's pairs, and what follows from them, into the table."""
        self.pairs[row] = pairs
        self.tell(row)
        if {"noop2", "noop20"} <= self.pairs.keys() and row.startswith("noop"):
            self.pairs["further"] = figures.further(self.pairs["noop2"], self.pairs["noop20"], 18)
            self.tell("further")
        self.path.write_text(figures.page(self.lines, self.machine))

    def tell(self, row: str) -> None:
        """Work out and print the figures of a row."""
        for figure in (one for one in figures.FIGURES if one.row == row):
            cells = figures.line(figure, self.pairs[row], self.commits, f"{datetime.now(UTC):%Y-%m-%d}")
            self.lines[figure.what] = cells
            print(f"bench: {' | '.join(cells[:6])}", flush=True)


def paired(name: str, runs: int, measure: Callable[[Build], Measure], both: tuple[Build, Build]) -> list[Pair]:
    """Measure the two builds in turn."""
    pairs = []
    for number in range(1, runs + 1):
        print(f"bench: {name}, pair {number} of {runs}", flush=True)
        earlier, today = (measure(build) for build in both)
        pairs.append((earlier, today))
    return pairs


def with_seats(names: list[str], runs: int, both: tuple[Build, Build], folder: Path, report: Report) -> None:
    """Measure the rows that need a class."""
    with classroom.opened(folder, both[1], max(CLASS_ROWS[name].seats for name in names)) as bench:
        settled = 0
        for name in names:
            row = CLASS_ROWS[name]
            if row.measure is not rows.first and row.seats > settled:
                print(f"bench: {row.seats} seats are made ready, uncounted", flush=True)
                for build in both:
                    bench.settled(build, classroom.SEATS[: row.seats])
                settled = row.seats
            report.add(name, paired(name, 1 if row.once else runs, partial(row.measure, bench), both))


def with_make(names: list[str], runs: int, both: tuple[Build, Build], folder: Path, report: Report) -> None:
    """Measure the rows that are targets of make."""
    for name in names:
        report.add(name, paired(name, runs, partial(rows.make, name, folder / f"{name}.log"), both))


def bench(options: argparse.Namespace) -> None:
    """Measure the rows that are asked for, and leave nothing but docs/figures.md."""
    seats, targets = ([row for row in options.rows if row in kind] for kind in (CLASS_ROWS, MAKE_ROWS))
    if any(MAKE_ROWS[row][1] for row in targets):
        classroom.expect_alone()
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as temporary:
        folder, today = Path(temporary), builds.today()
        with builds.earlier(options.base or builds.default_base(), folder) as earlier:
            both, report = (earlier, today), Report((earlier.commit, today.commit))
            if seats:
                with_seats(seats, options.runs, both, folder, report)
            with_make(targets, options.runs, both, folder, report)
    print(f"bench: the table is in {builds.FIGURES.relative_to(builds.ROOT)}")


def main(argv: list[str]) -> int:
    """Run the bench and return its exit status; a request to end is like an interrupt."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        bench(parse(argv))
    except (BenchError, StateError) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
