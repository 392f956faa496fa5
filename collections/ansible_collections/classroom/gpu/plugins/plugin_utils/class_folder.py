"""The class's folder on the controller. A file in it is there whole or not at all, and one run at a time writes there."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = 0o700


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs from writing to the folder. The lock ends with the process that holds it, however that ends."""
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def make(folder: Path) -> None:
    """Make a folder and those above it that are missing, which nobody else may enter."""
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=FOLDER, exist_ok=True)
        missing.chmod(FOLDER)


def replace(path: Path, content: bytes, mode: int) -> None:
    """Replace a file at once. Only under the lock: what a killed run left half-written has this name, and gives way."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def has_rights(path: Path, mode: int) -> bool:
    """Tell whether a path that is there has these permissions; one that is missing has none to mend."""
    return not path.exists() or stat.S_IMODE(path.stat().st_mode) == mode


def content(path: Path) -> bytes | None:
    """Return what a file holds, or nothing where there is none; raises ValueError for one that cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}). Let it be a file of your own, and run this again.") from error
