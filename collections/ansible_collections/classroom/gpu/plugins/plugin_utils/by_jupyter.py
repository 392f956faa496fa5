"""The way back to a seat whose SSH lets nobody in: a cell in its Jupyter, whose password is the class's, where a student may use sudo."""

from __future__ import annotations

import inspect
import json
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.classroom.gpu.plugins.module_utils.classroom.password import seat_password
from ansible_collections.classroom.gpu.plugins.module_utils.jupyter.client import Jupyter, JupyterError
from ansible_collections.classroom.gpu.plugins.module_utils.seat import way_in

SESSION = "way in of this seat"
CONNECT, SECONDS = 4, 60
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
    print(json.dumps({{"trouble": str(error), "fix": error.fix}}))
"""


class NoHelp(Exception):
    """A clause that says why Jupyter does not lead to the seat; `fix`: what a person can do in its terminal, where that is known."""

    def __init__(self, clause: str, fix: str = "") -> None:
        """Keep both."""
        super().__init__(clause)
        self.fix = fix


def program(ways: dict[str, str]) -> str:
    """Return what root runs: way_in.py, and a line of JSON about what it did."""
    return inspect.getsource(way_in) + PROGRAM.format(ways=json.dumps(ways))


def cell(text: str) -> str:
    """Return what a kernel runs, which leaves no name behind there."""
    return f"exec({CELL!r}, {{'program': {text!r}, 'seconds': {SECONDS}}})"


def mended(lines: list[str]) -> list[str]:
    """Return what the cell says that it put right. Raises NoHelp where it could not."""
    try:
        said = json.loads(lines[-1])
    except (ValueError, IndexError):
        raise NoHelp(f"sudo in it says '{lines[-1] if lines else 'nothing'}'") from None
    if "trouble" in said:
        raise NoHelp(said["trouble"], said["fix"])
    return said["mended"]


def greet(host: str, port: int) -> None:
    """Raise OSError where nobody speaks TLS at a port, within seconds: a machine that hangs still takes connections."""
    trusting = ssl.create_default_context()  # who it is, the log-in asks
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, port), CONNECT) as plain, trusting.wrap_socket(plain):
        pass


def put_back(url: str, class_dir: Path, seat: str, ways: dict[str, str]) -> list[str]:
    """Keep the ways into a seat as way_in.py does, and have SSH's server start anew; return what was mended. Raises NoHelp."""
    try:
        greet(urlsplit(url).hostname, urlsplit(url).port)
        return mended(answer(url, class_dir, seat, cell(program(ways))))
    except (OSError, JupyterError) as error:
        raise NoHelp(str(error).rstrip(".")) from error


def answer(url: str, class_dir: Path, seat: str, code: str) -> list[str]:
    """Log in, run the code in a kernel of its own, and return the lines that it printed."""
    server = Jupyter(url, str(class_dir / "ca.crt"))
    server.login(seat_password((class_dir / "secret").read_text(encoding="utf-8"), seat))
    offered = server.api("GET", "kernelspecs")
    name = offered["default"] if offered["default"] in offered["kernelspecs"] else next(iter(offered["kernelspecs"]), "")
    with server.start(name, SESSION) as kernel:
        return kernel.run(code, SECONDS).strip().splitlines()
