"""Data sets: what is missing, whether it fits on the disk, one resumable and verified download, and one safe unpacking."""

from __future__ import annotations

import errno
import fcntl
import filecmp
import hashlib
import http.client
import json
import lzma
import os
import posixpath
import re
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors

PARTIAL = ".course-data"  # what is not complete, and what is known of what is
BLOCK = 1 << 20
MEND = "correct the course's data"
GUESS = 3  # times its size is what an archive takes unpacked, where the list does not say
# What the standard library raises over an archive that is damaged, encrypted, or written in a way that it does not know.
ARCHIVE_ERRORS = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, KeyError, RuntimeError, ValueError, OSError)


# Errors of the system that are about this machine's disk, and no server's.
OURS = (*path_errors.DISK, errno.EPERM, errno.EACCES)


class DataError(Exception):
    """The data cannot be had; the text says which, why, and what to do; `again`, whether the same command may help."""

    again = False


class Unanswered(DataError):
    """A server did not answer, or stopped in the middle: the next run continues."""

    again = True


class Interrupted(Exception):
    """A download ended early; what arrived is kept."""


def human(size: int) -> str:
    """Return a number of bytes as people say it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return ""


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def size_of(path: Path) -> int:
    """Return the size of a regular file; -1 where there is none."""
    return path.stat().st_size if path.is_file() else -1


def existing(path: Path) -> Path:
    """Return the nearest folder that exists, of a path or above it."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def place(source: Path, dest: Path) -> str:
    """Give a complete file its name in one step. What else lay there moves aside; returns where to, or nothing."""
    dest.parent.mkdir(parents=True, exist_ok=True)
    if dest.is_file() and filecmp.cmp(source, dest, shallow=False):
        source.unlink()
        return ""
    aside = dest.with_name(f"{dest.name}.{time.strftime('%Y-%m-%dT%H%M%S')}") if os.path.lexists(dest) else None
    if aside:
        dest.rename(aside)
    move(source, dest)
    return str(aside or "")


def move(source: Path, dest: Path) -> None:
    """Rename a file; onto another disk through a copy that is renamed there."""
    try:
        source.replace(dest)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        draft = dest.with_name(f".{dest.name}.new")
        shutil.copyfile(source, draft)
        sync(draft)
        draft.replace(dest)
        source.unlink()


