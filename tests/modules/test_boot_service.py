"""When a boot service is enabled, started or restarted, and when that has to wait for a student."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stdout
from hashlib import sha256
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.classroom.gpu.plugins.module_utils.common import cgroup, processes
from ansible_collections.classroom.gpu.plugins.modules import boot_service

from tests.support.jupyter_seat import Page, Seat, served

RUNNING = {"NeedDaemonReload": "no", "UnitFileState": "enabled", "ActiveState": "active"}


@pytest.mark.parametrize(
    ("state", "files", "busy", "interrupt", "steps", "due"),
    [
        ({}, [], 0, False, [], []),
        ({}, [], 3, False, [], []),
        ({}, ["seat.py"], 0, False, ["restart"], []),
        ({}, ["seat.py"], 1, False, [], ["seat.py"]),
        ({}, ["seat.py"], 1, True, ["restart"], []),
        ({"UnitFileState": "disabled"}, [], 1, False, ["enable"], []),
        ({"NeedDaemonReload": "yes"}, ["unit"], 1, False, ["daemon-reload"], ["unit"]),
        ({"ActiveState": "failed"}, ["seat.py"], 0, False, ["restart"], []),
        ({"ActiveState": "inactive", "UnitFileState": ""}, ["started"], 0, False, ["enable", "restart"], []),
        ({}, [boot_service.SILENT], 0, False, ["restart"], []),
        ({}, [boot_service.SILENT], 1, False, [], [boot_service.SILENT]),
        ({}, [boot_service.SILENT], 1, True, ["restart"], []),
    ],
)
def test_plan(state, files, busy, interrupt, steps, due):
    assert boot_service.plan(RUNNING | state, files, busy, interrupt) == (steps, due)


def test_what_changed_since_the_start_is_named(tmp_path):
    same, other, gone = (tmp_path / name for name in ("same", "other", "gone"))
    for path in (same, other, gone):
        path.write_text("before")
    before = sha256(b"before").hexdigest()
    started = tmp_path / "started"
    started.write_text("".join(f"{before}  {path}\n" for path in (same, other, gone)))
    other.write_text("after")
    gone.unlink()
    assert boot_service.changed_files(started) == [str(other), str(gone)]
    assert boot_service.changed_files(tmp_path / "never") == [str(tmp_path / "never")]


def test_processes_of_the_service_count_except_its_main_one(tmp_path):
    group = "/system.slice/jupyter.service"
    groups = {"10": f"0::{group}", "11": f"0::{group}", "12": f"0::{group}/sub"}
    groups |= {"13": f"0::{group}.other", "14": f"2:cpu:/\n1:name=systemd:{group}"}
    for pid, group in groups.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_text(group + "\n")
    assert cgroup.at_work("/system.slice/jupyter.service", "10", tmp_path) == 3


@pytest.mark.parametrize(
    ("shown", "count"),
    [("MainPID=10\nControlGroup=/system.slice/jupyter.service\n", 1), ("MainPID=0\nControlGroup=\n", 0), ("", 0)],
)
def test_a_service_that_does_not_run_has_nobody_at_work(tmp_path, shown, count):
    for pid in ("10", "11"):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_text("0::/system.slice/jupyter.service\n")
    assert cgroup.busy(shown, tmp_path) == count


class Machine:
    """A module whose systemctl answers with one state after the other."""

    def __init__(self, *states: str) -> None:
        self.states, self.commands = list(states), []

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        self.commands.append(command[1])
        return 0, f"ActiveState={self.states.pop(0)}\n" if command[1] == "show" else "", ""


@pytest.mark.parametrize(
    ("states", "commands"),
    [(["active"], ["show"]), (["inactive"], ["show"]), (["activating", "active"], ["show", "start", "show"])],
)
def test_a_start_that_is_under_way_is_waited_for(states, commands):
    machine = Machine(*states)
    assert boot_service.look(machine, "jupyter.service") == f"ActiveState={states[-1]}\n"
    assert machine.commands == commands


# --- a service that is asked ----------------------------------------------------------------------------------------------------------

SYSTEMCTL = """#!/bin/sh
echo "$@" >>{folder}/called
case $1 in show) cat {folder}/state ;; esac
"""


class Served:
    """A service on this machine: its page over TLS, its main process, and a systemctl that says what it is told to and notes its calls."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seat, self.process = folder, Seat(folder / "seat"), subprocess.Popen(["sleep", "1000"])
        (folder / "bin").mkdir()
        (folder / "bin/systemctl").write_text(SYSTEMCTL.format(folder=folder))
        (folder / "bin/systemctl").chmod(0o755)
        (folder / "started").touch()
        self.state()

    def state(self, **other: str) -> None:
        known = {"ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no", "FreezerState": "running"}
        known |= {"MainPID": str(self.process.pid), "ControlGroup": ""} | other
        (self.folder / "state").write_text("".join(f"{key}={value}\n" for key, value in known.items()))

    def keep(self, check: bool = False, **other: object) -> dict:
        """Run the module, and return what it says."""
        asked = {"url": f"https://127.0.0.1:{self.seat.port}/login", "ca": str(self.seat.folder / "ca.crt"), "seconds": 1}
        wanted = {"name": "jupyter.service", "started": str(self.folder / "started"), "asked": asked, "_ansible_check_mode": check} | other
        with patch_module_args(wanted), redirect_stdout(io.StringIO()) as answer, pytest.raises(SystemExit):
            boot_service.main()
        return json.loads(answer.getvalue())

    def called(self) -> list[str]:
        """Return what systemctl was asked to do since the last time."""
        path = self.folder / "called"
        calls = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [call for call in calls if not call.startswith("show")]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(boot_service, "PAUSE", 0.1)
    service = Served(tmp_path)
    yield service
    service.process.kill()
    service.process.wait()


