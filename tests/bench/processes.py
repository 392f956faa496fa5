"""Commands, with what they and all that they waited for took of the processor and held of the memory."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
INTERVAL = 0.5
ROLLUP = re.compile(r"^(Rss|Pss):\s+(\d+) kB$", re.M)


@dataclass(frozen=True)
class Done:
    """A command that ended: status, output, seconds, and its highest use of memory in MB, if that was watched."""

    status: int
    output: str
    wall: float
    cpu: float
    memory: dict[str, float] = field(default_factory=dict)

    @property
    def times(self) -> dict[str, float]:
        return {"cpu": self.cpu, "wall": self.wall}


def run(command: list[str], folder: Path, environment: Mapping[str, str], log: Path, watch: bool = False) -> Done:
    """Run a command to its end; an interrupt ends it first.

    It prints into a file: a pipe would stay open for as long as an SSH connection that it leaves behind.
    """
    begin, peak = time.monotonic(), {}
    with log.open("wb") as out:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG if watch else 0)
        while not pid:
            peak = highest(peak, memory(child.pid))
            time.sleep(INTERVAL)
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
    except BaseException:
        child.terminate()
        child.wait()
        raise
    child.returncode = os.waitstatus_to_exitcode(status)
    output = log.read_text(errors="replace")
    return Done(child.returncode, output, time.monotonic() - begin, usage.ru_utime + usage.ru_stime, peak)


def highest(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Return the higher value of each name."""
    return {name: max(one.get(name, 0.0), other.get(name, 0.0)) for name in {*one, *other}}


def memory(root: int) -> dict[str, float]:
    """Return what a process and all below it hold, in MB: `rss` counts a shared page for each, `pss` once."""
    total = {"rss": 0.0, "pss": 0.0}
    for pid in descendants(parents(), root):
        with suppress(OSError):  # it has ended
            held = parse_rollup((PROC / str(pid) / "smaps_rollup").read_text())
            total = {name: value + held.get(name, 0.0) for name, value in total.items()}
    return total


def parse_rollup(text: str) -> dict[str, float]:
    """Return rss and pss of /proc/PID/smaps_rollup in MB (10^6 bytes); a process that has ended has neither."""
    return {name.lower(): int(kib) * 1024 / 1e6 for name, kib in ROLLUP.findall(text)}


def parents() -> dict[int, int]:
    """Return the parent of each process of this machine."""
    found = {}
    for stat in PROC.glob("[0-9]*/stat"):
        with suppress(OSError):
            found[int(stat.parent.name)] = parse_parent(stat.read_text(errors="replace"))
    return found


def parse_parent(stat: str) -> int:
    """Return the parent that /proc/PID/stat names, after a program's name that may hold spaces and brackets."""
    return int(stat.rpartition(")")[2].split()[1])


def descendants(parents: Mapping[int, int], root: int) -> set[int]:
    """Return a process and all below it."""
    found, new = {root}, {root}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return found
