"""An extension of the Jupyter server: writes down whether its kernels work, for a program that has no password (autostop)."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tornado.ioloop import PeriodicCallback

FILE, SECONDS = Path("/run/jupyter/kernels.json"), 20


def _jupyter_server_extension_points() -> list[dict]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server) -> None:
    """Write state and last activity of each kernel, and when that was, by a clock that nobody sets."""

    def write() -> None:
        found = {"at": time.clock_gettime(time.CLOCK_BOOTTIME), "kernels": server.kernel_manager.list_kernels()}
        new = FILE.with_suffix(".new")
        new.write_text(json.dumps(found), encoding="utf-8")
        new.replace(FILE)

    PeriodicCallback(write, SECONDS * 1000).start()
