"""What a host's disk lies on, and when a snapshot's folder goes; mounts are tried by tests/rehearsal."""

from pathlib import Path

import pytest

from rehearsal.hosts import disks


@pytest.fixture
def mounted(tmp_path, monkeypatch) -> dict[str, tuple[str, ...]]:
    """What each disk was mounted over, by its name."""
    monkeypatch.setattr(disks, "FOLDER", tmp_path / "disks")
    seen = {}

    def overlay(below: tuple[str, ...], disk: str) -> None:
        (disks.FOLDER / disk / "upper").mkdir(parents=True, exist_ok=True)
        seen[disk] = below

    monkeypatch.setattr(disks, "_overlay", overlay)
    return seen


@pytest.fixture
def some(mounted, tmp_path) -> disks.Disks:
    layers = [tmp_path / "top", tmp_path / "bottom"]
    for layer in layers:
        layer.mkdir()
    return disks.Disks(layers)


def launch(some: disks.Disks, disk: str, snapshot: str | None = None) -> None:
    some.claim(disk, snapshot)
    some.mount(disk)


def there() -> set[str]:
    return {path.name for path in disks.FOLDER.iterdir() if not path.is_symlink()}


def test_a_chain_names_the_nearest_first_and_stays_short(some, mounted):
    launch(some, "a")
    some.freeze("a", "one")
    launch(some, "b", "one")
    some.freeze("b", "two")
    launch(some, "c", "two")
    assert mounted["a"] == ("one", "image0", "image1")
    assert mounted["b"] == mounted["c"] == ("two", "one", "image0", "image1")
    assert (disks.FOLDER / "image0").readlink().name == "top"


def test_what_a_disk_held_is_the_snapshots_and_no_more_its_own(some):
    launch(some, "a")
    (disks.FOLDER / "a/upper/note").write_text("first")
    some.freeze("a", "one")
    assert (disks.FOLDER / "one/note").read_text() == "first" and not (disks.FOLDER / "a/upper/note").exists()


def test_a_snapshot_goes_with_the_last_that_lies_on_it(some):
    launch(some, "a")
    some.freeze("a", "one")
    launch(some, "b", "one")
    some.freeze("b", "two")
    for snapshot in ("one", "two"):
        some.delete(snapshot)
    assert there() == {"a", "b", "one", "two"}
    some.remove("b")
    assert there() == {"a", "one"}
    some.remove("a")
    some.remove("never there")
    some.delete("never there")
    assert there() == set()


def test_a_claim_keeps_a_snapshot_before_its_disk_is_made(some):
    launch(some, "a")
    some.freeze("a", "one")
    some.remove("a")
    some.claim("b", "one")
    some.delete("one")
    some.mount("b")
    assert there() == {"b", "one"}


def test_a_copy_is_a_snapshot_of_its_own(some, mounted):
    launch(some, "a")
    (disks.FOLDER / "a/upper/note").write_text("first")
    some.copy("a", "one")
    (disks.FOLDER / "a/upper/note").write_text("second")
    launch(some, "b", "one")
    assert (disks.FOLDER / "one/note").read_text() == "first"
    assert (mounted["a"], mounted["b"]) == (("image0", "image1"), ("one", "image0", "image1"))


@pytest.mark.parametrize(
    ("says", "fails"),
    [("cp: cannot stat 'a': No such file or directory", False), ("cp: no space left on device", True)],
)
def test_a_file_that_went_away_before_it_was_copied_is_no_error(some, tmp_path, monkeypatch, says, fails):
    launch(some, "a")
    (tmp_path / "cp").write_text(f'#!/bin/sh\necho "{says}" >&2\nexit 1\n')
    (tmp_path / "cp").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if fails:
        with pytest.raises(disks.DiskError, match=f"^cp one: {says}$"):
            some.copy("a", "one")
    else:
        some.copy("a", "one")


def test_sweep_leaves_nothing(some, monkeypatch):
    launch(some, "a")
    some.freeze("a", "one")
    assert disks.sweep() == []
    assert not disks.FOLDER.exists()
    assert disks.sweep() == []


def test_the_folder_is_its_owners_alone(some):
    assert Path(disks.FOLDER).stat().st_mode & 0o777 == 0o700
