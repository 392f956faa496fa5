"""classroom.gpu.uv_env where nothing has to be installed: what had lost its rights, and what the system refuses."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.modules import uv_env

from tests.support.simulated_hosts import on_disk, running_module

LOCK = "# nothing\n"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """An environment of no packages that is as its lock says."""
    prefix = tmp_path / "jupyter"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/python").write_text("#!/bin/sh\n")
    (prefix / "bin/python").chmod(0o755)
    (prefix / "pyvenv.cfg").write_text("")
    (prefix / uv_env.STATE).write_text(json.dumps({"lock": sha256(LOCK.encode()).hexdigest(), "distributions": []}))
    return prefix


def run(prefix: Path, check: bool = False, lock: str = LOCK) -> dict:
    return running_module(uv_env, {"path": str(prefix), "lock": lock, "uv": "/bin/cp", "_ansible_check_mode": check})


def is_open(prefix: Path) -> bool:
    """Tell whether everybody may read all of it."""
    rights = {path: path.stat().st_mode for path in [prefix, *prefix.rglob("*")]}
    return all(mode & (0o5 if stat.S_ISDIR(mode) else 0o4) == (0o5 if stat.S_ISDIR(mode) else 0o4) for mode in rights.values())


@pytest.mark.parametrize("command", [["chmod", "700"], ["chmod", "-R", "go="], ["chmod", "-R", "000"], ["chown", "-R", "nobody"]])
def test_what_a_student_may_not_read_any_more_is_given_back(made: Path, command: list[str]) -> None:
    if os.geteuid():
        pytest.skip("only root still enters")
    assert not run(made)["changed"]
    subprocess.run([*command, made], check=True)
    foreseen, done = run(made, check=True), run(made)
    assert foreseen["changed"] and done["changed"] and f"{made}" in json.dumps(done["warnings"])
    assert is_open(made) and {path.stat().st_uid for path in made.rglob("*")} == {0}
    assert not run(made)["changed"]


def test_a_full_disk_is_named_and_not_the_installers_words(tmp_path: Path) -> None:
    def fill() -> dict:
        (tmp_path / "other").write_bytes(b"x" * 60000)
        return run(tmp_path / "jupyter")

    told = on_disk(tmp_path, "size=64k", fill)
    assert told["failed"] and " is full: 0 of 0 MiB are free." in told["msg"], told
