#!/usr/bin/python
"""Keep a course's git repository checked out in a student's home."""

from __future__ import annotations

DOCUMENTATION = r"""
module: course
short_description: Keep a course checked out in a student's home
description:
  - Clones the course, follows its branch, tag or commit, and brings deleted files and a deleted folder back.
  - Never overwrites what the student changed or committed, and never fails because of it. The course then stays as it is,
    and a warning says why.
  - Keeps the course's commit on this machine as C(refs/classroom/course), whatever the student does to branches.
author: GPU Classroom
options:
  repository:
    description: Address of the git repository.
    type: str
    required: true
  version:
    description: Branch, tag, or commit (40 hex digits).
    type: str
    default: main
  dest:
    description: Folder of the course.
    type: path
    required: true
  patience:
    description: Seconds after which one git command is given up.
    type: int
    default: 600
attributes:
  check_mode:
    description: Asks the repository for its commit, and changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Check the course out
  classroom.gpu.course:
    repository: https://example.org/course.git
    version: main
    dest: /home/ubuntu/dl_tutorial
  become_user: ubuntu
"""

RETURN = r"""
before:
  description: The commit that was checked out, or nothing.
  returned: always
  type: str
after:
  description: The commit that is checked out.
  returned: always
  type: str
restored:
  description: Deleted files that were brought back.
  returned: always
  type: list
  elements: str
left:
  description: Why the course was left at another commit; empty where it was not.
  returned: always
  type: str
set_aside:
  description: Where something went that lay in the course's place; empty where nothing did.
  returned: always
  type: str
"""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

SPEC = {
    "repository": {"type": "str", "required": True},
    "version": {"type": "str", "default": "main"},
    "dest": {"type": "path", "required": True},
    "patience": {"type": "int", "default": 600},
}
COURSE = "refs/classroom/course"
# No person answers, a silent server is given up after a minute, and the student's own settings of git do not matter.
ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_HTTP_LOW_SPEED_LIMIT": "1",
    "GIT_HTTP_LOW_SPEED_TIME": "60",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "LC_ALL": "C.UTF-8",
}


class GitError(Exception):
    """A git command failed; the text is its complaint."""


def choose(listing: str, version: str) -> tuple[str, str]:
    """Return the commit and the branch (or nothing) that `version` means in the output of `git ls-remote`.

    Raises GitError where there is no such branch or tag.
    """
    refs = {name: commit for commit, name in (line.split("\t") for line in listing.splitlines())}
    if f"refs/heads/{version}" in refs:
        return refs[f"refs/heads/{version}"], version
    for name in (f"refs/tags/{version}^{{}}", f"refs/tags/{version}"):
        if name in refs:
            return refs[name], ""
    raise GitError(f"has no branch or tag {version}: correct the course's version")


class Course:
    """The checkout of one course."""

    def __init__(self, params: dict) -> None:
        self.repository, self.version, self.dest = params["repository"], params["version"], Path(params["dest"])
        self.patience = params["patience"]

    def git(self, *arguments: str, folder: Path | None = None) -> str:
        """Run git in the checkout and return what it prints."""
        command = ["git", "-C", str(folder or self.dest), *arguments]
        try:
            done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=self.patience)
        except FileNotFoundError as error:
            raise GitError("git is not installed: the role base installs it") from error
        except subprocess.TimeoutExpired as error:
            raise GitError(f"git {arguments[0]} was not done after {self.patience} s") from error
        if done.returncode:
            raise GitError(done.stderr.strip())
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
            return choose(self.git("ls-remote", self.repository, folder=Path("/")), self.version)
        except GitError as error:
            raise GitError(f"The course {self.repository}: {error}") from error

    def head(self) -> str:
        """The commit that is checked out; empty where there is no repository of its own in the folder."""
        return self.asks("rev-parse", "--verify", "--quiet", "HEAD^{commit}") if (self.dest / ".git").is_dir() else ""

    def deleted(self) -> list[str]:
        return self.asks("ls-files", "--deleted", "-z").split("\0")[:-1]

    def obstacle(self, commit: str, branch: str) -> str:
        """What of the student's would be lost by checking `commit` out; empty where nothing would, as far as commits here tell."""
        heads = [self.head(), self.asks("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")]
        if any(head and not self.of_the_course(head, commit) for head in heads):
            return "has commits of its own"
        arriving = set(self.asks("diff", "--name-only", "HEAD", commit).splitlines())
        own = self.git("diff", "--name-only", "--diff-filter=d", "HEAD") + "\n" + self.git("ls-files", "--others")
        both = sorted(arriving.intersection(own.splitlines()))
        return f"has changes of its own in {', '.join(both[:3])}{' and more' if both[3:] else ''}" if both else ""

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

    def update(self, commit: str, branch: str) -> str:
        """Move an existing checkout to a commit; return the reason why it stays where it is, if it does."""
        self.git("remote", "set-url", "origin", self.repository)
        self.git("fetch", "--quiet", "--tags", "--force", "origin", "+refs/heads/*:refs/remotes/origin/*")
        reason = self.obstacle(commit, branch)
        if not reason:
            try:
                self.check_out(commit, branch, self.dest)
            except GitError as error:
                reason = f"cannot take the course's new files: {' '.join(str(error).split())}"
        return reason

    def restore(self, files: list[str]) -> None:
        """Bring deleted files back."""
        if files:
            self.git("checkout", "--quiet", "--", *files)


def settle(course: Course, check: bool) -> dict:
    """Bring the checkout to the wanted commit where that loses nothing."""
    commit, branch = course.wanted()
    head = course.head()
    result = {"before": head, "after": head, "restored": course.deleted() if head else [], "left": "", "set_aside": ""}
    if not head:
        result |= {"after": commit, "set_aside": "" if check else course.clone(commit, branch)}
    elif head != commit:
        result["left"] = course.obstacle(commit, branch) if check else course.update(commit, branch)
        result["after"] = head if result["left"] else commit
    elif not check:
        course.git("update-ref", COURSE, commit)  # the student may have pulled it
    if not check:
        course.restore(course.deleted() if head else [])
    return {"changed": result["after"] != head or bool(result["restored"]), **result}


def main() -> None:
    """Compare the checkout with the course, and say what stays different."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        result = settle(Course(module.params), module.check_mode)
    except GitError as error:
        module.fail_json(msg=str(error))
    if result["set_aside"]:
        module.warn(f"{module.params['dest']} was no git repository: it is now {result['set_aside']}.")
    if result["left"]:
        module.warn(f"{module.params['dest']} stays at commit {result['after'][:8]}, because it {result['left']}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
