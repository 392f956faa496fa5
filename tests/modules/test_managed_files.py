"""What the files module makes, replaces, leaves alone and refuses: the module itself, run as Ansible runs it, in folders of its own."""

from __future__ import annotations

import getpass
import grp
import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.classroom.gpu.plugins.modules import managed_files

from tests.support.simulated_hosts import as_on_a_seat

ME = {"owner": getpass.getuser()}


def run(*wanted: dict, check: bool = False) -> dict:
    """Run the module and return what it says."""
    answer = io.StringIO()
    stdout, sys.stdout = sys.stdout, answer
    try:
        arguments = {"files": [ME | item for item in wanted], "_ansible_check_mode": check}
        with as_on_a_seat(), patch_module_args(arguments), pytest.raises(SystemExit):
            managed_files.main()
    finally:
        sys.stdout = stdout
    return json.loads(answer.getvalue())


def test_one_call_makes_a_list_and_the_next_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/file").write_text("old")
    wanted = [
        {"path": f"{tmp_path}/folder", "state": "directory", "mode": "0700"},
        {"path": f"{tmp_path}/folder/file", "content": "grüezi\n"},
        {"path": f"{tmp_path}/link", "state": "link", "target": f"{tmp_path}/folder/file"},
        {"path": f"{tmp_path}/old", "state": "absent"},
    ]
    paths = [item["path"] for item in wanted]
    foreseen = run(*wanted, check=True)
    assert os.listdir(tmp_path) == ["old"]
    # A link in check mode has nowhere to lead to yet.
    assert foreseen["failed"] and foreseen["changed_paths"] == paths[:2]
    assert run(*wanted)["changed_paths"] == paths
    assert (tmp_path / "link").read_text(encoding="utf-8") == "grüezi\n"
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700
    assert sorted(os.listdir(tmp_path)) == ["folder", "link"]
    for check in (True, False):
        again = run(*wanted, check=check)
        assert (again["changed"], again["changed_paths"], again["diff"]) == (False, [], [])


@pytest.mark.parametrize("check", [True, False])
def test_a_difference_is_shown_and_made_good(tmp_path: Path, check: bool) -> None:
    path = tmp_path / "file"
    path.write_text("altered")
    path.chmod(0o600)
    wanted = {"path": str(path), "content": "right"}
    found = run(wanted, check=check)
    assert found["diff"] == [
        {"before": "altered", "after": "right", "before_header": f"{path} (file) mode 0600", "after_header": f"{path} (file) mode 0644"}
    ]
    assert (path.read_text(), path.stat().st_mode & 0o777) == (("altered", 0o600) if check else ("right", 0o644))
    assert run(wanted, check=check)["changed"] is check


