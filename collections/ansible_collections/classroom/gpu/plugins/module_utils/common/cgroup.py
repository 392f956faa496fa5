"""Whether a student is at work: the processes of a service besides its main one, which are kernels and terminals."""

from __future__ import annotations

from pathlib import Path

JUPYTER = "jupyter.service"


def members(group: str, proc: Path = Path("/proc")) -> list[str]:
    """Return the ids of the processes in control group `group` and below it."""
    found = []
    for entry in proc.glob("[0-9]*/cgroup"):
        try:
            paths = [line.split(":", 2)[2] for line in entry.read_text(encoding="utf-8").splitlines()]
        except OSError:  # It has ended meanwhile.
            continue
        found += [entry.parent.name] if any(path == group or path.startswith(f"{group}/") for path in paths) else []
    return sorted(found, key=int)


def at_work(group: str, main: str, proc: Path = Path("/proc")) -> int:
    """Count the processes in control group `group` besides the main one."""
    return sum(process != main for process in members(group, proc))


def busy(shown: str, proc: Path = Path("/proc")) -> int:
    """Count the processes at work in the service of which `systemctl show --property=MainPID,ControlGroup` prints `shown`."""
    state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return at_work(state["ControlGroup"], state["MainPID"], proc) if state.get("ControlGroup") else 0
