"""When a boot service is enabled, started or restarted, and when that has to wait for a student."""

from hashlib import sha256

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils import control_group
from ansible_collections.classroom.gpu.plugins.modules import boot_service

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
    assert control_group.at_work("/system.slice/jupyter.service", "10", tmp_path) == 3


@pytest.mark.parametrize(
    ("shown", "count"),
    [("MainPID=10\nControlGroup=/system.slice/jupyter.service\n", 1), ("MainPID=0\nControlGroup=\n", 0), ("", 0)],
)
def test_a_service_that_does_not_run_has_nobody_at_work(tmp_path, shown, count):
    for pid in ("10", "11"):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_text("0::/system.slice/jupyter.service\n")
    assert control_group.busy(shown, tmp_path) == count


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
