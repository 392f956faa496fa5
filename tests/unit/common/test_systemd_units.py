"""What is done about systemd's units, by what systemd says of them, and when it has to read its files anew."""

from __future__ import annotations

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.common import systemd_units

WELL = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"}
NEW = WELL | {"LoadState": "not-found", "ActiveState": "inactive", "UnitFileState": ""}
READ = WELL | {"ActiveState": "inactive", "UnitFileState": "disabled"}


class Machine:
    """A module whose systemctl tells of one set of states after the other, the last one again and again."""

    def __init__(self, *looks: dict[str, dict[str, str]], check: bool = False, refuses: str = "") -> None:
        self.looks, self.check_mode, self.refuses = list(looks), check, refuses
        self.commands: list[str] = []

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        program, verb, *names = command
        if program == "journalctl":
            return 0, "first word\nlast word\n", ""
        if verb != "show":
            self.commands.append(" ".join([verb, *names]))
            return (1, "", "Unit is broken.\n") if verb == self.refuses else (0, "", "")
        states = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return 0, "\n".join("".join(f"{key}={value}\n" for key, value in states[name].items()) for name in names[2:]), ""


def test_units_are_told_by_the_folder_of_their_files() -> None:
    paths = ["/etc/systemd/system/a.timer", "/run/systemd/system/b.service", "/etc/systemd/system/c.service.d/d.conf", "/etc/a.timer"]
    assert systemd_units.of(paths) == ["a.timer", "b.service"]


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        ({}, []),
        ({"ActiveState": "activating"}, []),
        ({"ActiveState": "failed"}, ["start"]),
        ({"ActiveState": "inactive"}, ["start"]),
        ({"UnitFileState": "disabled"}, ["enable"]),
        ({"UnitFileState": "enabled-runtime"}, ["enable"]),
        ({"UnitFileState": "masked", "ActiveState": "inactive"}, ["unmask", "enable", "start"]),
        ({"UnitFileState": "masked-runtime"}, ["unmask", "enable"]),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_a_unit_is_brought_to_run_now_and_at_every_boot(state: dict, steps: list[str], check: bool) -> None:
    machine = Machine({"a.timer": WELL | state}, check=check)
    assert systemd_units.settle(machine, ["a.timer"], [], []) == ({"a.timer": steps} if steps else {})
    assert machine.commands == ([] if check else [f"{step} a.timer" for step in steps])


@pytest.mark.parametrize("check", [False, True])
def test_a_new_unit_is_read_enabled_and_started(check: bool) -> None:
    machine = Machine({"a.timer": NEW, "a.service": NEW}, {"a.timer": READ, "a.service": READ}, check=check)
    both = ["a.service", "a.timer"]
    assert systemd_units.settle(machine, ["a.timer"], both, both) == {"a.timer": ["enable", "start"]}
    assert machine.commands == ([] if check else ["daemon-reload", "enable a.timer", "start a.timer"])


def test_a_changed_unit_that_runs_is_read_anew_and_nothing_else() -> None:
    machine = Machine({"a.timer": WELL, "a.service": READ})
    assert systemd_units.settle(machine, ["a.timer"], ["a.service", "a.timer"], ["a.service"]) == {}
    assert machine.commands == ["daemon-reload"]


@pytest.mark.parametrize("check", [False, True])
def test_what_a_timer_started_and_failed_is_run_again(check: bool) -> None:
    failed = READ | {"ActiveState": "failed"}
    machine = Machine({"a.timer": WELL, "a.service": failed, "b.service": failed}, check=check)
    assert systemd_units.settle(machine, ["a.timer"], ["a.service", "a.timer", "b.service"], []) == {"a.service": ["start"]}
    assert machine.commands == ([] if check else ["start a.service"])
    with pytest.raises(systemd_units.Broken, match="'systemctl start a.service' failed: Unit is broken"):
        systemd_units.settle(Machine({"a.timer": WELL, "a.service": failed}, refuses="start"), ["a.timer"], ["a.service"], [])


@pytest.mark.parametrize("check", [False, True])
def test_what_a_killed_run_left_unread_is_read(check: bool) -> None:
    stale = {"a.timer": WELL, "a.service": READ | {"NeedDaemonReload": "yes"}}
    machine = Machine(stale, {"a.timer": WELL, "a.service": READ}, check=check)
    assert systemd_units.settle(machine, ["a.timer"], ["a.service", "a.timer"], []) == {"a.service": ["daemon-reload"]}
    assert machine.commands == ([] if check else ["daemon-reload"])


def test_systemd_is_not_asked_about_files_alone() -> None:
    assert systemd_units.settle(None, [], [], []) == {}


def test_a_unit_that_nothing_brings_is_told() -> None:
    with pytest.raises(systemd_units.Broken, match="The unit a.timer is not there"):
        systemd_units.settle(Machine({"a.timer": NEW}), ["a.timer"], [], [])


def test_what_systemctl_refuses_is_told_with_the_units_last_words() -> None:
    with pytest.raises(systemd_units.Broken, match="'systemctl start a.timer' failed: Unit is broken.") as told:
        systemd_units.settle(Machine({"a.timer": READ}, refuses="start"), ["a.timer"], [], [])
    assert told.value.journal == ["first word", "last word"]
