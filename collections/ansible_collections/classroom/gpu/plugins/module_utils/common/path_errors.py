"""What keeps a program from a path, as sentences: what it is, where, and what to type, whether a module met it or a tool.

Looks at the path itself: an error of the system tells neither which folder above it is closed, nor that a file is immutable.
"""

from __future__ import annotations

import array
import errno
import fcntl
import functools
import json
import os
import platform
import pwd
import re
import shlex
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from ansible.module_utils.common.warnings import get_warning_messages

GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS, ioctl_iflags(2)
FLAGS = {"i": 0x10, "a": 0x20}  # chattr(1): immutable, append only
LEAST = 1 << 20  # a disk with fewer free bytes is called full
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
# What tools write of these errors, which is strerror(3) in English.
WORDS = {os.strerror(code): code for code in (*DISK, errno.EPERM, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP)}
PATH = re.compile(r"'([^'\n]+)'|\"([^\"\n]+)\"|`([^`\n]+)`|(/[^\s:,'\"`]+)|([^\s:'\"`]+)(?=: )")


def cause(error: OSError, near: str | Path = "") -> str:
    """Tell an error; `near` is what was worked on, for one that names no path."""
    both = [path for path in (error.filename, error.filename2) if isinstance(path, (str, os.PathLike))]  # two of a rename
    path = next((path for path in both if protected(Path(path))), both[0] if both else near)
    if not path and error.errno != errno.ENOSPC:
        return f"{error}."
    return sentence(error.errno, Path(path), error.strerror or str(error))


def of_words(words: str, near: str | Path) -> str:
    """Tell what a tool met, by what it wrote and by the disk that it worked on; empty where neither has to do with a path.

    Disk and path are looked at, too: some tools take away what filled a disk, and others keep the system's word to themselves.
    """
    for line in words.splitlines():
        code, path = next((WORDS[word] for word in WORDS if word in line), 0), named(line, Path(near))
        if not code and path and protected(path):
            return forbidden(path)
        if code in DISK:
            return sentence(code, met(code, line, Path(near)))
        if code and (path := path or blocked_below(code, Path(near))):
            return sentence(code, path)
    if not words.strip() or not is_full(existing(Path(near))):
        return ""
    return sentence(errno.ENOSPC, Path(near))


def paths(line: str, near: Path) -> list[Path]:
    """Return the paths of this machine that a line is about; relative ones are below `near`."""
    found = (next(filter(None, one)) for one in PATH.findall(line))
    return [near / path for path in found if is_here(near / path, sure="/" in path)]


def named(line: str, near: Path) -> Path | None:
    """Return the first path that a line is about."""
    return next(iter(paths(line, near)), None)


def met(code: int, line: str, near: Path) -> Path:
    """Return the path whose disk a line is about: of a copy it names two."""
    is_it = {errno.ENOSPC: is_full, errno.EROFS: is_read_only}.get(code, bool)
    return next((path for path in [*paths(line, near), near] if is_it(existing(path))), near)


def is_here(path: Path, sure: bool) -> bool:
    """Tell whether words are a path of this machine: it is there, or is `sure` to be one and its folder is there or closed."""
    with suppress(OSError, ValueError):
        above = existing(path)
        return path == above or (sure and above != Path("/") and (above == path.parent or not os.access(above, os.X_OK)))
    return False


def blocked_below(code: int, near: Path) -> Path | None:
    """Return what a tool met and did not name: a file that is immutable, a folder that is closed."""
    is_wrong = {errno.EPERM: protected, errno.EACCES: closed}.get(code) if near != Path("/") else None
    return next(filter(is_wrong, chain([near], below(near))), None) if is_wrong else None


def below(folder: Path) -> Iterator[Path]:
    """Yield all that lies in a folder, links as themselves."""
    for here, folders, files in os.walk(folder):
        yield from (Path(here, name) for name in (*folders, *files))


def existing(path: Path) -> Path:
    """Return what exists of a path: itself, or the nearest folder above it."""
    return next((one for one in (path, *path.parents) if os.path.lexists(one)), Path("/"))


def sentence(code: int | None, path: Path, words: str = "") -> str:
    """Return what is wrong at a path, where, and what to type."""
    path = Path(os.path.abspath(path)) if str(path) != "." else path
    kinds = {
        errno.ENOSPC: full,
        errno.EDQUOT: quota,
        errno.EROFS: read_only,
        errno.EIO: broken,
        errno.EPERM: forbidden,
        errno.EACCES: forbidden,
    }
    if code in kinds:
        return kinds[code](path)
    if code == errno.ENOENT:
        path = next(one for one in (*reversed(path.parents), path) if one == path or not os.path.lexists(one))
    return f"{at(path)} {SAID.get(code, '') or f'cannot be used: {words or os.strerror(code or 0)}.'}"


SAID = {
    errno.ENOENT: "is not there: make it, or correct the setting that names it.",
    errno.ENOTDIR: "cannot be, as a file lies where one of its folders belongs: move that away.",
    errno.EISDIR: "is a folder where a file belongs: move it away.",
    errno.ELOOP: "is a link that leads back to itself: delete it.",
    errno.ENAMETOOLONG: "has a name that is too long for its disk: give it a shorter one.",
}


def at(path: Path) -> str:
    """Name a path and the machine that it is on, which is called after its seat."""
    return f"{path} on {platform.node()}"


