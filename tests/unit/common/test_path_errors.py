"""What keeps a program from a path, met for real: a full disk, a read-only one, immutable files, folders that lost their rights."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors

ROOT = Path(__file__).parents[3]
HERE = platform.node()
NOBODY = 65534
START = """
import os, subprocess, sys
from pathlib import Path
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
os.setgroups([]), os.setgid({user}), os.setuid({user})
"""
MET = """
path = Path(sys.argv[1])
try:
    {}
except OSError as error:
    print(path_errors.cause(error, path))
"""
TOOL = """
done = subprocess.run(sys.argv[2:], capture_output=True, text=True, cwd=sys.argv[1])
assert done.returncode
print(path_errors.of_words(done.stderr, sys.argv[1]))
"""
WITHOUT_PATH = """
@path_errors.told
def main():
    with open("/mnt/file", "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65536)
try:
    main()
except SystemExit as error:
    assert error.code == 1
"""


def python(program: str, *arguments: str, options: str = "", user: int = 0) -> str:
    """Run a program as a user, and in namespaces of its own where a disk of that kind is at /mnt; return what it prints."""
    disk = f"mount -t tmpfs -o {options.replace('ro', 'size=2m')} none /mnt; mkdir /mnt/home; mount -o remount,{options} /mnt;"
    inside = ["unshare", "--mount", "sh", "-ec", f'{disk} exec "$@"', "sh"] if options else []
    shell = os.environ | {"PYTHONPATH": str(ROOT / "collections"), "LC_ALL": "C"}
    command = [*inside, sys.executable, "-c", START.format(user=user) + program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=shell, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of nobody's that nobody can reach."""
    for above in (tmp_path, *tmp_path.parents[:3]):
        if above != Path("/tmp"):
            above.chmod(0o755)
    (tmp_path / "env/bin").mkdir(parents=True)
    (tmp_path / "env/bin/file").write_text("text")
    yield tmp_path / "env"
    subprocess.run(["chattr", "-R", "-i", "-a", tmp_path], check=False, capture_output=True)


FILL = "[(path / str(number)).write_bytes(b'x' * 65536) for number in range(100)]"


@pytest.mark.parametrize(
    ("options", "meets", "says"),
    [
        ("size=2m", FILL, f"The disk of {HERE} at /mnt is full: 0 of 2 MiB are free. `sudo du -xm /mnt | sort -n | tail` there"),
        ("nr_inodes=9", FILL, f"The disk of {HERE} at /mnt is full: it takes no more than 9 files. `sudo du -x --inodes /mnt"),
        ("ro", FILL, f"/mnt/home/0 on {HERE} cannot be written: its disk at /mnt is read-only"),
    ],
)
def test_a_disk_is_named_with_its_cause(options: str, meets: str, says: str) -> None:
    told = python(MET.format(meets), "/mnt/home", options=options)
    assert told.startswith(says) and "\n" not in told
    assert "playbooks/grow.yml" in told or f"-e seats={HERE}, start it again." in told


@pytest.mark.parametrize("options", ["size=1m", "ro"])
@pytest.mark.parametrize(
    "tool",
    [
        ["git", "clone", "--quiet", "{source}", "copy"],
        ["tar", "--extract", "--file", "{archive}"],
        ["cp", "{archive}", "copy"],
    ],
)
def test_whatever_tool_met_a_disk_it_is_named(tmp_path: Path, options: str, tool: list[str]) -> None:
    source, archive = tmp_path / "source", tmp_path / "archive.tar"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(3 << 20))
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "-m", "x"]):
        subprocess.run(["git", "-C", source, *command], check=True)
    subprocess.run(["tar", "--create", "--file", archive, "-C", source, "noise"], check=True)
    told = python(TOOL, "/mnt/home", *(part.format(source=source, archive=archive) for part in tool), options=options)
    assert (f"The disk of {HERE} at /mnt is full" if options != "ro" else "its disk at /mnt is read-only") in told


