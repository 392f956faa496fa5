"""The two builds: the checkout, and an earlier commit in a worktree of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Where this page of figures is written is not what is measured.
FIGURES = ROOT / "docs/figures.md"
EARLIER = "de00a98"
OWN = ("AWS_", "ANSIBLE_", "CLASSROOM", "MAKE", "MFLAGS", "MOLECULE_", "PYTEST_")


class BenchError(Exception):
    """The bench cannot go on; the text says what is wrong and what to type."""


@dataclass(frozen=True)
class Build:
    """A working tree with its tools, and its commit as docs/figures.md names it."""

    root: Path
    commit: str

    def environment(self) -> dict[str, str]:
        """Return the shell's environment with this build's tools first, and without what would decide for a build."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
        path = f"{self.root / '.venv/bin'}{os.pathsep}{clean['PATH']}"
        return clean | {
            "PATH": path,
            "PYTHONPATH": str(self.root / "collections"),
            "PYTHONDONTWRITEBYTECODE": "",
        }


def git(*arguments: str) -> str:
    """Return what git says about the checkout. Raises BenchError with git's own last line."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"git {' '.join(arguments)}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout.strip()


def default_base() -> str:
    """Return the last release that the checkout descends from, or the commit of the first figures."""
    try:
        return git("describe", "--tags", "--abbrev=0")
    except BenchError:
        return EARLIER


def today() -> Build:
    """Return the checkout as it is, with a `+` if it holds what is not committed."""
    changed = git("status", "--porcelain", "--", ".", f":!{FIGURES.relative_to(ROOT)}")
    return Build(ROOT, git("rev-parse", "--short=7", "HEAD") + ("+" if changed else ""))


@contextmanager
def earlier(commit: str, folder: Path) -> Iterator[Build]:
    """Check a commit out below a folder, with tools of its own if it pins others, and remove it in the end."""
    name, root = git("rev-parse", "--short=7", f"{commit}^{{commit}}"), folder / "earlier"
    git("worktree", "add", "--quiet", "--detach", str(root), name)
    try:
        equip(root)
        yield Build(root, name)
    finally:
        git("worktree", "remove", "--force", str(root))


def equip(root: Path) -> None:
    """Give a working tree the checkout's tools if it pins the same, and else its own. Raises BenchError."""
    if (root / "requirements.txt").read_bytes() == (ROOT / "requirements.txt").read_bytes():
        (root / ".venv").symlink_to(ROOT / ".venv")
    elif subprocess.run(["./setup.sh"], cwd=root).returncode:
        raise BenchError(f"The tools of {root} could not be installed; setup.sh says above why.")
