"""Ansible's commands, each in a process of its own that is forked from one which has imported Ansible: that takes longer than most runs."""

from __future__ import annotations

import atexit
import fcntl
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]
COMMANDS = {"ansible": "ansible.cli.adhoc", "ansible-inventory": "ansible.cli.inventory", "ansible-playbook": "ansible.cli.playbook"}
# What a run imports by itself, one thing after the other.
USED = ["ansible.executor.process.worker", "ansible.plugins.callback", "ansible.plugins.strategy.linear", "boto3"]
LATER = {"ANSIBLE_CALLBACK_RESULT_FORMAT"}  # read by a plugin, in the run itself
SECONDS = 120  # for a run


def run(*command: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one of the commands in this project, as an organiser types it, and return its exit status and what it printed."""
    parent = warm(frozenset((name, value) for name, value in environment.items() if name.startswith("ANSIBLE_") and name not in LATER))
    with turn(environment.get("CLASSROOM", str(os.getpid()))), tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        files = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, errors)]
        job = {"command": command, "environment": dict(environment), "files": files}
        print(json.dumps(job), file=parent.stdin, flush=True)
        status = int(parent.stdout.readline())
        return subprocess.CompletedProcess(command, status, *(file.seek(0) or file.read() for file in (out, errors)))


@contextmanager
def turn(classroom: str) -> Iterator[None]:
    """Let no two processes of these tests work on a class of this checkout at once: a run that must wait says so, and none is to."""
    name = f"turn{ROOT}/{classroom}".replace("/", "-")
    with open(Path(tempfile.gettempdir()) / name, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@cache
def warm(settings: frozenset[tuple[str, str]]) -> subprocess.Popen[str]:
    """Start what the commands with these settings are forked from, for Ansible reads them at its import; it ends with this process."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))} | dict(settings)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    parent = subprocess.Popen([sys.executable, __file__], cwd=ROOT, env=own, start_new_session=True, **pipes)
    atexit.register(parent.communicate)
    return parent


def serve() -> None:
    """Carry out the jobs that come in, a line each, and answer each with its exit status."""
    del sys.path[0]
    for name in [*COMMANDS.values(), *USED]:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def work(command: list[str], environment: dict[str, str], files: list[str]) -> NoReturn:
    """Be the command: with its words, its environment and its files, and with nothing to read."""
    for number, path in enumerate([os.devnull, *files]):
        os.dup2(os.open(path, os.O_RDWR), number)
    signal.alarm(SECONDS)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = [shutil.which(command[0]), *command[1:]]
    status = 1
    try:
        importlib.import_module(COMMANDS[command[0]]).main()
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    serve()