def sync(path: Path) -> None:
    """Wait until a file is on the disk: a name must not outlive its content when power fails."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


class Item:
    """One data set: where it is, what it must be, and where it goes."""

    def __init__(self, wanted: dict, folder: Path) -> None:
        self.url, self.sha256, self.size, self.unpack = wanted["url"], wanted["sha256"].lower(), wanted["size"], wanted["unpack"]
        self.unpacked = (wanted["unpacked_size"] or GUESS * self.size) if self.unpack else 0
        name = "" if self.unpack else posixpath.basename(unquote(urlsplit(self.url).path))
        self.dest = folder / (wanted["dest"] or name)
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256) or self.size < 1 or urlsplit(self.url).scheme not in ("http", "https"):
            raise DataError(f"{self.url}: an http address, a sha256 of 64 hex digits and a size in bytes are needed: {MEND}")
        if not self.unpack and self.dest == folder:
            raise DataError(f"{self.url} names no file: give it a dest in the course's data")

    @property
    def mark(self) -> Path:
        """Lies in an unpacked folder for as long as that is whole."""
        return self.dest / f".unpacked-{self.sha256[:16]}"

    @property
    def name(self) -> str:
        """What tells on the seat that the data set is there."""
        return str(self.mark if self.unpack else self.dest)


class Store:
    """All data sets of a seat."""

    def __init__(self, params: dict) -> None:
        self.root, self.patience = Path(params["root"]), params["patience"]
        self.items = [Item(wanted, Path(params["folder"] or self.root)) for wanted in params["data"]]
        self.partial = self.root / PARTIAL
        self.known = self.read()

    def read(self) -> dict:
        """Return size and time of what was verified, by destination."""
        try:
            return json.loads((self.partial / "verified.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def note(self, item: Item) -> None:
        """Write down what was verified, in one step."""
        self.known[item.name] = {"sha256": item.sha256, "mtime": os.stat(item.name).st_mtime_ns}
        draft = self.partial / "verified.new"
        draft.write_text(json.dumps(self.known, indent=1), encoding="utf-8")
        draft.replace(self.partial / "verified.json")

    def half(self, item: Item) -> Path:
        return self.partial / f"{item.sha256}.part"

    def unchanged(self, item: Item) -> bool:
        """Tell by size and time alone whether a data set is as it was when it was verified."""
        if item.unpack:
            return item.mark.is_file()
        seen = self.known.get(item.name, {})
        return size_of(item.dest) == item.size and seen == {"sha256": item.sha256, "mtime": item.dest.stat().st_mtime_ns}

    def right(self, item: Item) -> bool:
        """Tell by its content whether a file is the wanted one."""
        return not item.unpack and size_of(item.dest) == item.size and digest(item.dest) == item.sha256

    def needed(self, items: list[Item]) -> dict[int, tuple[Path, int]]:
        """Return a folder of each disk and how many bytes the data still need on it."""
        needs: dict[int, tuple[Path, int]] = {}

        def add(path: Path, size: int) -> None:
            folder = existing(path)
            device = folder.stat().st_dev
            needs[device] = (needs.get(device, (folder, 0))[0], needs.get(device, (folder, 0))[1] + size)

        for item in items:
            add(self.partial, item.size - max(size_of(self.half(item)), 0) + item.unpacked)
            if existing(item.dest).stat().st_dev != existing(self.partial).stat().st_dev:
                add(item.dest, item.unpacked or item.size)
        return needs

    def check_space(self, items: list[Item]) -> None:
        """Refuse what does not fit."""
        for folder, size in self.needed(items).values():
            free = shutil.disk_usage(folder).free
            if size > free:
                urls = ", ".join(item.url for item in items)
                raise DataError(
                    f"The disk of {folder} has {human(free)} free, and the course's data need {human(size)} on it: nothing was downloaded. "
                    f"Make room or raise classroom_disk_gib. Missing: {urls}"
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one run at a time work here; the lock ends with its process, however that ends."""
        self.partial.mkdir(parents=True, exist_ok=True)
        with (self.partial / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                raise Unanswered(f"Process {lock.read()} still downloads into {self.root}: run again when it has ended") from error
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def tidy(self) -> None:
        """Remove what is left of data sets that are no longer wanted, and of unpackings that were killed."""
        wanted = {self.half(item) for item in self.items}
        for path in self.partial.glob("*.part"):
            if path not in wanted:
                path.unlink()
        for path in self.partial.glob("*.tree"):
            shutil.rmtree(path)

    def lost(self, item: Item) -> bool:
        """Tell whether a data set that is missing was there before."""
        return self.known.get(item.name, {}).get("sha256") == item.sha256

    def fetch(self, item: Item) -> tuple[str, list[str]]:
        """Bring one data set to its place; return what was done, and where to went what lay there."""
        half = self.half(item)
        begin = max(size_of(half), 0)
        complete(item, half, self.patience)
        if item.unpack:
            tree = self.partial / f"{item.sha256}.tree"
            unpack(item, half, tree)
            aside = settle_tree(tree, item)
            half.unlink()
        else:
            aside = [place(half, item.dest)]
        self.note(item)
        aside = [path for path in aside if path]
        done = f"{item.dest} ({human(item.size)}"
        return f"{done}, continued at {human(begin)})" if begin else f"{done})", aside


def complete(item: Item, half: Path, patience: int) -> None:
    """Let `half` hold the whole verified file. A continued one that turns out wrong is begun anew, once."""
    for from_start in (False, True):
        continued = 0 < size_of(half) <= item.size and not from_start
        if not continued:
            half.unlink(missing_ok=True)
        download(item, half, patience)
        found = digest(half)
        if found == item.sha256:
            return sync(half)
        half.unlink()
        if not continued:
            raise DataError(f"{item.url} has the sha256 {found}, and {item.sha256} is expected: {MEND} or the file there")
    return None


def download(item: Item, half: Path, patience: int) -> None:
    """Append what is missing, and ask again for as long as something arrives; a server may end a connection early."""
    refused = False
    while (have := max(size_of(half), 0)) < item.size:
        try:
            receive(item, half, have, patience)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not have:
                raise DataError(f"{item.url} cannot be had: the server answers {error.code} {error.reason}") from error
            half.unlink()  # it has nothing to add, so ours is of another file, or its file is short
            if refused:
                raise wrong_size(item, have) from error
            refused = True
        except (OSError, http.client.HTTPException, Interrupted) as error:
            if getattr(error, "errno", None) in OURS:
                raise DataError(f"{path_errors.cause(error, half.parent)} The next run continues with {item.url}.") from error
            now = max(size_of(half), 0)
            if now <= have:
                reason = getattr(error, "reason", None) or error
                here = f"{now} of {item.size} bytes are here; the next run continues"
                raise Unanswered(f"{item.url} cannot be had: {reason} ({here})") from error
    if size_of(half) > item.size:
        half.unlink()
        raise wrong_size(item, "more")


def wrong_size(item: Item, found: object) -> DataError:
    return DataError(f"{item.url} has {found} bytes, and {item.size} are expected: {MEND} or the file there")


def receive(item: Item, half: Path, have: int, patience: int) -> None:
    """Send one request, for the rest where some is here, and write what it brings."""
    request = urllib.request.Request(item.url, headers={"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {}))
    with urllib.request.urlopen(request, timeout=patience) as answer:
        begin, total = extent(answer.status, answer.headers)
        if total not in (None, item.size):
            half.unlink(missing_ok=True)
            raise wrong_size(item, total)
        if begin not in (0, have):
            raise Interrupted(f"the server sends from byte {begin} where {have} was asked for")
        with half.open("r+b" if half.exists() else "wb", buffering=0) as file:
            file.seek(begin)
            file.truncate()
            while file.tell() <= item.size and (block := answer.read1(BLOCK)):
                while block:  # no buffer that a kill would empty, so a full disk may take a part of a block
                    block = block[file.write(block) :]
    if size_of(half) < item.size:
        raise Interrupted("the connection ended early")


def extent(status: int, headers: http.client.HTTPMessage) -> tuple[int, int | None]:
    """Return where an answer begins in the file, and the size of the whole file where the answer tells it (RFC 9110, 14.4)."""
    told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    if status == 206 and told:
        return int(told[1]), None if told[2] == "*" else int(told[2])
    length = headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def members(archive: Path) -> Iterator[tuple[str, Callable[[], BinaryIO | None]]]:
    """Yield name and opener of each file of an archive; a link is the file that it names in the archive, a folder nothing."""
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() or member.islnk() or member.issym():
                    yield member.name, lambda member=member: tar.extractfile(member)
                elif not member.isdir():
                    raise DataError(f"{member.name} is neither a file nor a folder")
    else:
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if not info.is_dir():
                    yield info.filename, lambda info=info: packed.open(info)


def inside(name: str) -> str:
    """Return a member's name as a path in the folder that it is unpacked into; raise DataError where it would leave that."""
    path = posixpath.normpath(name)
    if path.startswith(("/", "../")) or path in ("..", ".") or "\0" in path:
        raise DataError(f"{name} would land outside of its folder")
    return path


def unpack(item: Item, archive: Path, tree: Path) -> None:
    """Unpack into a folder beside, which no one else knows, its mark included."""
    try:
        for name, opener in members(archive):
            path = tree / inside(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            source = opener()
            if source is None:
                raise DataError(f"{name} is a link to something that is not a file")
            with source, path.open("wb") as file:
                shutil.copyfileobj(source, file, BLOCK)
    except (DataError, *ARCHIVE_ERRORS) as error:
        shutil.rmtree(tree, ignore_errors=True)
        why = path_errors.cause(error, tree) if isinstance(error, OSError) and error.errno else error
        raise DataError(f"{item.url} cannot be unpacked into {item.dest}: {why}") from error
    os.sync()  # before the mark, which says that all of it is there
    (tree / item.mark.name).write_text(f"{item.url}\n", encoding="utf-8")


def settle_tree(tree: Path, item: Item) -> list[str]:
    """Move an unpacked folder to its place in one step, or file by file into what is there, and the mark last. Returns what moved aside."""
    item.dest.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(item.dest) and item.dest.parent.stat().st_dev == tree.stat().st_dev:
        tree.rename(item.dest)
        return []
    files = [path for path in sorted(tree.rglob("*")) if path.is_file() and path.name != item.mark.name]
    aside = [place(path, item.dest / path.relative_to(tree)) for path in [*files, tree / item.mark.name]]
    shutil.rmtree(tree)
    return aside


def settle(store: Store, check: bool) -> dict:
    """Bring every data set to what it should be. Raises DataError, OSError."""
    suspects = [item for item in store.items if not store.unchanged(item)]
    right = [item for item in suspects if store.right(item)]
    missing = [item for item in suspects if item not in right]
    store.check_space(missing)
    downloaded = [f"{item.dest} ({human(item.size)})" for item in missing]
    result = {"changed": bool(missing), "repaired": [str(item.dest) for item in missing if store.lost(item)]}
    if suspects and not check:
        with store.locked():
            store.tidy()
            for item in right:
                store.note(item)
            done = [store.fetch(item) for item in missing]
        downloaded = [what for what, _ in done]
        return {**result, "downloaded": downloaded, "set_aside": [path for _, aside in done for path in aside]}
    return {**result, "downloaded": downloaded, "set_aside": []}


def summary(downloaded: list[str], check: bool) -> str:
    """Say in one sentence what was done."""
    if not downloaded:
        return "All data are there."
    return f"{'Would download' if check else 'Downloaded'} {', '.join(downloaded)}."
