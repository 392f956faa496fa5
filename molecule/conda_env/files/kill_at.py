#!/usr/bin/python3
"""Kill an install at a certain moment: kill_at.py SIGN LOCK waits for a file that matches SIGN, then kills all that hold LOCK."""

import os
import signal
import sys
import time
from pathlib import Path

LONGEST_WAIT = 120  # seconds


def holders(lock: Path) -> set[int]:
    """The processes that have a file open; the module hands its lock to the engines that it starts."""
    found = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.path.samestat(os.stat(descriptor), os.stat(lock)):
                found.add(int(descriptor.parts[2]))
        except OSError:  # it ended while we looked
            continue
    return found


def main() -> None:
    sign, lock = sys.argv[1].lstrip("/"), Path(sys.argv[2])
    deadline = time.monotonic() + LONGEST_WAIT
    while not any(Path("/").glob(sign)):
        if time.monotonic() > deadline:
            sys.exit(f"/{sign} did not come")
        time.sleep(0.005)
    killed = holders(lock)
    for process in killed:
        os.kill(process, signal.SIGKILL)
    print(f"killed {sorted(killed)}")
    sys.exit(None if killed else "nothing was installing any more")


main()