@pytest.mark.parametrize(("flag", "kind"), [("i", "immutable"), ("a", "append-only")])
@pytest.mark.parametrize(
    "meets",
    [
        "(path / 'bin/file').unlink()",
        "(path / 'bin/file').write_text('')",
        "(path / 'bin').rename(path / 'x')",
        "(path / 'new').rename(path / 'bin/file')",
    ],
)
def test_protection_is_named_with_the_command_that_lifts_it(folder: Path, flag: str, kind: str, meets: str) -> None:
    path = folder / "bin" if "'x'" in meets else folder / "bin/file"
    (folder / "new").write_text("new")
    if subprocess.run(["chattr", f"+{flag}", path], capture_output=True, check=False).returncode:
        pytest.skip("this disk knows no attributes")
    told = python(MET.format(meets), str(folder))
    assert told == f"{path} on {HERE} is {kind}, as somebody has protected it: `sudo chattr -{flag} {path}` there takes that away."
    assert (folder / "bin/file").read_text() == "text"


def test_a_tool_that_meets_protection_and_does_not_say_where_is_told(folder: Path) -> None:
    if subprocess.run(["chattr", "+i", folder / "bin/file"], capture_output=True, check=False).returncode:
        pytest.skip("this disk knows no attributes")
    assert f"`sudo chattr -i {folder}/bin/file`" in path_errors.of_words("fatal: cannot do that: Operation not permitted", folder)
    assert f"`sudo chattr -i {folder}/bin/file`" in python(TOOL, str(folder), "rm", "-rf", "bin")


@pytest.mark.parametrize(("shut", "mode"), [("env", 0), ("env", 0o700), ("env/bin", 0), ("env/bin/file", 0o600)])
def test_the_folder_that_is_closed_is_named(folder: Path, shut: str, mode: int) -> None:
    (folder.parent / shut).chmod(mode)
    whole = f"{folder.parent / shut}"
    mend = f"`sudo chown nobody {whole} && sudo chmod u+rwX {whole}` there"
    says = f"nobody may not use {whole} on {HERE}: it is root's, mode {mode:04o}. Type {mend}."
    assert python(MET.format("(path / 'bin/file').read_text()"), str(folder), user=NOBODY) == says
    if shutil.which("cat"):
        assert python(TOOL, "/", "cat", str(folder / "bin/file"), user=NOBODY) == says


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", ""),
        ("git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.", ""),
        ("fatal: unable to access 'https://example.org/x/': The requested URL returned error: 403", ""),
        ("Permission denied: https://example.org/packages/x.conda", ""),
        ("× No solution found when resolving dependencies", ""),
    ],
)
def test_what_is_not_about_a_path_keeps_its_words(tmp_path: Path, words: str, says: str) -> None:
    assert path_errors.of_words(words, tmp_path) == says


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOENT, "is not there"),
        (errno.ENOTDIR, "a file lies where one of its folders belongs"),
        (errno.EISDIR, "is a folder where a file belongs"),
        (errno.ELOOP, "leads back to itself"),
        (errno.ENAMETOOLONG, "a name that is too long"),
        (errno.EIO, "its disk fails"),
        (errno.EDQUOT, "is used up at"),
        (errno.EBUSY, "cannot be used: Device or resource busy."),
    ],
)
def test_every_error_of_a_path_is_a_sentence(tmp_path: Path, code: int, says: str) -> None:
    told = path_errors.cause(OSError(code, os.strerror(code), str(tmp_path / "x")))
    assert says in told and "[Errno" not in told and told.endswith(".")


def test_an_error_without_a_path_keeps_its_words() -> None:
    assert path_errors.cause(OSError("nothing was said")) == "nothing was said."


def test_a_full_disk_is_named_without_a_path() -> None:
    told = json.loads(python(WITHOUT_PATH, options="size=2m"))
    assert told["failed"] and told["msg"].startswith(f"The disk of {HERE} at /mnt is full: 0 of 2 MiB are free.")
