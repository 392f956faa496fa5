"""When the reserve of a disk is whole, when there is room for it, and that it really takes up room."""

import os
from types import SimpleNamespace

import pytest
from ansible_collections.classroom.gpu.plugins.modules import reserve_file

MIB = reserve_file.MIB


@pytest.fixture
def disk(monkeypatch):
    """Return a function that sets how many MiB a user may still write to every disk."""

    def left(mib):
        monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_bavail=mib, f_frsize=MIB))

    return left


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.setattr(os, "fchown", lambda *arguments: None)


def test_a_reserve_takes_up_room_and_is_nobodys_to_read(tmp_path):
    path, said = tmp_path / "reserve", tmp_path / "said"
    said.write_text("full")
    reserve_file.bring(path, 2 * MIB, said)
    assert reserve_file.allocated(path) >= 2 * MIB
    assert path.stat().st_mode & 0o777 == 0o600
    assert reserve_file.intact(path, 2 * MIB)
    assert not said.exists()


def test_a_reserve_that_was_cut_short_or_has_holes_is_completed(tmp_path):
    path = tmp_path / "reserve"
    with path.open("wb") as file:
        file.truncate(2 * MIB)
    assert not reserve_file.intact(path, 2 * MIB)
    reserve_file.bring(path, 2 * MIB, tmp_path / "said")
    assert reserve_file.intact(path, 2 * MIB)


def test_no_size_means_no_file(tmp_path):
    path = tmp_path / "reserve"
    assert reserve_file.intact(path, 0)
    reserve_file.allocate(path, MIB)
    assert not reserve_file.intact(path, 0)
    reserve_file.bring(path, 0, tmp_path / "said")
    assert reserve_file.intact(path, 0)


@pytest.mark.parametrize(("left", "lack"), [(100, 0), (42, 0), (41, 1), (0, 42)])
def test_there_has_to_be_room_for_the_reserve_and_twice_the_spare(tmp_path, disk, left, lack):
    disk(left)
    assert reserve_file.lacking(tmp_path / "reserve", 32 * MIB, 5 * MIB) == lack * MIB


def test_what_the_file_takes_already_is_not_asked_for_again(tmp_path, disk):
    reserve_file.allocate(tmp_path / "reserve", MIB)
    disk(10)
    assert reserve_file.lacking(tmp_path / "reserve", MIB, 5 * MIB) == 0


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "reserve").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        reserve_file.bring(tmp_path / "reserve", MIB, tmp_path / "said")
    assert not (tmp_path / "elsewhere").exists()