def mount_of(path: Path) -> Path:
    """Return where the disk of a path is mounted; of no path, the disk that is full."""
    if str(path) == ".":
        return next(filter(is_full, mounts()), Path("/"))
    here = existing(path).resolve()
    return next(folder for folder in (here, *here.parents) if os.path.ismount(folder))


def mounts() -> list[Path]:
    """Return the folders where disks are mounted."""
    return [Path(line.split()[1]) for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]


def is_full(folder: Path) -> bool:
    """Tell whether nothing more fits on the disk of a folder."""
    with suppress(OSError):
        disk = os.statvfs(folder)
        return bool(disk.f_blocks) and not disk.f_flag & os.ST_RDONLY and (disk.f_bavail * disk.f_frsize < LEAST or is_without_files(disk))
    return False


def is_read_only(folder: Path) -> bool:
    """Tell whether nothing can be written to the disk of a folder."""
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def is_without_files(disk: os.statvfs_result) -> bool:
    """Tell whether a disk takes no further file; some have no such limit."""
    return disk.f_files > 0 and disk.f_favail == 0


def full(path: Path) -> str:
    """Say how full the disk is, and how to free space."""
    folder = mount_of(path)
    disk = os.statvfs(folder)
    free, size = disk.f_bavail * disk.f_frsize >> 20, disk.f_blocks * disk.f_frsize >> 20
    used, left = ("-xm", f"{free} of {size} MiB are free")
    if is_without_files(disk):
        used, left = ("-x --inodes", f"it takes no more than {disk.f_files} files")
    look = f"`sudo du {used} {quoted(folder)} | sort -n | tail` there shows what fills it"
    mend = "Delete what nobody needs, or give it more with playbooks/grow.yml"
    return f"The disk of {platform.node()} at {folder} is full: {left}. {look}. {mend}."


def quota(path: Path) -> str:
    """Say whose quota is used up."""
    return (
        f"The disk quota of {owner(os.getuid())} is used up at {at(mount_of(path))}. `quota` there shows it: delete something, or raise it."
    )


def read_only(path: Path) -> str:
    """Say which disk is read-only, and how it becomes whole again."""
    folder = mount_of(path)
    why = f"{at(path)} cannot be written: its disk at {folder} is read-only, as one with errors is until the machine starts again"
    mend = f"playbooks/stop.yml and then site.yml, each with -e seats={platform.node()}, start it again"
    return f"{why}. `sudo dmesg | tail` there tells more; {mend}."


def broken(path: Path) -> str:
    """Say that a disk fails."""
    save = "Save what is needed, end the machine (playbooks/teardown.yml), and run site.yml, which launches another"
    return f"{at(path)} cannot be read or written: its disk fails, as `sudo dmesg | tail` there tells. {save}."


def forbidden(path: Path) -> str:
    """Say what keeps this user from a path: protection of a file, the rights of it or of a folder above it."""
    for one in dict.fromkeys((path, path.parent, existing(path))):
        if flag := protected(one):
            kind = {"i": "immutable", "a": "append-only"}[flag]
            return f"{at(one)} is {kind}, as somebody has protected it: `sudo chattr -{flag} {quoted(one)}` there takes that away."
    wall = wall_of(path)
    state, user = wall.lstat(), owner(os.getuid())
    mend = f"`sudo chown {user} {quoted(wall)} && sudo chmod u+rwX {quoted(wall)}` there"
    return f"{user} may not use {at(wall)}: it is {owner(state.st_uid)}'s, mode {state.st_mode & 0o7777:04o}. Type {mend}."


def wall_of(path: Path) -> Path:
    """Return what keeps this user from a path: the first folder above it that is closed, itself, or the folder that it lies in."""
    here = existing(path)
    entered = (one for one in reversed(here.parents) if not os.access(one, os.X_OK))
    worked = (one for one in (here, here.parent) if not os.access(one, os.R_OK | os.W_OK))
    return next(chain(entered, worked), here)


def closed(path: Path) -> bool:
    """Tell whether this user may not work in a folder, or not read a file."""
    need = os.R_OK | os.W_OK | os.X_OK if path.is_dir() else os.R_OK
    return os.path.lexists(path) and not path.is_symlink() and not os.access(path, need)


def owner(uid: int) -> str:
    """Return the name of a user, or the number that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def protected(path: Path) -> str:
    """Return the attribute of chattr(1) that protects a file or folder, `i` or `a`; empty where there is none or the disk has no such."""
    with suppress(OSError):
        if not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISDIR(mode):
            return ""
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            flags = array.array("L", [0])
            fcntl.ioctl(handle, GET_FLAGS, flags)
        finally:
            os.close(handle)
        return next((name for name, flag in FLAGS.items() if flags[0] & flag), "")
    return ""


def quoted(path: Path) -> str:
    """Return a path as a shell reads it."""
    return shlex.quote(str(path))


def told(main: Callable[[], None]) -> Callable[[], None]:
    """Let a module end with a sentence where it meets an error of the system that nothing in it expects."""

    @functools.wraps(main)
    def ended() -> None:
        try:
            main()
        except OSError as error:
            print(json.dumps({"failed": True, "msg": cause(error), "warnings": [*get_warning_messages()]}))
            sys.exit(1)

    return ended
