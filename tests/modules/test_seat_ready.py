"""What seat_ready waits for, what it names and tells, and what it does with a seat that does not answer yet, or refuses."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.testing import patch_module_args
from ansible_collections.classroom.gpu.plugins.action import seat_ready as action
from ansible_collections.classroom.gpu.plugins.modules import seat_ready
from ansible_collections.classroom.gpu.plugins.plugin_utils import by_jupyter, refusal

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


SEAT = refusal.Seat("s01", "198.18.0.7", "i-1", "/class")
WAYS = {"account": "classroom", "user": "ubuntu", "key": "ssh-ed25519 AAAA"}
JUPYTER = {"url": "https://198.18.0.7:8888/", "class_dir": "/class"}


def ago(seconds: float) -> str:
    """Return the time of so many seconds ago, as EC2's inventory tells when a machine was launched."""
    return str(datetime.now(tz=UTC) - timedelta(seconds=seconds))


def refused(kind: refusal.Kind) -> refusal.Refused:
    return refusal.Refused(SEAT, [refusal.Heard("ubuntu", kind, "said")])


class Action(action.ActionModule):
    """The plugin, with a seat that fails some times before it answers, and a clock that moves by a second a look."""

    def __init__(self, *failures: Exception, **arguments: object) -> None:
        self.failures, self.asked, self.given = list(failures), 0, {}
        self._task = type("Task", (), {"args": arguments, "async_val": 0, "check_mode": False, "diff": False})
        self._connection, self._discovered_interpreter_key = self, None

    def reset(self) -> None:
        """Forget a connection."""

    def _execute_module(self, **arguments: object) -> dict:
        self.asked, self.given = self.asked + 1, arguments["module_args"]
        if self.failures:
            raise self.failures.pop(0)
        return {"answered": True}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each pause be over at once."""
    now = iter(range(10**6))
    monkeypatch.setattr(action.ActionBase, "run", lambda *arguments: {})
    monkeypatch.setattr(action, "time", type("Clock", (), {"monotonic": lambda: next(now), "sleep": lambda seconds: None}))


@pytest.mark.usefixtures("clock")
def test_a_seat_that_does_not_answer_yet_is_asked_again() -> None:
    seat = Action(*[AnsibleConnectionFailure("Connection refused")] * 3, timeout=60, launched="", jupyter=JUPYTER, ways=WAYS)
    assert (seat.run(None, {}), seat.asked) == ({"answered": True}, 4)
    assert seat.given == {"timeout": 60, "ways": WAYS}, "the module reads no more than its own"


# Which answer, seconds since the launch, and for how long the seat is asked again.
PATIENCE = [
    (refusal.CLOSED, 30, action.TIMEOUT),
    (refusal.SILENT, None, action.TIMEOUT),
    (refusal.CLOSED, 3600, action.SHORT),
    (refusal.SILENT, 3600, action.SHORT),
    (refusal.BOOTS, 3600, action.TIMEOUT),
    (refusal.KEY, 30, action.GRACE),
    (refusal.KEY, 3600, 0),
    (refusal.SUDO, 3600, 0),
    (refusal.HOST_KEY, 3600, 0),
]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("kind", "age", "seconds"), PATIENCE)
def test_a_refusal_is_final_and_silence_is_so_where_a_boot_is_long_over(kind: refusal.Kind, age: float | None, seconds: int) -> None:
    seat = Action(*[refused(kind)] * 400, launched="" if age is None else ago(age))
    with pytest.raises(refusal.Refused):
        seat.run(None, {})
    assert seat.asked == max(seconds, 1)


def test_what_is_final_is_named_within_half_a_minute() -> None:
    connect = 10  # seconds of Ansible's for SSH
    silent = max(action.SHORT, connect) + by_jupyter.CONNECT + max(action.LAST, connect)
    refused = action.GRACE + by_jupyter.CONNECT
    assert max(silent, refused) < 30


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("after", [[], [refusal.KEY]])
def test_a_seat_that_refuses_is_put_right_by_its_jupyter_once(after: list[refusal.Kind], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(by_jupyter, "put_back", lambda *arguments: asked.append(arguments) or ["account classroom: made"])
    seat = Action(refused(refusal.KEY), *map(refused, after * 400), launched=ago(3600), jupyter=JUPYTER, ways=WAYS)
    if after:
        with pytest.raises(
            refusal.Refused,
            match=r"Its Jupyter does not help \(it put right what it could: account classroom: made, SSH was started anew\)",
        ):
            seat.run(None, {})
    else:
        told = seat.run(None, {})
        assert told["changed"] and told["answered"] and "account classroom: made, SSH was started anew" in told["warnings"][0]
    assert asked == [(JUPYTER["url"], Path("/class"), "s01", WAYS)]


@pytest.mark.usefixtures("clock")
def test_a_jupyter_that_does_not_help_is_said_and_under_check_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_jupyter.socket, "create_connection", Mock(side_effect=OSError("timed out")))
    seat = Action(refused(refusal.KEY), launched=ago(3600), jupyter=JUPYTER, ways=WAYS)
    with pytest.raises(refusal.Refused, match=r"Its Jupyter does not help \(timed out\). Have its files saved") as told:
        seat.run(None, {})
    assert told.value.__cause__ is None  # Ansible prints a cause, too, and that one says to type what was just typed
    seat = Action(refused(refusal.KEY), launched=ago(3600), jupyter=JUPYTER, ways=WAYS)
    seat._task.check_mode = True
    with pytest.raises(refusal.Refused, match="puts it right through the seat's Jupyter"):
        seat.run(None, {})


CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_", "CLASSROOM"))}
OWN = {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}


def ansible(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of Ansible's outside of this project."""
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    return subprocess.run(command, cwd="/", env=CLEAN | OWN | environment, capture_output=True, text=True, timeout=300, check=False)


