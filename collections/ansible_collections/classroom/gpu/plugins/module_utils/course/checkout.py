#!/usr/bin/env python3
"""Keep a course's git repository checked out, and never overwrite what a student changed in it.

Stands alone, so that a student can update without Ansible: `python3 course_checkout.py --repository URL --dest FOLDER`. Why not
nbgitpuller's own puller: it commits what the student changed and merges the course into it, so that a notebook becomes a mixture of
both, nothing lands beside, a file of the student's own is renamed for one of the course's, and neither a commit nor a deleted .git
can be asked of it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

COURSE = "refs/classroom/course"
KEPT = ".git/classroom-kept"  # where a student's files wait while git takes away what the course dropped
EXCLUDE = ".git/info/exclude"  # what `git status` passes over in this checkout alone (gitignore)
JUPYTERS = b".ipynb_checkpoints/"  # copies that Jupyter leaves beside notebooks
# No person answers, a silent server is given up after a minute, and the student's own settings of git do not matter.
UNATTENDED = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_HTTP_LOW_SPEED_LIMIT": "1",
    "GIT_HTTP_LOW_SPEED_TIME": "60",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "LC_ALL": "C.UTF-8",
}
ENVIRONMENT = UNATTENDED | {"GIT_LITERAL_PATHSPECS": "1"}


class GitError(Exception):
    """A git command failed; the text is its complaint."""


def choose(listing: str, version: str) -> tuple[str, str]:
    """Return the commit and the branch (or nothing) that `version` means in the output of `git ls-remote --symref`.

    Raises GitError where there is no such branch or tag.
    """
    refs = {name: what for what, name in reversed([line.split("\t") for line in listing.splitlines()])}
    if version == "HEAD":
        version = refs.get("HEAD", "").removeprefix("ref: refs/heads/")
    if f"refs/heads/{version}" in refs:
        return refs[f"refs/heads/{version}"], version
    for name in (f"refs/tags/{version}^{{}}", f"refs/tags/{version}"):
        if name in refs:
            return refs[name], ""
    raise GitError(f"it has no branch or tag {version}")


def complaint(text: str) -> str:
    """What git complained of, without its advice: the lines of its errors, as one; all of it where there are none."""
    errors = [line.partition(": ")[2].rstrip(".") for line in text.splitlines() if line.startswith(("fatal: ", "error: "))]
    return "; ".join(errors) or " ".join(text.split()) or "git gave no reason"


class Course:
    """The checkout of one course."""

    def __init__(self, params: dict) -> None:
        self.repository, self.version, self.dest = params["repository"], params["version"], Path(params["dest"])
        self.fresh, self.patience = params["fresh"], params["patience"]

    def git(self, *arguments: str, folder: Path | None = None, stdin: str = "") -> str:
        """Run git in the checkout and return what it prints."""
        command = ["git", "-C", str(folder or self.dest), *arguments]
        try:
            done = subprocess.run(command, env=os.environ | ENVIRONMENT, input=stdin, capture_output=True, text=True, timeout=self.patience)
        except FileNotFoundError as error:
            raise GitError("git is not installed: the role base installs it") from error
        except subprocess.TimeoutExpired as error:
            raise GitError(f"git {arguments[0]} was not done after {self.patience} s") from error
        if done.returncode:
            raise GitError(complaint(done.stderr))
        return done.stdout.rstrip("\n")

    def asks(self, *arguments: str) -> str:
        """The answer of a git command that may fail; empty where it does."""
        try:
            return self.git(*arguments)
        except GitError:
            return ""

    def wanted(self) -> tuple[str, str]:
        """Commit and branch that the student should have."""
        if re.fullmatch(r"[0-9a-f]{40}", self.version):
            return self.version, ""
        try:
            return choose(self.git("ls-remote", "--symref", self.repository, folder=Path("/")), self.version)
        except GitError as error:
            mend = "Correct classroom_course_repository or classroom_course_version, or run this again when it answers"
            raise GitError(f"The course {self.repository} cannot be had: {error}. {mend}") from error

    def head(self) -> str:
        """The commit that is checked out; empty where there is no repository of its own in the folder."""
        return self.asks("rev-parse", "--verify", "--quiet", "HEAD^{commit}") if (self.dest / ".git").is_dir() else ""

    def paths(self, *arguments: str) -> set[str]:
        """The paths that a git command lists."""
        return set(self.git(*arguments, "-z").split("\0")) - {""}

    def deleted(self) -> list[str]:
        return sorted(self.paths("ls-files", "--deleted"))

    def obstacle(self, branch: str, commit: str) -> str:
        """Why the checkout has to stay where it is, as far as commits here tell; empty where it need not."""
        heads = [self.head(), self.asks("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")]
        return "has commits of its own" if any(head and not self.of_the_course(head, commit) for head in heads) else ""

    def clashes(self, commit: str) -> list[str]:
        """Files that the student changed, or made, and that `commit` changes too."""
        if not self.asks("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"):
            return []  # not fetched: only the run that fetches it can tell
        own = self.paths("diff", "--name-only", "--no-renames", "--diff-filter=d", "HEAD") | self.paths("ls-files", "--others")
        return sorted(own & self.paths("diff", "--name-only", "--no-renames", "HEAD", commit))

    def of_the_course(self, head: str, commit: str) -> bool:
        """Tell whether `head` is what was checked out last, or is contained in `commit`."""
        if head == self.asks("rev-parse", "--verify", "--quiet", COURSE):
            return True
        return head == self.asks("merge-base", head, commit)

    def clone(self, commit: str, branch: str) -> str:
        """Make the checkout beside its place and rename it, so that a killed run leaves nothing half done.

        What else is in its place moves aside. Returns where to, or nothing.
        """
        beside = self.dest.with_name(f".{self.dest.name}.new")
        shutil.rmtree(beside, ignore_errors=True)
        self.git("clone", "--quiet", "--no-checkout", self.repository, str(beside), folder=self.dest.parent)
        self.check_out(commit, branch, beside)
        self.hide(beside)
        aside = self.dest.with_name(f"{self.dest.name}.{time.strftime('%Y-%m-%dT%H%M%S')}")
        occupied = os.path.lexists(self.dest) and not (self.dest.is_dir() and not any(self.dest.iterdir()))
        if occupied:
            self.dest.rename(aside)
        beside.rename(self.dest)
        return str(aside) if occupied else ""

    def check_out(self, commit: str, branch: str, folder: Path) -> None:
        """Move the checkout to a commit, on its branch where there is one, and note that this was the course's doing."""
        place = ("-B", branch) if branch else ("--detach",)
        self.git("checkout", "--quiet", *place, commit, folder=folder)
        if branch:
            self.git("branch", "--quiet", f"--set-upstream-to=origin/{branch}", branch, folder=folder)
        self.git("update-ref", COURSE, commit, folder=folder)

    def update(self, commit: str, branch: str) -> tuple[list[str], str]:
        """Move an existing checkout to a commit. Returns the copies made, and the reason why it stays where it is, if it does."""
        self.git("remote", "set-url", "origin", self.repository)
        self.git("fetch", "--quiet", "--tags", "--force", "origin", "+refs/heads/*:refs/remotes/origin/*")
        reason = self.obstacle(branch, commit)
        if reason:
            return [], reason
        copies = self.keep(self.clashes(commit), commit)
        try:
            self.check_out(commit, branch, self.dest)
        except GitError as error:
            return copies, f"cannot take the course's new files: {' '.join(str(error).split())}"
        finally:
            self.put_back()
        return copies, ""

    def keep(self, files: list[str], commit: str) -> list[str]:
        """Let the index hold `commit`'s version of files, with which a checkout leaves the student's in place (git-read-tree, two
        tree merge), and put that version beside each, unless the student has the same or it is there. Returns the copies made."""
        if not files:
            return []
        entries = self.git("ls-tree", "-r", "-z", commit, "--", *files).split("\0")[:-1]
        arriving = [entry.split("\t", 1)[1] for entry in entries]
        gone = [f"0 {'0' * 40}\t{path}" for path in files if path not in arriving]
        self.git("update-index", "-z", "--index-info", stdin="".join(f"{entry}\0" for entry in gone + entries))
        self.asks("update-index", "--refresh")
        for path in set(files).difference(arriving):
            (self.dest / KEPT / path).parent.mkdir(parents=True, exist_ok=True)
            (self.dest / path).rename(self.dest / KEPT / path)
        copies = []
        for path in sorted(self.paths("diff-files", "--name-only").intersection(arriving)):
            draft = self.dest / self.git("checkout-index", "--temp", "--", path).split("\t")[0]
            beside = Path(path).with_name(f"{Path(path).stem}.course-{commit[:8]}{Path(path).suffix}")
            if os.path.lexists(self.dest / beside):
                draft.unlink()
            else:
                draft.chmod(0o644)
                draft.rename(self.dest / beside)
                copies.append(str(beside))
        return copies

    def put_back(self) -> None:
        """Return the files that `keep` moved out of git's way, also those of a run that was killed. None replaces another."""
        for kept in [path for path in (self.dest / KEPT).rglob("*") if path.is_symlink() or not path.is_dir()]:
            place = self.dest / kept.relative_to(self.dest / KEPT)
            place.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(place):
                kept.rename(place)

    def hides(self) -> bool:
        """Tell whether git passes over what Jupyter leaves."""
        place = self.dest / EXCLUDE
        return place.is_file() and JUPYTERS in place.read_bytes().splitlines()

    def hide(self, folder: Path) -> None:
        """Let git pass over what Jupyter leaves. The student's own lines stay as they are."""
        place = folder / EXCLUDE
        place.parent.mkdir(exist_ok=True)
        with place.open("ab+") as file:
            file.seek(0)
            unended = file.read()[-1:] not in (b"", b"\n")
            file.write(b"\n" * unended + JUPYTERS + b"\n")

    def restore(self, files: list[str]) -> None:
        """Bring deleted files back."""
        if files:
            self.git("checkout", "--quiet", "--", *files)


