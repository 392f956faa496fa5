"""Disks of hosts: each is an overlay mount of a folder of its own over the snapshots it was launched from and the image's layers.

Nothing is copied: a snapshot is the folder of a disk that is written no more, and that disk goes on with a fresh folder above it.
"""

import os
import shutil
import subprocess
import threading
import uuid
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/var/lib/rehearsal")
SECONDS = 600
GONE = ": No such file or directory"  # how cp says that a file went away before its turn


class DiskError(Exception):
    """A disk cannot be made, frozen or removed; the text says why."""


class Disks:
    """The disks and snapshots of one cloud. Each lies on what `below` names, the nearest first, layers of the image at the end.

    Names are folders of FOLDER, or links in it, so that a chain is short: the options of a mount end at 4,096 bytes, which are
    some 150 generations of snapshots.
    """

    def __init__(self, layers: list[Path]) -> None:
        """layers: folders of the image, the topmost first."""
        self._lock = threading.Lock()
        self._below: dict[str, tuple[str, ...]] = {}
        self._deleted: set[str] = set()
        _make()
        self._image = tuple(_link(f"image{number}", layer) for number, layer in enumerate(layers))

    def claim(self, disk: str, snapshot: str | None) -> None:
        """Note from what a disk will be made; from now on it keeps that snapshot alive."""
        with self._lock:
            self._below[disk] = (snapshot, *self._below[snapshot]) if snapshot else self._image

    def mount(self, disk: str) -> Path:
        """Make a claimed disk, or mount the one that is there. Returns where. Raises DiskError."""
        _overlay(self._below[disk], disk)
        return root_of(disk)

    def unmount(self, disk: str) -> None:
        """Take a disk's mount away, if it has one. Raises DiskError."""
        if root_of(disk).is_mount():
            _run("umount", str(root_of(disk)))

    def freeze(self, disk: str, snapshot: str) -> None:
        """Turn what a disk of a stopped host holds into a snapshot, on which the disk goes on. Raises DiskError."""
        self.unmount(disk)
        (FOLDER / disk / "upper").rename(FOLDER / snapshot)
        _remove(FOLDER / disk / "work")  # it belongs to the folder that it was made with
        with self._lock:
            self._below[snapshot] = self._below[disk]
            self._below[disk] = (snapshot, *self._below[disk])
        self.mount(disk)

    def copy(self, disk: str, snapshot: str) -> None:
        """Copy what a disk of a running host holds, as EC2 does without a reboot: each file as it is just then. Raises DiskError."""
        _run("cp", "--archive", "--reflink=auto", f"{disk}/upper", snapshot, forgiven=GONE)
        with self._lock:
            self._below[snapshot] = self._below[disk]

    def delete(self, snapshot: str) -> None:
        """Delete a snapshot, as soon as no disk lies on it. Raises DiskError."""
        with self._lock:
            if snapshot in self._below:
                self._deleted.add(snapshot)
        self._collect()

    def remove(self, disk: str) -> None:
        """Remove a disk; one that does not exist is no error. Raises DiskError."""
        self.unmount(disk)
        _remove(FOLDER / disk)
        with self._lock:
            self._below.pop(disk, None)
        self._collect()

    def _collect(self) -> None:
        """Remove the folders of deleted snapshots that nothing lies on."""
        with self._lock:
            used = {name for owner, below in self._below.items() if owner not in self._deleted for name in below}
            free = self._deleted - used
            self._deleted -= free
            for snapshot in free:
                del self._below[snapshot]
        for snapshot in free:
            _remove(FOLDER / snapshot)


def root_of(disk: str) -> Path:
    """Return where a disk is mounted."""
    return FOLDER / disk / "root"


def sweep() -> list[str]:
    """Remove all disks and snapshots, whoever made them, and return the mounts that were still there. Raises DiskError."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if f" {FOLDER}/" in line]
    for mount in mounts:
        _run("umount", mount)
    if FOLDER.exists():
        for path in FOLDER.iterdir():
            _remove(path)
        _unmake()
    return mounts


def works() -> str:
    """Try whether an overlay can be mounted here; return why not, or nothing. Needs root; leaves nothing."""
    folder = FOLDER / f"trial-{uuid.uuid4()}"
    try:
        _make()
        (folder / "below").mkdir(parents=True)
        _overlay((f"{folder.name}/below",), folder.name)
        _run("umount", str(root_of(folder.name)))
    except (DiskError, OSError) as problem:
        return str(problem)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _unmake()
    return ""


def _make() -> None:
    """Make the folder of all disks, which is root's alone: they hold secrets of seats."""
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)


def _unmake() -> None:
    """Remove the folder of all disks where nothing is in it and it is no file system of its own."""
    with suppress(OSError):
        FOLDER.rmdir()


def _overlay(below: tuple[str, ...], disk: str) -> None:
    """Mount a disk's own folder over what it lies on; makes what is not there. Raises DiskError."""
    root_of(disk).mkdir(parents=True, exist_ok=True)
    for name, mode in (("upper", 0o755), ("work", 0o700)):
        (FOLDER / disk / name).mkdir(mode=mode, exist_ok=True)
    # Without redirects a folder of a layer below could not be renamed, as on any disk (EXDEV).
    options = f"lowerdir={':'.join(below)},upperdir={disk}/upper,workdir={disk}/work,redirect_dir=on"
    _run("mount", "-t", "overlay", "-o", options, disk, str(root_of(disk)))


def _link(name: str, target: Path) -> str:
    """Let a short name lead to a folder."""
    with suppress(FileNotFoundError):
        (FOLDER / name).unlink()
    (FOLDER / name).symlink_to(target)
    return name


def _remove(path: Path) -> None:
    """Remove a folder or link, if it is there; the `rm` of a server that was killed may be at it still. Raises DiskError."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    elif path.exists():
        _run("rm", "--recursive", "--force", "--one-file-system", "--", str(path))


def _run(*command: str, forgiven: str | None = None) -> None:
    """Run a command in FOLDER, to which the names of a mount are relative; raises DiskError with its last line.

    forgiven: the end of lines that are no error.
    """
    # The newer system calls for mounts, which mount(8) prefers, take 256 bytes an option.
    environment = os.environ | {"LIBMOUNT_FORCE_MOUNT2": "always", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise DiskError(f"{command[0]} {command[-1]}: not done within {SECONDS} s") from None
    said = done.stderr.strip().splitlines() or ["failed"]
    if done.returncode and not (forgiven and all(line.endswith(forgiven) for line in said)):
        raise DiskError(f"{command[0]} {command[-1]}: {said[-1]}")