class Listener:
    """A port on loopback that takes connections, says nothing to them, and ends them as soon as it may."""

    def __init__(self, may_end: Callable[[], bool]) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.may_end = may_end
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            one = self.socket.accept()[0]
            while not self.may_end():
                time.sleep(0.05)
            one.close()


# SSH's server is stopped, hangs, or ends each connection.
SERVERS = {
    "server on it does not run": lambda: 1,
    "server on it hangs": lambda: Listener(lambda: False).port,
    "server on it ends each connection ('": lambda: Listener(lambda: True).port,
}


@pytest.mark.parametrize("part", SERVERS)
def test_a_seat_whose_ssh_does_not_serve_is_unreachable_with_the_cause(part: str, tmp_path: Path) -> None:
    there = f"ansible_host=127.0.0.1 ansible_port={SERVERS[part]()} ansible_timeout=2 ansible_connection=classroom.gpu.seat"
    accounts = "ansible_user=classroom ansible_second_user=ubuntu"
    words = ("-i", "s01,", "all", "-m", "classroom.gpu.seat_ready", "-a", "timeout=1", "-e", there, "-e", accounts)
    done = ansible("ansible", *words, ANSIBLE_HOME=str(tmp_path))
    assert done.returncode == 4 and "UNREACHABLE" in done.stdout, done.stdout + done.stderr
    assert f"s01 cannot be reached over SSH: SSH's {part}" in done.stdout, done.stdout


PLAY = """
- hosts: seats
  strategy: ansible.builtin.host_pinned
  gather_facts: false
  tasks:
    - {name: First, classroom.gpu.seat_ready: {timeout: 1}}
    - {name: Second, ansible.builtin.command: "true", changed_when: false}
    - {name: Third, ansible.builtin.file: {path: "{{ inventory_dir }}/{{ inventory_hostname }}", state: touch}}
"""


def test_a_seat_that_hangs_holds_no_other_up(tmp_path: Path) -> None:
    """Two are here, where nothing has to be connected to; the third says nothing until both are done, and so can only be the last."""
    listener = Listener(lambda: all((tmp_path / seat).exists() for seat in ("s02", "s03")))
    mute = {"ansible_connection": "classroom.gpu.seat", "ansible_host": "127.0.0.1", "ansible_port": listener.port, "ansible_timeout": 100}
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (tmp_path / "hosts.yml").write_text(json.dumps({"seats": {"hosts": {"s01": mute, "s02": here, "s03": here}}}))
    (tmp_path / "play.yml").write_text(PLAY)
    done = ansible(
        "ansible-playbook", "-i", f"{tmp_path}/hosts.yml", f"{tmp_path}/play.yml", ANSIBLE_HOME=str(tmp_path), ANSIBLE_FORKS="20"
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("fatal: ")]
    assert len(lines) == 1 and "s01 cannot be reached over SSH: SSH's server on it ends each connection" in lines[0], (
        done.stdout + done.stderr
    )
    assert {path.name for path in tmp_path.glob("s0?")} == {"s02", "s03"}
