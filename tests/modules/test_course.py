"""classroom.gpu.course on real repositories: what a teacher and a student do to them, in every order that has bitten somebody."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.course import checkout
from ansible_collections.classroom.gpu.plugins.module_utils.course.checkout import Course, GitError, choose, settle
from ansible_collections.classroom.gpu.plugins.modules import course as course_module

from rehearsal.mirrors import build
from tests.support.simulated_hosts import on_disk, running_module


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Student", "-c", "user.email=student@example.org")
    return subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()


class Class:
    """A course that a teacher publishes and a student works on."""

    def __init__(self, folder: Path) -> None:
        self.origin, self.source, self.dest = folder / "origin.git", folder / "source", folder / "home/dl_tutorial"
        self.source.mkdir()
        self.dest.parent.mkdir()
        self.publish(one="1", two="2")

    def publish(self, **files: str) -> None:
        for name, text in files.items():
            (self.source / name).write_text(text)
        build.prepare_course(self.origin, self.source)

    def settle(self, version: str = "main", check: bool = False, fresh: bool = False) -> dict:
        params = {"repository": str(self.origin), "version": version, "dest": str(self.dest), "fresh": fresh, "patience": 60}
        return settle(Course(params), check)

    def publish_bytes(self, name: str, content: bytes) -> str:
        (self.source / name).parent.mkdir(exist_ok=True)
        (self.source / name).write_bytes(content)
        build.prepare_course(self.origin, self.source)
        return git(self.origin, "rev-parse", "main")[:8]

    def read(self, name: str) -> str:
        return (self.dest / name).read_text()


@pytest.fixture
def course(tmp_path: Path) -> Class:
    return Class(tmp_path)


@pytest.fixture
def ready(course: Class) -> Class:
    assert course.settle()["changed"]
    return course


LISTING = "ref: refs/heads/main\tHEAD\na\tHEAD\na\trefs/heads/main\nb\trefs/tags/v1\nc\trefs/tags/v1^{}\nd\trefs/tags/light\n"


@pytest.mark.parametrize(("version", "found"), [("main", ("a", "main")), ("HEAD", ("a", "main")), ("v1", ("c", "")), ("light", ("d", ""))])
def test_a_version_is_a_branch_or_a_tag(version: str, found: tuple[str, str]) -> None:
    assert choose(LISTING, version) == found


def test_an_unknown_version_is_named(course: Class) -> None:
    with pytest.raises(GitError, match="cannot be had: it has no branch or tag nothing. Correct classroom_course_repository or"):
        course.settle("nothing")


def test_the_course_arrives_and_stays(course: Class) -> None:
    assert course.settle(check=True)["changed"] and not course.dest.exists()
    assert course.settle()["changed"]
    assert course.read("one") == "1"
    for check in (False, True):
        assert not course.settle(check=check)["changed"]


def test_a_commit_stays_without_asking_the_repository(ready: Class) -> None:
    commit = git(ready.dest, "rev-parse", "HEAD")
    ready.origin.rename(ready.origin.with_name("gone"))
    assert not ready.settle(commit)["changed"]


def test_a_new_commit_arrives_beside_a_students_edits(ready: Class) -> None:
    (ready.dest / "one").write_text("mine")
    (ready.dest / "own").write_text("mine")
    ready.publish(two="new")
    result = ready.settle()
    assert (result["changed"], result["left"]) == (True, "")
    assert (ready.read("one"), ready.read("two"), ready.read("own")) == ("mine", "new", "mine")
    assert not ready.settle()["changed"]


@pytest.mark.parametrize("name", ["one", "three.ipynb", "code/ü 1.ipynb", ".ipynb_checkpoints/one"])
def test_a_students_edit_stays_and_the_new_version_lands_beside(ready: Class, name: str) -> None:
    (ready.dest / name).parent.mkdir(exist_ok=True)
    (ready.dest / name).write_text("mine")
    content = b"new\xff\x00"
    short = ready.publish_bytes(name, content)
    ready.publish(two="new")
    short = git(ready.origin, "rev-parse", "main")[:8]
    beside = str(Path(name).with_name(f"{Path(name).stem}.course-{short}{Path(name).suffix}"))
    assert ready.settle(check=True)["changed"] and ready.read(name) == "mine"
    result = ready.settle()
    assert (result["changed"], result["beside"], result["left"]) == (True, [beside], "")
    assert (ready.read(name), ready.read("two"), (ready.dest / beside).read_bytes()) == ("mine", "new", content)
    assert [ready.settle(check=check)["changed"] for check in (True, False)] == [False, False]


def test_a_second_update_of_an_edited_file_lands_beside_too(ready: Class) -> None:
    (ready.dest / "one").write_text("mine")
    for text in ("new", "newer"):
        ready.publish(one=text)
        assert len(ready.settle()["beside"]) == 1
    assert ready.read("one") == "mine"
    assert sorted(path.read_text() for path in ready.dest.glob("one.course-*")) == ["new", "newer"]


def test_what_the_student_has_alike_needs_no_copy(ready: Class) -> None:
    (ready.dest / "one").write_text("new")
    ready.publish(one="new")
    result = ready.settle()
    assert (result["changed"], result["beside"]) == (True, [])
    assert git(ready.dest, "status", "--porcelain") == ""


def test_an_edited_file_that_the_course_drops_stays(ready: Class) -> None:
    (ready.dest / "one").write_text("mine")
    (ready.source / "one").unlink()
    ready.publish(two="new")
    result = ready.settle()
    assert (result["beside"], result["left"]) == ([], "")
    assert (ready.read("one"), ready.read("two")) == ("mine", "new")


def test_a_killed_update_is_completed(ready: Class) -> None:
    (ready.dest / "one").write_text("mine")
    (ready.dest / "two").write_text("mine too")
    (ready.source / "two").unlink()
    ready.publish(one="new")
    course = Course({"repository": str(ready.origin), "version": "main", "dest": str(ready.dest), "fresh": False, "patience": 60})
    commit, _ = course.wanted()
    course.git("fetch", "--quiet", "origin", "+refs/heads/*:refs/remotes/origin/*")
    course.keep(course.clashes(commit), commit)  # and here the machine lost power
    result = ready.settle()
    assert (result["changed"], result["after"], result["left"]) == (True, commit, "")
    assert (ready.read("one"), ready.read("two")) == ("mine", "mine too")
    assert [path.read_text() for path in ready.dest.glob("one.course-*")] == ["new"]


def test_a_fresh_course_can_be_had_back(ready: Class) -> None:
    (ready.dest / "one").write_text("mine")
    aside = Path(ready.settle(fresh=True)["set_aside"])
    assert (ready.read("one"), (aside / "one").read_text()) == ("1", "mine")


def test_a_students_commit_is_never_lost(ready: Class) -> None:
    (ready.dest / "one").write_text("mine")
    git(ready.dest, "commit", "--quiet", "--all", "--message=mine")
    ready.publish(two="new")
    assert ready.settle()["left"] == "has commits of its own"
    git(ready.dest, "checkout", "--quiet", "--detach", "HEAD~1")
    assert ready.settle()["left"] == "has commits of its own"
    assert git(ready.dest, "show", "main:one") == "mine"


def test_a_student_may_pull(ready: Class) -> None:
    ready.publish(two="new")
    git(ready.dest, "pull", "--quiet")
    assert not ready.settle()["changed"]
    assert git(ready.dest, "rev-parse", "HEAD") == git(ready.dest, "rev-parse", "refs/classroom/course")


def test_deleted_files_and_folders_come_back(ready: Class) -> None:
    (ready.dest / "one").unlink()
    (ready.dest / "two").write_text("mine")
    assert ready.settle()["restored"] == ["one"]
    assert (ready.read("one"), ready.read("two")) == ("1", "mine")
    for path in sorted(ready.dest.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert ready.settle()["set_aside"] == ""
    ready.dest.rename(ready.dest.with_name("elsewhere"))
    assert ready.settle()["changed"]
    assert ready.read("two") == "2"


@pytest.mark.parametrize("own", ["", "*.log", "*.log\n"])
def test_git_passes_over_what_jupyter_leaves(ready: Class, own: str) -> None:
    """Also in a checkout from before, and beside the student's own lines."""
    exclude, copy = ready.dest / ".git/info/exclude", ready.dest / "code/.ipynb_checkpoints/one-checkpoint.ipynb"
    copy.parent.mkdir(parents=True)
    copy.write_text("{}")
    (ready.dest / "run.log").write_text("mine")
    assert git(ready.dest, "status", "--porcelain") == "?? run.log"
    exclude.write_text(own) if own else shutil.rmtree(exclude.parent)
    assert [ready.settle(check=check)["changed"] for check in (True, False, True, False)] == [True, True, False, False]
    assert git(ready.dest, "status", "--porcelain") == ("" if own else "?? run.log")
    assert exclude.read_text() == ("*.log\n" if own else "") + ".ipynb_checkpoints/\n"
    shutil.rmtree(ready.dest / ".git")
    ready.settle()
    assert ".ipynb_checkpoints/" in exclude.read_text().splitlines()


