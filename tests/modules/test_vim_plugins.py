"""classroom.gpu.vim_plugins on real repositories: what a student, a crash and other versions do. Molecule runs vim."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.modules.vim_plugins import (
    Blocked,
    Vim,
    VimError,
    is_ours,
    last_line,
    sealed,
    settle,
    understand,
)

from rehearsal.mirrors import build
from tests.support.simulated_hosts import on_disk


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Student", "-c", "user.email=student@example.org")
    return subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def publish(source: Path, work: Path, name: str) -> dict[str, str]:
    """Put a plugin with two commits into a source, and return its pin."""
    repository = source / f"{name}.git"
    (work / name / "doc").mkdir(parents=True)
    for text in ("wanted", "later"):
        (work / name / "plugin.vim").write_text(text)
        (work / name / "doc/it.txt").write_text(text)
        build.prepare_course(repository, work / name)
    return {"repository": name, "version": build.git(repository, "rev-parse", "main~1")}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    """A source, of which each test has a copy, and its pins."""
    folder = tmp_path_factory.mktemp("published")
    return folder / "source", [publish(folder / "source", folder / "work", name) for name in ("VundleVim/Vundle.vim", "own/er.vim")]


class Student:
    """A home, and a source with Vundle and a plugin, each with a commit that is wanted and a later one. Vundle's part is played by git,
    for a controller may have no vim."""

    def __init__(self, folder: Path, published: tuple[Path, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch) -> None:
        self.source, self.home, self.bundle = folder / "source", folder / "home", folder / "home/.vim/bundle"
        self.home.mkdir()
        shutil.copytree(published[0], self.source)
        self.pins = [dict(pin) for pin in published[1]]
        self.plugin = self.bundle / "er.vim"
        self.asked: list[str] = []
        monkeypatch.setattr(Vim, "vundle", self.vundle)

    def vundle(self, command: str, plugins: list) -> str:
        self.asked += [f"{command} {plugin.name}" for plugin in plugins]
        for plugin in plugins:
            if not plugin.path.exists():
                plugin.run("git", "clone", "--quiet", "--depth=1", f"file://{plugin.uri}", str(plugin.path))
            (plugin.path / "doc/tags").write_text("tags")
        return ""

    def vim(self, vimrc: str = "syntax on\n") -> Vim:
        params = {"home": str(self.home), "vimrc": vimrc, "source": str(self.source), "plugins": self.pins, "patience": 60}
        return Vim(params)

    def settle(self, check: bool = False, **params: str) -> dict:
        return settle(self.vim(**params), check)


@pytest.fixture
def student(tmp_path: Path, published: tuple[Path, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch) -> Student:
    return Student(tmp_path, published, monkeypatch)


@pytest.fixture
def ready(student: Student) -> Student:
    assert student.settle()["installed"] == ["Vundle.vim", "er.vim"]
    student.asked.clear()
    return student


def test_a_first_run_brings_all_and_a_second_nothing(student: Student) -> None:
    assert student.settle(check=True)["changed"] and not any(student.home.iterdir())
    assert student.settle() == {"changed": True, "installed": ["Vundle.vim", "er.vim"], "mended": []}
    assert [(student.bundle / name / "plugin.vim").read_text() for name in ("Vundle.vim", "er.vim")] == ["wanted", "wanted"]
    student.source.rename(student.source.with_name("gone"))
    for check in (False, True):
        assert student.settle(check) == {"changed": False, "installed": [], "mended": []}


@pytest.mark.parametrize(
    ("breakage", "said"),
    [
        ("rm plugin.vim", "er.vim had 1 altered or deleted files"),
        ("rm -r plugin.vim doc .git", "er.vim was incomplete"),
        ("rm -r plugin.vim doc .git; git init --quiet .", "er.vim was incomplete"),
        ("rm plugin.vim; touch .git/index.lock", "er.vim had 1 altered or deleted files"),
        ("echo mine >> plugin.vim", "er.vim had 1 altered or deleted files"),
        ("echo mine >> plugin.vim; touch .git/index.lock", "er.vim had 1 altered or deleted files"),
        ("rm -r .git", "er.vim was incomplete"),
        ("git -c user.name=x -c user.email=x@example.org commit --quiet --allow-empty -m mine", "er.vim was at commit"),
        ("git fetch --quiet && git checkout --quiet origin/HEAD", "er.vim was at commit"),
        ("git config remote.origin.url https://example.org", "er.vim came from another address"),
        ("rm doc/tags", "er.vim had no index of its help"),
        ("cd ..; rm -r er.vim; mkdir ../empty; ln -s ../empty er.vim", "er.vim was incomplete"),
        ("cd ..; rm -r er.vim; echo mine > er.vim", "er.vim was incomplete"),
    ],
)
def test_what_is_broken_is_named_and_mended(ready: Student, breakage: str, said: str) -> None:
    subprocess.run(["sh", "-ec", breakage], cwd=ready.plugin, check=True)
    assert ready.settle(check=True)["mended"][0].startswith(f"Vim's plugin {said}")
    assert ready.settle()["mended"][0].startswith(f"Vim's plugin {said}")
    assert (ready.plugin / "plugin.vim").read_text() == "wanted" and (ready.plugin / "doc/tags").exists()
    assert not ready.settle()["changed"]


@pytest.mark.parametrize("lock", ["", "touch .git/index.lock", "rm -r .git"])
def test_what_a_student_wrote_in_a_plugin_is_kept(ready: Student, lock: str) -> None:
    subprocess.run(["sh", "-ec", f"echo mine > plugin.vim; {lock}"], cwd=ready.plugin, check=True)
    assert "what was changed there is kept" in ready.settle()["mended"][1]
    stash = git(ready.plugin, "stash", "show", "--patch") if not lock else ""
    assert "mine" in stash or [path.read_text() for path in ready.home.glob(".vim/kept/er.vim.*/plugin.vim")] == ["mine\n"]


def test_what_is_not_the_class_s_is_not_touched(ready: Student) -> None:
    (ready.bundle / "own").mkdir()
    (ready.home / ".vimrc.local").write_text("mine")
    assert not ready.settle()["changed"]
    assert ready.settle(vimrc="new")["changed"]
    assert (ready.bundle / "own").is_dir() and (ready.home / ".vimrc.local").read_text() == "mine"


@pytest.mark.parametrize("theirs", ["foreign", "", 'edited\n" The class wrote this file, and nobody edited it: 0\n'])
def test_a_vimrc_that_is_not_the_class_s_is_kept_once(student: Student, theirs: str) -> None:
    (student.home / ".vimrc").write_text(theirs)
    assert student.settle()["mended"] == [
        f"{student.home}/.vimrc was not the class's, and is kept as {next(student.home.glob('.vimrc.2*'))}: "
        f"own settings belong into {student.home}/.vimrc.local"
    ]
    assert not student.settle()["changed"] and student.settle(vimrc="new")["mended"] == []
    assert [path.read_text() for path in student.home.glob(".vimrc.2*")] == [theirs]


def test_settings_kept_in_one_second_have_names_of_their_own(student: Student) -> None:
    for text in ("one", "two"):
        (student.home / ".vimrc").write_text(text)
        student.settle()
    assert sorted(path.read_text() for path in student.home.glob(".vimrc.2*")) == ["one", "two"]


def test_a_link_of_the_student_s_is_kept_as_a_link(student: Student) -> None:
    (student.home / "dotfile").write_text("mine")
    (student.home / ".vimrc").symlink_to("dotfile")
    student.settle()
    assert next(student.home.glob(".vimrc.2*")).is_symlink() and (student.home / "dotfile").read_text() == "mine"


def test_only_what_is_missing_is_asked_of_vundle(ready: Student) -> None:
    subprocess.run(["rm", "-r", ready.plugin], check=True)
    assert ready.settle()["installed"] == ["er.vim"]
    assert ready.asked == ["PluginInstall er.vim", "PluginDocs er.vim"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda student: student.source.joinpath("own").rename(student.source / "gone"), "er.vim cannot be had from .*/own/er.vim.git: "),
        (lambda student: student.pins[1].update(version="0" * 40), "er.vim cannot be brought to commit 0{40} of .*/own/er.vim.git: "),
    ],
)
def test_what_cannot_be_had_is_named(student: Student, change, sentence: str) -> None:
    change(student)
    with pytest.raises(VimError, match=sentence):
        student.settle()


def test_a_run_that_fails_says_what_it_moved_before(student: Student) -> None:
    (student.home / ".vimrc").write_text("mine")
    student.source.rename(student.source.with_name("gone"))
    vim = student.vim()
    with pytest.raises(VimError):
        settle(vim, check=False)
    assert "is kept as" in vim.kept[0]


def test_a_vundle_that_does_nothing_is_noticed(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Vim, "vundle", lambda *_: "No space left on device")
    with pytest.raises(VimError, match="Vundle did not install vim's plugin er.vim from .*: No space left on device"):
        student.settle()


@pytest.mark.parametrize(
    ("text", "ours"),
    [(sealed("a\n"), True), (sealed("a"), True), ("a\n", False), ("", False), (sealed("a") + "b\n", False), ("b\n" + sealed("a"), False)],
)
def test_a_seal_fits_one_text(text: str, ours: bool) -> None:
    assert is_ours(text) is ours


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("", ("", [])),
        ("# branch.oid (initial)\n# branch.head main\n", ("", [])),
        ("# branch.oid abc\n# branch.head (detached)\n", ("abc", [])),
        ("# branch.oid abc\n1 .M N... 100644 100644 100644 1 2 doc/a b.txt\n", ("abc", ["doc/a b.txt"])),
        ("# branch.oid abc\n2 R. N... 100644 100644 100644 1 2 R100 new\told\n", ("abc", ["new"])),
        ("# branch.oid abc\nu UU N... 100644 100644 100644 100644 1 2 3 both\n", ("abc", ["both"])),
    ],
)
def test_git_s_status_is_understood(status: str, found: tuple[str, list[str]]) -> None:
    assert understand(status) == found


@pytest.mark.parametrize(
    ("said", "last"), [("", "no reason given"), ("hint\nfatal: no such thing\n\n", "no such thing"), ("error: x\nb\n", "b")]
)
def test_the_last_line_is_the_reason(said: str, last: str) -> None:
    assert last_line(said) == last


@pytest.mark.parametrize("room", ["16k", "100k", "250k"])
def test_a_full_disk_is_named_whatever_of_git_met_it(student: Student, room: str) -> None:
    def fill() -> str:
        try:
            return str(student.settle())
        except (Blocked, OSError) as error:
            return path_errors.cause(error, student.bundle) if isinstance(error, OSError) else str(error)

    assert on_disk(student.home, f"size={room}", fill).startswith(
        f"The disk of {platform.node()} at {student.home} is full: 0 of 0 MiB are free."
    )


def test_an_immutable_file_of_a_plugin_is_named_with_the_command(ready: Student) -> None:
    path = ready.plugin / "plugin.vim"
    path.write_text("mine")
    if subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode:
        pytest.skip("this disk knows no attributes")
    try:
        with pytest.raises(Blocked, match=f"^{path} on .* is immutable, .* `sudo chattr -i {path}` there takes that away.$"):
            ready.settle()
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
    assert path.read_text() == "mine"
