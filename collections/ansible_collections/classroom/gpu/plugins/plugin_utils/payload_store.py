"""A folder of the user's own in which built payloads last: one file each, whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

NAME = re.compile(r"(ansible(?:_collections)?(?:\.\w+)+)-(ZIP_[A-Z0-9]+)-([0-9a-f]{64})")
MOST = 300  # payloads, some 100 KB each
UNUSED = 30 * 24 * 3600  # seconds after which a payload that no run took goes: of another version, most likely
HALF = 3600  # seconds after which a file that is still being written belongs to a run that was killed


class Key(NamedTuple):
    """What a payload is kept under: the module's full name, its compression, and the digest of all that went in."""

    module: str
    compression: str
    digest: str


def default() -> Path:
    """Return the user's own folder for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-classroom/payloads"


class Store:
    """Payloads by key. Everything goes through one open folder, so that nobody can put another in its place after the look at it."""

    def __init__(self, path: Path) -> None:
        """Open `path`, and make it if need be. A payload becomes code of root's on seats: only who runs this may be able to write there."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        mode, owner = os.fstat(self.folder).st_mode, os.fstat(self.folder).st_uid
        if owner != os.geteuid() or mode & 0o077:
            self.close()
            raise PermissionError(f"{path} must belong to the user who runs this and be closed to all others. Type: rm -r {path}")

    def close(self) -> None:
        os.close(self.folder)

    def __iter__(self) -> Iterator[Key]:
        """Return what there is, whether it is sound or not."""
        for name in sorted(os.listdir(self.folder)):
            if found := NAME.fullmatch(name):
                yield Key(*found.groups())

    def load(self, key: Key, holds: Callable[[list[str]], bool]) -> bytes | None:
        """Return a payload if it is whole and `holds` says so of the collections that it was built of; remove what is damaged."""
        name, head, payload = "-".join(key), None, b""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with contextlib.suppress(OSError), open(os.open(name, flags, dir_fd=self.folder), "rb") as file:  # no link; perhaps gone by now
            if is_own(os.fstat(file.fileno())):
                head, payload = header(file.readline(10_000)), file.read()
        if head and not holds(head["collections"]):
            return None
        if not head or hashlib.sha256(payload).hexdigest() != head["sha256"]:
            self.remove(name)
            return None
        with contextlib.suppress(FileNotFoundError):
            os.utime(name, dir_fd=self.folder)
        return payload

    def keep(self, key: Key, collections: list[str], payload: bytes) -> None:
        """Write a payload beside its place and move it there whole; on a full disk nothing of it stays."""
        head = {"collections": collections, "sha256": hashlib.sha256(payload).hexdigest()}
        name, half = "-".join(key), f".{os.getpid()}-{os.urandom(8).hex()}"
        with contextlib.ExitStack() as undo:
            undo.callback(self.remove, half)
            with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600, dir_fd=self.folder), "wb") as file:
                file.write(json.dumps(head).encode() + b"\n" + payload)
            os.rename(half, name, src_dir_fd=self.folder, dst_dir_fd=self.folder)

    def prune(self) -> None:
        """Remove what no run has taken for long, and what killed runs left."""
        now = time.time()
        used = sorted(((self.used(name), name) for name in os.listdir(self.folder)), reverse=True)
        for place, (then, name) in enumerate(used):
            if place >= MOST or now - then > (HALF if name.startswith(".") else UNUSED):
                self.remove(name)

    def used(self, name: str) -> float:
        """Return when a file was last written or taken; one that is gone, long ago."""
        with contextlib.suppress(FileNotFoundError):
            return os.stat(name, dir_fd=self.folder, follow_symlinks=False).st_mtime
        return 0.0

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.folder)


def is_own(info: os.stat_result) -> bool:
    """Say whether a file is an ordinary one that its user alone can write."""
    return stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o022


def header(line: bytes) -> dict | None:
    """Return the first line of a payload's file, if it is one."""
    with contextlib.suppress(ValueError):
        head = json.loads(line)
        if isinstance(head, dict) and isinstance(head.get("collections"), list) and isinstance(head.get("sha256"), str):
            return head
    return None
