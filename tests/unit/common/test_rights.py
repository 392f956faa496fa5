"""How the class's own folders get back to whom they belong, with real folders, owners and modes; and that links lead nowhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.common.rights import give_back, told

NOBODY = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An environment of nobody's: a folder in a folder, a program, a file that git keeps from being written, links to a secret."""
    top = tmp_path / "env"
    (top / "lib/deep").mkdir(parents=True)
    for name, mode in (("lib/deep/file", 0o644), ("program", 0o755), ("object", 0o444)):
        (top / name).write_text(name)
        (top / name).chmod(mode)
    for path in [top, *top.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    (tmp_path / "secret").mkdir(mode=0o700)
    (top / "link").symlink_to(tmp_path / "secret")
    return top


def state(path: Path) -> tuple[int, int]:
    """Return owner and mode of a path."""
    found = path.lstat()
    return found.st_uid, stat.S_IMODE(found.st_mode)


def test_what_has_all_its_rights_is_left_alone(tree: Path) -> None:
    before = {path: path.lstat().st_ctime_ns for path in tree.rglob("*")}
    assert give_back(tree, NOBODY, deep="all") == []
    assert {path: path.lstat().st_ctime_ns for path in tree.rglob("*")} == before


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(("name", "mode"), [("", 0), ("lib", 0o500), ("lib/deep", 0o000)])
def test_a_folder_that_lost_its_mode_or_owner_is_given_back(tree: Path, name: str, mode: int, check: bool) -> None:
    path = tree / name
    path.chmod(mode)
    os.chown(path, 0, 0)
    assert give_back(tree, NOBODY, check=check) == [str(path)]
    assert state(path) == ((0, mode) if check else (NOBODY, mode | 0o700))


def test_files_too_where_all_is_asked_for_and_what_may_be_run_stays_so(tree: Path) -> None:
    for name in ("program", "object", "lib/deep/file"):
        os.chown(tree / name, 0, 0)
    (tree / "program").chmod(0o100)
    (tree / "lib/deep/file").chmod(0)
    assert give_back(tree, NOBODY) == []
    assert len(give_back(tree, NOBODY, 0o755, deep="all")) == 3
    modes = {name: state(tree / name) for name in ("program", "object", "lib/deep/file")}
    assert modes == {"program": (NOBODY, 0o555), "object": (NOBODY, 0o444), "lib/deep/file": (NOBODY, 0o444)}


def test_no_link_is_followed(tree: Path) -> None:
    secret = tree.parent / "secret"
    assert give_back(tree, NOBODY, 0o777, deep="all") != []
    assert give_back(tree / "link", NOBODY, 0o777, deep="all") == []
    assert state(secret) == (0, 0o700)


def test_what_is_given_back_is_one_sentence(tree: Path) -> None:
    assert told(["/opt/x"], check=False) == "/opt/x had lost owner or rights: given back"
    assert told(["/opt/x", "/opt/x/y"], check=True) == "/opt/x and 1 more in it had lost owner or rights: to be given back"
