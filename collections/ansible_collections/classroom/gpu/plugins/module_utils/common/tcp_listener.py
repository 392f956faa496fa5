"""Which process listens on a TCP port: what stands in the way of a service that wants it."""

from __future__ import annotations

import pwd
from dataclasses import dataclass
from pathlib import Path

LISTEN = "0A"  # TCP_LISTEN of the kernel's include/net/tcp_states.h, as /proc/net/tcp writes it
LONGEST = 80


@dataclass(frozen=True)
class Holder:
    """A process, the user it runs as, its command (shortened) and its control groups."""

    pid: int
    user: str
    command: str
    groups: tuple[str, ...]

    def __str__(self) -> str:
        """Name it as someone needs to know it who is to end it."""
        return f"process {self.pid} of {self.user} ({self.command})"


def belongs(holder: Holder, group: str) -> bool:
    """Tell whether a process is one of a service, by that one's control group; a service without one does not run."""
    return bool(group) and any(path == group or path.startswith(f"{group}/") for path in holder.groups)


def listening(table: str, port: int) -> set[str]:
    """Return the inodes of the sockets that listen on a port; `table` is what /proc/net/tcp or tcp6 holds."""
    rows = (line.split() for line in table.splitlines()[1:])
    return {row[9] for row in rows if row[3] == LISTEN and int(row[1].rpartition(":")[2], 16) == port}


def target(link: Path) -> str:
    """Return what a link points to, or nothing where it has gone meanwhile."""
    try:
        return str(link.readlink())
    except OSError:
        return ""


def sockets(process: Path) -> set[str]:
    """Return the inodes of the sockets that a process holds."""
    try:
        targets = {target(link) for link in (process / "fd").iterdir()}
    except OSError:  # It has ended meanwhile.
        return set()
    return {name[len("socket:[") : -1] for name in targets if name.startswith("socket:[")}


def user_name(number: int) -> str:
    """Return a user's name, or the number where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def described(process: Path) -> Holder:
    """Return a process by its folder below /proc."""
    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    groups = tuple(line.split(":", 2)[2] for line in (process / "cgroup").read_text(encoding="utf-8").splitlines())
    return Holder(int(process.name), user_name(process.stat().st_uid), command[:LONGEST], groups)


def holder(port: int, proc: Path = Path("/proc")) -> Holder | None:
    """Return the process that listens on a port, or None."""
    tables = [(proc / "net" / name).read_text(encoding="utf-8") for name in ("tcp", "tcp6") if (proc / "net" / name).exists()]
    wanted = set().union(*(listening(table, port) for table in tables))
    for process in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)) if wanted else []:
        if wanted & sockets(process):
            try:
                return described(process)
            except OSError:  # It has ended meanwhile.
                continue
    return None