def settle(course: Course, check: bool) -> dict:
    """Bring the checkout to the wanted commit in a way that loses nothing."""
    commit, branch = course.wanted()
    head = course.head()
    shown = bool(head) and not course.hides()
    if head and not check:
        course.put_back()
    if shown and not check:
        course.hide(course.dest)
    result = {"before": head, "after": head, "restored": course.deleted() if head else [], "beside": [], "left": "", "set_aside": ""}
    if not head or course.fresh:
        result |= {"after": commit, "set_aside": "" if check else course.clone(commit, branch)}
    elif head != commit and check:
        result |= {"beside": course.clashes(commit), "left": course.obstacle(branch, commit)}
    elif head != commit:
        result["beside"], result["left"] = course.update(commit, branch)
    elif not check:
        course.git("update-ref", COURSE, commit)  # the student may have pulled it
    if not result["left"]:
        result["after"] = commit
    if head and not course.fresh and not check:
        course.restore(course.deleted())
    changed = result["after"] != head or course.fresh or shown or bool(result["restored"] or (result["beside"] and not check))
    return {"changed": changed, **result}


def sentences(result: dict, dest: str) -> list[str]:
    """Say what is not as one might expect it."""
    said = []
    if result["set_aside"]:
        said.append(f"What was {dest} is now {result['set_aside']}.")
    if result["beside"]:
        said.append(f"{dest}: the student's files stay; the course's new versions lie beside: {', '.join(result['beside'])}.")
    if result["left"]:
        said.append(f"{dest} stays at commit {result['after'][:8]}, because it {result['left']}.")
    return said


def main() -> int:
    """Update one course and say what happened."""
    parser = argparse.ArgumentParser(description="Update a course; what you changed stays yours.")
    parser.add_argument("--repository", required=True)
    parser.add_argument("--version", default="HEAD", help="branch, tag or commit; HEAD: the default branch")
    parser.add_argument("--dest", required=True, help="folder of the course")
    parser.add_argument("--fresh", action="store_true", help="move the folder aside and check the course out anew")
    parser.add_argument("--patience", type=int, default=600, help="seconds after which one git command is given up")
    wanted = vars(parser.parse_args())
    try:
        result = settle(Course(wanted), check=False)
    except (GitError, OSError) as error:
        print(f"The course in {wanted['dest']} was not updated: {error}", file=sys.stderr)
        return 1
    state = "is up to date" if not result["changed"] else "has been updated"
    print("\n".join([f"The course in {wanted['dest']} {state}: commit {result['after'][:8]}.", *sentences(result, wanted["dest"])]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
