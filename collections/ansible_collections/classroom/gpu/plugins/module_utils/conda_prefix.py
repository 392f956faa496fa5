"""What a conda environment should hold, what it holds, and what is broken in it. Standard library only: it runs on a seat's own Python.

A package counts with two makers: conda, which writes conda-meta/NAME.json for each of its packages, and wheels, which bring a RECORD.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.classroom.gpu.plugins.module_utils.wheels import distributions, name, whole

# Written last of all, so that a run that was killed shows. conda reads only the .json files of this folder.
STATE = "conda-meta/classroom"
DIST_INFO = re.compile(r"/site-packages/([^/]+\.dist-info)/")


@dataclass(frozen=True)
class Wanted:
    """What the stack asks for: conda specs, the channels' addresses, and the hashed lock of the pip section."""

    specs: tuple[str, ...]
    channels: tuple[str, ...]
    lock: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps([self.specs, self.channels, self.lock]).encode()).hexdigest()

    @property
    def locked(self) -> dict[str, str]:
        """Name and version of each package in the lock; the last one where markers offer several."""
        return {normal(found): version for found, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", self.lock, re.MULTILINE)}


def normal(package: str) -> str:
    """A name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def wanted(environment: dict, lock: str, alias: str) -> Wanted:
    """Read an environment.yml, already parsed, with the lock of its pip section.

    Raises ValueError, whose text names what to change, where the two do not fit.
    """
    dependencies = environment.get("dependencies") or []
    pip = [item for section in dependencies if isinstance(section, dict) for item in section.get("pip") or []]
    want = Wanted(
        specs=tuple(item for item in dependencies if isinstance(item, str)),
        channels=tuple(channel if "://" in channel else f"{alias.rstrip('/')}/{channel}" for channel in environment.get("channels") or []),
        lock=lock,
    )
    if not want.specs or not want.channels:
        raise ValueError("environment.yml names no channels or no conda dependencies: it needs both, at least `python`.")
    missing = [item for item in pip if normal(re.split(r"[^\w.-]", item.strip(), maxsplit=1)[0]) not in want.locked]
    if missing:
        raise ValueError(f"requirements.txt does not lock {', '.join(missing)} of environment.yml: run `make lock`.")
    return want


@dataclass(frozen=True)
class Found:
    """What is on disk: conda's records and wheels' folders by name, what is damaged, and whether the last run completed this very wish."""

    conda: dict[str, dict]
    wheels: dict[str, Path]
    state: dict
    damaged_conda: list[str]
    damaged_wheels: list[str]
    complete: bool

    @property
    def conda_due(self) -> bool:
        now = {package: version(record) for package, record in self.conda.items()}
        altered = any(now.get(package) != then for package, then in self.state["conda"].items())
        return not self.complete or altered or bool(self.damaged_conda)

    @property
    def wheels_due(self) -> bool:
        present = {dist.name for dist in self.wheels.values()}
        return not self.complete or not present.issuperset(self.state["wheels"]) or bool(self.damaged_wheels)

    @property
    def versions(self) -> dict[str, str]:
        """Every package with its version; a wheel hides the conda package that it took the place of."""
        conda = {package: record["version"] for package, record in self.conda.items()}
        return conda | {package: dist.name.removesuffix(".dist-info").split("-", 1)[1] for package, dist in self.wheels.items()}

    def kept(self, want: Wanted) -> list[str]:
        """Packages that nobody but the student asked for."""
        conda = self.conda.keys() - self.state["conda"].keys() if self.state["conda"] else set()
        return sorted((self.wheels.keys() - want.locked.keys() - self.foreign().keys()) | conda)

    def foreign(self) -> dict[str, list[str]]:
        """Wheels that stand in place of a damaged conda package (a student's `pip install --upgrade pip`), with that package's folders."""
        lost = [dist for package in self.damaged_conda for dist in dist_infos(self.conda[package])]
        return {wheel: [dist for dist in lost if name(dist) == wheel] for wheel in sorted(set(map(name, lost)) & self.wheels.keys())}


def look(prefix: Path, want: Wanted, since: float | None = None) -> Found:
    """Compare the environment with what is wanted.

    Only files that changed `since` (a Unix time; the end of the last run, unless told) are read.
    """
    state = read_state(prefix)
    since = state["since"] if since is None else since
    complete = state["digest"] == want.digest
    conda = conda_records(prefix)
    owned = {dist for record in conda.values() for dist in dist_infos(record)}
    wheels = {name(dist): dist for dist in distributions(prefix) if dist.name not in owned}
    replaced = wheels.keys() & want.locked.keys()
    own = [package for package, record in conda.items() if not replaced.intersection(map(name, dist_infos(record)))]
    return Found(
        conda,
        wheels,
        state,
        damaged_conda=sorted(package for package in own if not intact_record(prefix, conda[package], since)),
        damaged_wheels=sorted(package for package in replaced if not whole(wheels[package], since)),
        complete=complete,
    )


def read_state(prefix: Path) -> dict:
    """What the last run wrote down; of a new, damaged or interrupted environment nothing is known to be complete."""
    nothing = {"digest": "", "since": 0.0, "conda": {}, "wheels": []}
    try:
        return nothing | json.loads((prefix / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return nothing


def write_state(prefix: Path, state: dict) -> None:
    """Write the state in one step."""
    draft = prefix / f"{STATE}.new"
    draft.write_text(json.dumps(state), encoding="utf-8")
    draft.replace(prefix / STATE)


def state_of(found: Found, want: Wanted, now: float) -> dict:
    """What to write down of an environment that is as wanted. `now` is a Unix time.

    Files of the last second count as changed since, because the clock of file systems is coarse.
    """
    kept = found.kept(want)
    return {
        "digest": want.digest,
        "since": now - 1,
        "conda": {package: version(record) for package, record in found.conda.items() if package not in kept},
        "wheels": sorted(dist.name for package, dist in found.wheels.items() if package not in kept),
    }


def conda_records(prefix: Path) -> dict[str, dict]:
    """conda's own records by package name; one that cannot be read counts as absent, so that its package is installed again."""
    records = {}
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            records[record["name"]] = {key: record[key] for key in ("version", "build")} | {"paths": record["paths_data"]["paths"]}
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return records


def version(record: dict) -> str:
    """Version and build of a record, as a spec writes them after the name."""
    return f"=={record['version']} {record['build']}"


def dist_infos(record: dict) -> set[str]:
    """The *.dist-info folders that a conda package brought."""
    return {found[1] for entry in record["paths"] if (found := DIST_INFO.search(entry["_path"]))}


def intact_record(prefix: Path, record: dict, since: float) -> bool:
    """Tell whether every file of a conda package is as it was installed."""
    return all(intact(prefix, entry, since) for entry in record["paths"])


def intact(prefix: Path, entry: dict, since: float) -> bool:
    """Tell whether one file of a conda package is there and, if it changed after `since` (a Unix time), still holds the same bytes."""
    path = os.path.join(prefix, entry["_path"])
    if path.endswith(".pyc"):  # Python writes these itself.
        return True
    try:
        status = os.lstat(path)
    except OSError:
        return False
    digest = entry.get("sha256_in_prefix") or entry.get("sha256")
    if entry.get("path_type") == "softlink":
        return os.path.islink(path)
    if not digest or max(status.st_mtime, status.st_ctime) <= since:
        return True
    return os.path.isfile(path) and hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest


def report(before: dict[str, str], after: dict[str, str], repaired: Iterable[str]) -> dict:
    """What a run did, or would do, to the packages; a diff for --diff."""
    added = sorted(f"{package} {after[package]}" for package in after.keys() - before.keys())
    removed = sorted(f"{package} {before[package]}" for package in before.keys() - after.keys())
    both = sorted(before.keys() & after.keys())
    altered = [f"{package} {before[package]} -> {after[package]}" for package in both if before[package] != after[package]]
    mended = sorted(set(repaired).intersection(both))
    texts = {"before": listing(before, mended, " (damaged)"), "after": listing(after, mended, "")}
    return {"added": added, "removed": removed, "changed_packages": altered, "repaired": mended, "diff": texts}


def listing(versions: dict[str, str], marked: list[str], mark: str) -> str:
    return "".join(f"{package} {versions[package]}{mark if package in marked else ''}\n" for package in sorted(versions))
