"""The way back to a seat whose SSH lets nobody in: a cell in its Jupyter, whose password is the class's, where a student may use sudo."""

from __future__ import annotations

import inspect
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.classroom.gpu.plugins.module_utils import way_in
from ansible_collections.classroom.gpu.plugins.module_utils.jupyter import Jupyter, JupyterError
from ansible_collections.classroom.gpu.plugins.module_utils.password import seat_password

SESSION = "way in of this seat"
CONNECT, SECONDS = 3, 60
# Jupyter's processes see /etc and /usr read-only: systemd runs what root is to do outside, with an environment of its own.
CELL = """
import subprocess
command = ["sudo", "-n", "systemd-run", "--quiet", "--wait", "--pipe", "--collect", "/usr/bin/python3", "-I", "-"]
done = subprocess.run(command, input=program, capture_output=True, text=True, timeout=seconds)
print(done.stdout or (done.stderr.strip().splitlines() or ["exit status %d" % done.returncode])[-1])
"""
# What root runs: a module of this collection, and this.
PROGRAM = """
import json
try:
    mended = keep(Ways(**json.loads({ways!r})))
    serve()
    print(json.dumps({{"mended": mended}}))
except NoWayIn as error:
    print(json.dumps({{"trouble": str(error)}}))
"""


class NoHelp(Exception):
    """A clause that says why Jupyter does not lead to the seat."""


def put_back(url: str, class_dir: Path, seat: str, ways: dict[str, str]) -> list[str]:
    """Keep the ways into a seat as way_in.py does, and have SSH's server start anew; return what was mended. Raises NoHelp."""
    program = inspect.getsource(way_in) + PROGRAM.format(ways=json.dumps(ways))
    try:
        socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), CONNECT).close()
        told = answer(url, class_dir, seat, f"exec({CELL!r}, {{'program': {program!r}, 'seconds': {SECONDS}}})")
    except (OSError, JupyterError) as error:
        raise NoHelp(str(error).rstrip(".")) from error
    try:
        said = json.loads(told[-1])
    except (ValueError, IndexError):
        raise NoHelp(f"in it, sudo says '{told[-1] if told else 'nothing'}'") from None
    if "trouble" in said:
        raise NoHelp(said["trouble"])
    return said["mended"]


def answer(url: str, class_dir: Path, seat: str, code: str) -> list[str]:
    """Log in, run the code in a kernel of its own, and return the lines that it printed."""
    server = Jupyter(url, str(class_dir / "ca.crt"))
    server.login(seat_password((class_dir / "secret").read_text(encoding="utf-8"), seat))
    with server.start(server.api("GET", "kernelspecs")["default"], SESSION) as kernel:
        return kernel.run(code, SECONDS).strip().splitlines()
