"""What can be measured: each row is one run of one build, and what has to be so before it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import classroom, processes
from tests.bench.builds import BenchError, Build
from tests.bench.classroom import SEATS, Bench

# Ansible's own settings in place of ansible.cfg's, and no payloads of modules that last from run to run.
DEFAULTS = {"ANSIBLE_PIPELINING": "false", "ANSIBLE_FORKS": "5", "CLASSROOM_PAYLOAD_CACHE": "false"}
Measure = dict[str, float]


@dataclass(frozen=True)
class Row:
    """A row of the bench.

    Attributes:
        seats: how many must exist.
        measure: takes the bench and a build, gives what is counted.
        once: whether a second pair would show the same.
    """

    seats: int
    measure: Callable[[Bench, Build], Measure]
    once: bool = False


def noop(seats: int, **settings: str) -> Callable[[Bench, Build], Measure]:
    """Measure a run that has nothing to do."""
    return lambda bench, build: bench.settled(build, SEATS[:seats], **settings).times


def repair(bench: Bench, build: Build) -> Measure:
    """Measure the repair of a seat that lost a file of its environment, and nothing else."""
    seat = SEATS[0]
    bench.settled(build, [seat])
    bench.damage(seat)
    done = bench.site(build, [seat])
    bench.expect_repaired(seat)
    return done.times


def first(bench: Bench, build: Build) -> Measure:
    """Measure the launch and first configuration of two seats of a class that has nothing yet."""
    bench.end()
    return bench.site(build, SEATS[:2]).times


def counts(bench: Bench, build: Build) -> Measure:
    """Count the tasks of a run with nothing to do on a seat, and the modules that it uses, from what it prints."""
    done = bench.settled(build, SEATS[:2], "-vvv")
    return {"tasks": classroom.recap(done).tasks[SEATS[0]], "modules": len(classroom.modules(done.output))}


def memory(bench: Bench, build: Build) -> Measure:
    """Measure the controller's memory, in a run of its own, because looking takes time."""
    return bench.settled(build, SEATS, watch=True).memory


CLASS_ROWS = {
    "first": Row(2, first),
    "noop1": Row(1, noop(1)),
    "repair": Row(1, repair),
    "defaults1": Row(1, noop(1, **DEFAULTS)),
    "noop2": Row(2, noop(2)),
    "counts": Row(2, counts, once=True),
    "noop20": Row(20, noop(20)),
    "memory20": Row(20, memory, once=True),
    "defaults20": Row(20, noop(20, **DEFAULTS)),
}
# What `make` is asked for, as far as a build knows it, since earlier ones had the tests of modules in `unit`; and whether a cloud may
# not run before.
MAKE_ROWS = {
    "lint_unit": (["lint", "unit", "modules"], False),
    "rehearsal": (["rehearsal"], True),
    "tests": (["test"], True),
}


def make(name: str, log: Path, build: Build) -> Measure:
    """Measure what `make` takes for a row; a cloud is down before and after one that needs it."""
    asked, alone = MAKE_ROWS[name]
    known = (build.root / "Makefile").read_text()
    targets = [target for target in asked if re.search(rf"^{target}\b.*:", known, re.MULTILINE)]
    try:
        if alone:
            classroom.down()
        done = processes.run(["make", *targets], build.root, build.environment(), log)
    finally:
        if alone:
            classroom.down()
    if done.status:
        raise BenchError(f"make {' '.join(targets)} of {build.commit} failed:\n{done.output[-4000:]}")
    return {"wall": done.wall}
