"""What seat_ready waits for, what it names and tells, and what it does with a seat that does not answer yet."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.testing import patch_module_args
from ansible_collections.classroom.gpu.plugins.action import seat_ready as action
from ansible_collections.classroom.gpu.plugins.modules import seat_ready

ROOT = Path(__file__).parents[2]


@pytest.fixture
def seat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose programs come first, and which has a seat's static name."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(seat_ready, "STATIC", tmp_path / "hostname")
    (tmp_path / "hostname").write_text(f"{os.uname().nodename}\n")
    return tmp_path


def program(seat: Path, name: str, text: str) -> None:
    """Let the seat have a program."""
    (seat / name).write_text(f"#!/bin/sh\n{text}\n")
    (seat / name).chmod(0o755)


def run(check: bool = False, **options: object) -> dict:
    """Run the module and return what it says."""
    answer = io.StringIO()
    stdout, sys.stdout = sys.stdout, answer
    try:
        with patch_module_args(options | {"_ansible_check_mode": check}), pytest.raises(SystemExit):
            seat_ready.main()
    finally:
        sys.stdout = stdout
    return json.loads(answer.getvalue())


def test_it_tells_the_distribution_as_setup_does(seat: Path) -> None:
    told = run()
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    facts = told["ansible_facts"]
    assert not told["changed"]
    assert facts["ansible_distribution"].lower() == release["ID"].strip('"')
    assert facts["ansible_distribution_major_version"] == release["VERSION_ID"].strip('"').split(".")[0]
    assert facts["ansible_distribution_release"] == release["VERSION_CODENAME"].strip('"')


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ("exit 0", ""),
        ("echo 'status: degraded'; exit 2", ""),
        ("echo 'status: error'; exit 1", "cloud-init failed at the seat's first boot (status: error)"),
        ("sleep 30", "cloud-init is not done after 1 s"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_the_first_boot_has_to_end(seat: Path, ends: str, said: str, check: bool) -> None:
    program(seat, "cloud-init", f'test "$*" = "status --wait" || exit 3\n{ends}')
    told = run(check, patience=1)
    assert told.get("msg", "").startswith(said) and bool(told.get("failed")) == bool(said)


@pytest.mark.parametrize("check", [False, True])
def test_the_machine_is_named_static_pretty_and_running(seat: Path, check: bool) -> None:
    program(seat, "hostnamectl", f'echo "$*" >>{seat}/called')
    own = os.uname().nodename
    assert not run(check, hostname=own)["changed"]
    told = run(check, hostname="s01")
    assert (told["changed"], told["diff"]) == (True, {"before": f"{own}\n", "after": "s01\n"})
    called = (seat / "called").read_text().splitlines() if (seat / "called").exists() else []
    assert called == ([] if check else ["--pretty --static set-hostname s01", "--transient set-hostname s01"])


def test_a_name_that_the_next_boot_would_change_is_put_right(seat: Path) -> None:
    program(seat, "hostnamectl", "exit 0")
    (seat / "hostname").write_text("ip-172-31-0-99\n")
    assert run(hostname=os.uname().nodename)["changed"]


class Action(action.ActionModule):
    """The plugin, with a seat that answers after some refusals."""

    def __init__(self, refusals: int, timeout: float) -> None:
        self.refusals, self.resets = refusals, 0
        self._task = type("Task", (), {"args": {"timeout": timeout}, "async_val": 0, "check_mode": False, "diff": False})
        self._connection, self._discovered_interpreter_key = self, None

    def reset(self) -> None:
        self.resets += 1

    def _execute_module(self, **arguments: object) -> dict:
        self.refusals -= 1
        if self.refusals >= 0:
            raise AnsibleConnectionFailure("Connection refused")
        return {"answered": True}


def test_a_seat_that_does_not_answer_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action, "PAUSE", 0)
    monkeypatch.setattr(action.ActionBase, "run", lambda *arguments: {})
    seat = Action(3, 60)
    assert (seat.run(None, {}), seat.resets) == ({"answered": True}, 3)


def test_a_seat_that_never_answers_is_unreachable() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_", "CLASSROOM"))}
    command = [str(Path(sys.executable).with_name("ansible")), "-i", "nowhere,", "all", "-m", "classroom.gpu.seat_ready", "-a", "timeout=1"]
    command += ["-e", "ansible_host=127.0.0.1 ansible_port=1 ansible_python_interpreter=/usr/bin/python3"]
    own = {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")}
    done = subprocess.run(command, cwd="/", env=clean | own, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4 and "UNREACHABLE" in done.stdout and "Connection refused" in done.stdout, done.stdout + done.stderr
