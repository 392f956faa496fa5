"""Give the class's own folders back to whom they belong, with the rights that they had lost, before they are worked on."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path


def needed(mode: int, least: int) -> int:
    """Return what of the least rights a file or folder needs. A file may be for nobody to write, as git's are, or not be run."""
    return least if stat.S_ISDIR(mode) else least & (0o555 if mode & 0o111 else 0o444)


def mend(path: str | Path, uid: int, least: int, check: bool) -> bool:
    """Give one path back; tell whether it had lost something. Links are left alone, and what only another user may give, too."""
    found = os.lstat(path)
    lacks = needed(found.st_mode, least) & ~found.st_mode
    if stat.S_ISLNK(found.st_mode) or (found.st_uid == uid and not lacks) or os.geteuid() not in (0, found.st_uid):
        return False
    if not check:
        handle = os.open(path, os.O_PATH | os.O_NOFOLLOW)  # nobody can put a link into its place meanwhile
        try:
            os.chown(f"/proc/self/fd/{handle}", uid if os.geteuid() == 0 else -1, -1)
            os.chmod(f"/proc/self/fd/{handle}", stat.S_IMODE(found.st_mode) | needed(found.st_mode, least))
        finally:
            os.close(handle)
    return True


def walk(top: Path, but: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk through a folder as os.walk does, but not into some of the folders in it. A folder is entered after it was told."""
    for here, folders, files in os.walk(top):
        if here == str(top):
            folders[:] = [name for name in folders if name not in but]
        yield here, folders, files


def give_back(
    top: Path, uid: int, least: int = 0o700, *, deep: str = "folders", but: tuple[str, ...] = (), check: bool = False
) -> list[str]:
    """Give a folder back to a user, with the `folders` in it, `all` in it, or `nothing`; return what had lost something, from the top down.

    Raises OSError, as of a folder that is immutable.
    """
    if top.is_symlink() or not top.is_dir():
        return []
    lost = [str(top)] if mend(top, uid, least, check) else []
    for here, folders, files in walk(top, but) if deep != "nothing" else ():
        paths = (os.path.join(here, name) for name in [*folders, *(files if deep == "all" else [])])
        lost += [path for path in paths if mend(path, uid, least, check)]
    return lost


def taken(top: Path, but: tuple[str, ...] = ()) -> str:
    """Return a folder that this user may not even look into, as it is another's; empty where there is none."""
    folders = (os.path.join(here, name) for here, names, _ in walk(top, but) for name in names)
    return next((path for path in folders if not os.path.islink(path) and not os.access(path, os.R_OK | os.X_OK)), "")


def told(lost: list[str], check: bool) -> str:
    """Say what was given back, in a sentence without its full stop."""
    more = f" and {len(lost) - 1} more in it" if len(lost) > 1 else ""
    return f"{lost[0]}{more} had lost owner or rights: {'to be given' if check else 'given'} back"