def test_what_is_in_the_way_moves_aside(course: Class) -> None:
    course.dest.mkdir()
    (course.dest / "diary").write_text("mine")
    aside = Path(course.settle()["set_aside"])
    assert (aside / "diary").read_text() == "mine"
    assert course.read("one") == "1"


def test_versions_can_be_changed_back_and_forth(ready: Class) -> None:
    old = git(ready.dest, "rev-parse", "HEAD")
    ready.publish(one="new")
    for version, text in (("main", "new"), (old, "1"), ("main", "new")):
        assert ready.settle(version)["changed"]
        assert ready.read("one") == text


def test_a_student_updates_without_ansible(ready: Class) -> None:
    """The file alone, with a Python that knows of nothing else."""
    (ready.dest / "one").write_text("mine")
    ready.publish(one="new", two="new")

    def update(repository: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", checkout.__file__, "--repository", str(repository), "--dest", str(ready.dest)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    for said in ("has been updated", "is up to date"):
        done = update(ready.origin)
        assert (done.returncode, done.stderr) == (0, "") and said in done.stdout
    assert (ready.read("one"), ready.read("two")) == ("mine", "new")
    done = update(ready.origin.with_name("none"))
    assert done.returncode == 1 and "was not updated" in done.stderr and ready.read("one") == "mine"


def module(course: Class, **more: object) -> dict:
    """Run the module itself."""
    wanted = {"repository": str(course.origin), "version": "main", "dest": str(course.dest)}
    return running_module(course_module, wanted | more)


def test_a_full_disk_is_named_and_not_gits_words_for_it(course: Class) -> None:
    told = on_disk(course.dest.parent, "size=20k", lambda: module(course))
    assert told["failed"] and told["msg"].startswith(f"The disk of {platform.node()} at {course.dest.parent} is full: ")


def test_an_immutable_file_of_the_course_is_named_with_the_command(ready: Class) -> None:
    path = ready.dest / "one"
    path.unlink()
    if subprocess.run(["chattr", "+i", ready.dest], capture_output=True, check=False).returncode:
        pytest.skip("this disk knows no attributes")
    try:
        told = module(ready)
    finally:
        subprocess.run(["chattr", "-i", ready.dest], check=True)
    assert told["failed"] and f"`sudo chattr -i {ready.dest}`" in told["msg"], told


def test_a_repository_that_is_not_there_is_told_in_one_line(course: Class) -> None:
    told = module(course, repository="/nowhere/course.git")
    assert told["failed"] and "again" not in told
    assert told["msg"].startswith(
        "The course /nowhere/course.git cannot be had: '/nowhere/course.git' does not appear to be a git repository"
    )
    assert told["msg"].endswith("Correct classroom_course_repository or classroom_course_version, or run this again when it answers.")


def test_why_the_course_stays_where_it_is_is_told() -> None:
    """As after a student's own commit."""
    result = {"set_aside": "", "beside": ["one.course-0badcafe"], "left": "has commits of its own", "after": "deadbeef" * 5}
    assert checkout.sentences(result, "/home/x/course") == [
        "/home/x/course: the student's files stay; the course's new versions lie beside: one.course-0badcafe.",
        "/home/x/course stays at commit deadbeef, because it has commits of its own.",
    ]