def test_a_service_that_answers_is_left_alone(service: Served) -> None:
    end = served(service.seat, Page)
    told = service.keep()
    end()
    assert (told["changed"], told["done"], service.called()) == (False, [], [])


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("how", ["nothing listens", "it hangs", "an error"])
def test_a_service_that_is_active_and_silent_is_restarted(service: Served, how: str, check: bool) -> None:
    if how == "it hangs":
        with socket.create_server(("127.0.0.1", service.seat.port)):
            told = service.keep(check)
    elif how == "an error":
        end = served(service.seat, type("Broken", (Page,), {"status": 500}))
        told = service.keep(check)
        end()
    else:
        told = service.keep(check)
    assert (told["changed"], told["done"]) == (True, ["restart"])
    assert service.called() == ([] if check else ["restart jupyter.service"])


def test_a_service_that_is_slow_at_first_is_not_restarted(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(module: object, command: list[str], **_: object) -> tuple[int, str, str]:
        asked.append(command)
        return (0 if len(asked) == boot_service.TIMES else 28), "", ""

    monkeypatch.setattr(boot_service, "PAUSE", 0)
    module = type("Module", (), {"run_command": run})()
    assert boot_service.answers(module, {"url": "https://127.0.0.1/", "ca": "/ca", "seconds": 1})
    assert len(asked) == boot_service.TIMES


@pytest.mark.parametrize("check", [False, True])
def test_a_stopped_server_goes_on_and_nothing_of_a_students_ends(service: Served, check: bool) -> None:
    os.kill(service.process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, service.process.pid, os.WSTOPPED)
    end = served(service.seat, Page)
    told = service.keep(check)
    end()
    assert (told["changed"], told["done"], service.called()) == (True, ["continue"], [])
    if not check:
        os.waitid(os.P_PID, service.process.pid, os.WCONTINUED)
    assert (processes.state(str(service.process.pid)) == processes.STOPPED) is check


def test_a_rule_that_keeps_the_seat_from_its_own_service_is_named_and_nothing_is_restarted(service: Served) -> None:
    (service.folder / "bin/nft").write_text("#!/bin/sh\necho '  tcp dport 8888 drop'\n")
    (service.folder / "bin/nft").chmod(0o755)
    told = service.keep(port=8888)
    assert told["failed"] and "a rule of the seat's firewall ('tcp dport 8888 drop') shuts port 8888" in told["msg"]
    assert service.called() == []


def test_a_frozen_service_is_thawed(service: Served) -> None:
    service.state(FreezerState="frozen")
    end = served(service.seat, Page)
    told = service.keep()
    end()
    assert (told["done"], service.called()) == (["thaw"], ["thaw jupyter.service"])
