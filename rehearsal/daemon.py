"""Servers of the rehearsal as processes of their own: started until they can be used, ended until they are gone."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

from rehearsal.state import Place, StateError

READY_SECONDS = 60.0
END_SECONDS = 90.0


def start(place: Place, module: str, *arguments: str) -> None:
    """Start a module of this package as a server and wait until it says that it is ready.

    Raises:
        StateError: it ended or did not answer; with the last lines of its log.
    """
    place.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    reader, writer = os.pipe()
    with place.log.open("w") as log:
        command = [sys.executable, "-B", "-m", module, *arguments, "--ready", str(writer)]
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[writer])
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answered, _, _ = select.select([pipe], [], [], READY_SECONDS)
        ready = answered and pipe.read1(10)
    if not ready:
        end(place)
        raise StateError(f"The rehearsal's server did not start. Its log, {place.log}, ends with:\n{_tail(place)}")


def end(place: Place) -> None:
    """Ask the server to end, and make it end if it does not."""
    for number, seconds in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, 5.0)):
        server = place.server()
        if server and place.alive():
            os.kill(server["pid"], number)
        if place.wait_until_gone(seconds):
            return


def _tail(place: Place) -> str:
    return "\n".join(place.log.read_text(encoding="utf-8").splitlines()[-5:])
