"""Find what is missing or altered in a Python environment, by the RECORD that every installed wheel brings."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


def distributions(prefix: Path) -> list[Path]:
    """Return the `*.dist-info` folders of the environment at `prefix`, sorted."""
    return listed(prefix, "lib/python3.*/site-packages/*.dist-info")


def listed(folder: Path, pattern: str) -> list[Path]:
    """Return what matches in a folder, sorted; nothing where that or one in it is closed: what cannot be read counts as lost."""
    try:
        return sorted(folder.glob(pattern))
    except PermissionError:
        return []


def name(dist_info: Path | str) -> str:
    """Return the name that pip and uv know a `NAME-VERSION.dist-info` folder by."""
    return Path(dist_info).name.split("-", 1)[0].replace("_", "-").lower()


def entries(record: Path) -> Iterator[tuple[str, str, str]]:
    """Yield path, hash (`sha256=...`, or empty) and size (bytes, or empty) of each file that a RECORD lists.

    https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    site = str(record.parent.parent)
    with record.open(newline="", encoding="utf-8") as lines:
        for row in csv.reader(lines):
            yield os.path.join(site, row[0]), row[1], row[2]


def matches(path: str, digest: str) -> bool:
    """Tell whether the file holds what RECORD's `sha256=<urlsafe base64 without padding>` says."""
    found = base64.urlsafe_b64encode(hashlib.sha256(Path(path).read_bytes()).digest()).rstrip(b"=").decode()
    return digest == f"sha256={found}"


def intact(path: str, digest: str, size: str, since: float) -> bool:
    """Tell whether one file is as it was installed: by its size, and by its hash where it changed at `since` (a Unix time) or later."""
    if path.endswith(".pyc"):  # Python writes these itself.
        return True
    try:
        status = os.stat(path)
    except OSError:
        return False
    if size and int(size) != status.st_size:
        return False
    return not digest or max(status.st_mtime, status.st_ctime) < since or matches(path, digest)


def whole(dist_info: Path, since: float) -> bool:
    """Tell whether every file of one installed wheel is as it was installed."""
    record = dist_info / "RECORD"
    try:
        return record.is_file() and all(intact(*entry, since) for entry in entries(record))
    except PermissionError:
        return False
