"""What a process does just now, as /proc says it, and what lets a stopped one go on."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

STOPPED = "T"  # by a signal; one that a debugger holds is `t`. proc(5)


def state(process: str, proc: Path = Path("/proc")) -> str:
    """Return the letter for what a process does; nothing where there is no such process."""
    if not process:
        return ""
    try:
        return (proc / process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2][:1]
    except OSError:
        return ""


def go_on(process: str) -> None:
    """Let a stopped process go on; one that has ended meanwhile needs nothing."""
    with suppress(ProcessLookupError):
        os.kill(int(process), signal.SIGCONT)
