"""Which version is the default: Debian's own update-alternatives, in folders of this test's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.apt import alternatives


class Machine:
    """A module whose update-alternatives keeps its links below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.check_mode = folder, False
        for name in ("alternatives", "admin", "cuda-12.9", "cuda-13.0"):
            (folder / name).mkdir()

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        own = ["--altdir", f"{self.folder}/alternatives", "--admindir", f"{self.folder}/admin", "--log", f"{self.folder}/log"]
        done = subprocess.run([command[0], *own, *command[1:]], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def settle(self, version: str) -> bool:
        return alternatives.settle(self, "cuda", f"{self.folder}/cuda", f"{self.folder}/cuda-{version}")

    @property
    def default(self) -> str:
        return os.path.basename(os.path.realpath(self.folder / "cuda"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_one_becomes_the_default_and_stays_it(machine: Machine) -> None:
    assert [machine.settle("12.9"), machine.settle("12.9"), machine.default] == [True, False, "cuda-12.9"]
    newer = ["update-alternatives", "--install", f"{machine.folder}/cuda", "cuda", f"{machine.folder}/cuda-13.0", "130"]
    assert machine.run_command(newer)[0] == 0
    assert [machine.settle("12.9"), machine.default] == [False, "cuda-12.9"]
    assert [machine.settle("13.0"), machine.default] == [True, "cuda-13.0"]


@pytest.mark.parametrize(
    "breakage", [["--auto", "cuda"], ["--set", "cuda", "cuda-13.0"], ["--remove-all", "cuda"], None], ids=lambda breakage: str(breakage)
)
def test_what_became_of_it_is_put_right(machine: Machine, breakage: list[str] | None) -> None:
    machine.settle("13.0")
    machine.settle("12.9")
    if breakage:
        broken = [f"{machine.folder}/{word}" if word.startswith("cuda-") else word for word in breakage]
        assert machine.run_command(["update-alternatives", *broken])[0] == 0
    else:
        (machine.folder / "cuda").unlink()
    machine.check_mode = True
    assert machine.settle("12.9") and (breakage or machine.default == "cuda")
    machine.check_mode = False
    assert [machine.settle("12.9"), machine.settle("12.9"), machine.default] == [True, False, "cuda-12.9"]


def test_one_that_is_not_there_yet_is_left_to_the_run_that_installs_it(machine: Machine) -> None:
    machine.check_mode = True
    assert not machine.settle("11.8")


def test_a_folder_in_its_place_is_told(machine: Machine) -> None:
    (machine.folder / "cuda").mkdir()
    with pytest.raises(alternatives.Unset, match="move away what lies there|cannot be made the default"):
        machine.settle("12.9")