def test_rights_alone_are_made_good(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("right")
    path.chmod(0o666)
    before = path.stat().st_ino
    assert run({"path": str(path), "content": "right"})["changed"]
    assert (path.stat().st_mode & 0o777, path.stat().st_ino) == (0o644, before)


def test_a_link_in_a_files_place_is_replaced_and_never_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("somebody's")
    (tmp_path / "file").symlink_to(elsewhere)
    assert run({"path": f"{tmp_path}/file", "content": "right"})["changed"]
    assert (elsewhere.read_text(), (tmp_path / "file").read_text(), (tmp_path / "file").is_symlink()) == ("somebody's", "right", False)


def test_a_link_follows_its_target_and_replaces_a_file(tmp_path: Path) -> None:
    for name in ("one", "two", "link"):
        (tmp_path / name).write_text(name)
    for name in ("one", "two"):
        assert run({"path": f"{tmp_path}/link", "state": "link", "target": f"{tmp_path}/{name}"})["changed"]
        assert (tmp_path / "link").read_text() == name


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"path": "folder", "content": ""}, "a folder lies in its place"),
        ({"path": "pipe", "content": ""}, "a device, socket or pipe lies in its place"),
        ({"path": "folder/work", "state": "directory"}, "a file lies in its place"),
        ({"path": "dangling", "state": "directory"}, "a link to no folder lies in its place"),
        ({"path": "link", "state": "link", "target": "nowhere"}, "it would lead to nowhere, which is not there"),
        ({"path": "none/file", "content": ""}, "/none on"),
        ({"path": "n" * 300, "content": ""}, "has a name that is too long for its disk: give it a shorter one."),
        (
            {"path": "file", "content": "", "owner": "nobody-of-this-name"},
            "its owner is unknown: getpwnam(): name not found: 'nobody-of-this-name'",
        ),
    ],
)
def test_what_cannot_be_made_is_told_with_its_path(tmp_path: Path, wanted: dict, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/work").write_text("work")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("unmounted")
    found = run(wanted | {"path": f"{tmp_path}/{wanted['path']}"})
    assert found["failed"]
    assert found["msg"].startswith(f"{tmp_path}/{wanted['path']} cannot be made: ")
    assert reason in found["msg"]
    assert (tmp_path / "folder/work").read_text() == "work"
    assert (tmp_path / "dangling").is_symlink()


def test_a_link_to_a_folder_counts_as_the_folder(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    (disk / "work").write_text("work")
    (tmp_path / "folder").symlink_to(disk)
    wanted = {"path": f"{tmp_path}/folder", "state": "directory"}
    assert [run(wanted)["changed"] for _ in range(2)] == [True, False]
    assert ((tmp_path / "folder").is_symlink(), disk.stat().st_mode & 0o777, (disk / "work").read_text()) == (True, 0o755, "work")


def test_a_write_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    found = run({"path": str(path), "content": "longer than eight bytes"})
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in found["msg"]
    assert (os.listdir(tmp_path), path.read_text()) == (["file"], "old")


@pytest.mark.parametrize("check", [True, False])
def test_a_secret_is_shown_to_nobody(tmp_path: Path, check: bool) -> None:
    path = tmp_path / "file"
    path.write_text("hash of yesterday")
    wanted = {"path": str(path), "content": "hash of today", "secret": True, "mode": "0640", "group": grp.getgrgid(os.getgid()).gr_name}
    found = run(wanted, check=check)
    assert (found["changed"], found["changed_paths"]) == (True, [str(path)])
    assert "hash of" not in json.dumps(found)
    if not check:
        assert (path.read_text(), path.stat().st_mode & 0o777) == ("hash of today", 0o640)


def test_contents_are_kept_out_of_the_systems_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    logged: list[str] = []
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda self, message, **other: logged.append(message))
    run({"path": f"{tmp_path}/file", "content": "a whole file"})
    assert logged == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("check", [True, False])
def test_a_folder_that_somebody_took_is_given_back_and_none_is_made(tmp_path: Path, check: bool) -> None:
    for name in ("taken", "taken/.git"):
        (tmp_path / name).mkdir(mode=0o000)
    (tmp_path / "taken/.git/index").write_text("")
    wanted = [
        {"path": f"{tmp_path}/{name}", "state": "owned", "owner": "nobody", "below": name.endswith("git")}
        for name in ("taken", "taken/.git", "absent")
    ]
    found = run(*wanted, check=check)
    assert found["changed_paths"] == [f"{tmp_path}/taken", f"{tmp_path}/taken/.git"]
    assert f"{tmp_path}/taken had lost owner or rights: {'to be given' if check else 'given'} back." in json.dumps(found["warnings"])
    assert found["diff"][1]["after"] == f"{tmp_path}/taken/.git\n{tmp_path}/taken/.git/index\n"
    assert ((tmp_path / "taken").stat().st_mode & 0o700, (tmp_path / "absent").exists()) == (0 if check else 0o700, False)
    assert run(*wanted, check=check)["changed"] is check


@pytest.mark.parametrize("wanted", [{"content": "right"}, {"content": "text", "mode": "0600"}, {"state": "absent"}])
def test_an_immutable_file_is_named_with_the_command_and_stays(tmp_path: Path, wanted: dict) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    if subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode:
        pytest.skip("this disk knows no attributes")
    try:
        found = run({"path": str(path)} | wanted)
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
    assert found["failed"] and f"{path} cannot be made: {path} on " in found["msg"]
    assert found["msg"].endswith(f" is immutable, as somebody has protected it: `sudo chattr -i {path}` there takes that away.")
    assert path.read_text() == "text"
