"""The ledger and the bills of a class in its folder, and how a look at EC2 is noted there."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ansible_collections.classroom.gpu.plugins.module_utils.cost import ledger


class Folder:
    """The ledger and the bills in a class's folder."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.file = self.path / "ledger.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let one run at a time read and write, where there is a folder."""
        if not self.path.is_dir():
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def read(self, path: Path) -> list[ledger.Run] | None:
        """Return the runs of a file, none if there is no file; None for one that cannot be read."""
        try:
            return [ledger.Run(**run) for run in json.loads(path.read_text(encoding="utf-8"))["runs"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def living(self) -> list[str]:
        """Return the seats whose machines have not ended, as far as the folder knows: by the ledger or, where there is none, by proofs."""
        runs = self.read(self.file)
        proven = [path.parent.name for path in self.path.glob("seats/*/proof.json")] if not runs else []
        return sorted({run.seat or run.instance_id for run in runs or () if not run.ended} | set(proven))

    def settled(self) -> set[str]:
        """Return the machines of earlier classes of this name, of which EC2 tells for an hour yet."""
        return {run.instance_id for path in self.path.glob("ledger-*.json") for run in self.read(path) or ()}

    def write(self, path: Path, text: str) -> None:
        """Write a file whole or not at all, for its owner's eyes."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}")
        with open(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def keep(self, runs: list[ledger.Run]) -> None:
        """Write the ledger."""
        self.write(self.file, json.dumps({"runs": [run._asdict() for run in runs]}, indent=1) + "\n")


def regions(class_dir: str, account: str) -> dict[str, list[str]]:
    """Return in which regions a class of an account lives, by their folders beside its own, and there the seats that have not ended."""
    own = Path(class_dir)
    beside = {path.parent.name.removeprefix(f"{account}-"): Folder(str(path)) for path in own.parent.parent.glob(f"{account}-*/{own.name}")}
    return {region: seats for region, one in sorted(beside.items()) if class_dir and (seats := one.living())}


class Look(NamedTuple):
    """What EC2 told of a class: machines, volumes, and the seat of each machine by all that is known of it."""

    machines: list[dict]
    volumes: list[dict]
    seats: dict[str, str]


class Books:
    """What EC2 told of a class in one look, and what the class's folder knows. In a check nothing is written."""

    def __init__(self, class_dir: str, look: Look, now: str, check: bool, warn: Callable[[str], None]) -> None:
        self.folder, self.now, self.check, self.warn = Folder(class_dir), now, check, warn
        self.found, self.seats = look.machines, look.seats
        self.sizes = {volume["VolumeId"]: volume["Size"] for volume in look.volumes}

    def known(self) -> list[ledger.Run]:
        """Return the runs that the folder knows; a ledger that cannot be read moves aside."""
        runs = self.folder.read(self.folder.file)
        if runs is None:
            aside = self.folder.path / f"unreadable-{self.now.replace(':', '-')}.json"
            self.warn(f"{self.folder.file} cannot be read: earlier costs are not counted. It is kept as {aside.name}.")
            if not self.check:
                self.folder.file.replace(aside)
        return runs or []

    def merge(self) -> bool:
        """Bring the ledger to what EC2 told, and say whether that changed it."""
        old, settled = self.known(), self.folder.settled()
        found = [one for one in self.found if one["InstanceId"] not in settled]
        self.runs = ledger.merged(old, found, self.sizes, self.now, self.seats)
        if self.runs != old and not self.check:
            try:
                self.folder.keep(self.runs)
            except OSError as error:
                self.refused(error)
        return not ledger.same(self.runs, old)

    def note(self) -> bool:
        """Merge while no other run does, and say whether that changed the ledger; what cannot be written is a warning."""
        try:
            with self.folder.held():
                return self.merge()
        except OSError as error:
            self.refused(error)
            return False

    def refused(self, error: OSError) -> None:
        """Warn that the folder cannot be written: no ledger is worth a class that does not start or end."""
        self.warn(f"What the class costs is not kept: {self.folder.path} cannot be written ({error.strerror}).")
