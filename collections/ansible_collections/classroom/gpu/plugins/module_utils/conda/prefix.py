"""What a conda environment should hold, what it holds, and what is broken in it. Standard library only: it runs on a seat's own Python.

A package counts with two makers: conda, which writes conda-meta/NAME.json for each of its packages, and wheels, which bring a RECORD.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.classroom.gpu.plugins.module_utils.conda.wheels import distributions, listed, name, whole

# Written last of all, so that a run that was killed shows. conda reads only the .json files of this folder.
STATE = "conda-meta/classroom"
# How the lock of playbooks/lock.yml says which environment.yml it was made from.
MADE_FROM = "# environment: "
EXPLICIT = re.compile(r"\w+://\S+/([^/\s]+)-([^-/\s]+)-[^-/\s]+\.(?:conda|tar\.bz2)#[0-9a-f]{64}")
PUBLIC = "https://conda.anaconda.org"
DIST_INFO = re.compile(r"/site-packages/([^/]+\.dist-info)/")


@dataclass(frozen=True)
class Wanted:
    """What the stack asks for: conda specs, the channels' addresses, the hashed lock of the pip section, and that of the conda packages."""

    specs: tuple[str, ...]
    channels: tuple[str, ...]
    lock: str
    explicit: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps([self.specs, self.channels, self.lock, self.explicit]).encode()).hexdigest()

    @property
    def named(self) -> dict[str, str]:
        """Name and version of each conda package as far as they are known without a solver."""
        if self.explicit:
            return dict(EXPLICIT.fullmatch(line).groups() for line in self.explicit)
        return {re.split(r"[^\w.-]", spec, maxsplit=1)[0]: "(unsolved)" for spec in self.specs}

    @property
    def locked(self) -> dict[str, str]:
        """Name and version of each package in the lock; the last one where markers offer several."""
        return {normal(found): version for found, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", self.lock, re.MULTILINE)}


def normal(package: str) -> str:
    """A name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def wanted(environment: dict, lock: str, alias: str, explicit: str = "") -> Wanted:
    """Read an environment.yml, already parsed, with the lock of its pip section and that of its conda packages.

    Raises ValueError, whose text names what to change, where the two do not fit.
    """
    dependencies = environment.get("dependencies") or []
    pip = [item for section in dependencies if isinstance(section, dict) for item in section.get("pip") or []]
    want = Wanted(
        specs=tuple(item for item in dependencies if isinstance(item, str)),
        channels=tuple(channel if "://" in channel else f"{alias.rstrip('/')}/{channel}" for channel in environment.get("channels") or []),
        lock=lock,
        explicit=explicit_packages(environment, explicit, alias),
    )
    if not want.specs or not want.channels:
        raise ValueError("environment.yml names no channels or no conda dependencies: it needs both, at least `python`.")
    missing = [item for item in pip if normal(re.split(r"[^\w.-]", item.strip(), maxsplit=1)[0]) not in want.locked]
    if missing:
        raise ValueError(f"requirements.txt does not lock {', '.join(missing)} of environment.yml: run `make lock`.")
    return want


def environment_digest(environment: dict) -> str:
    """Tell the conda part of one environment.yml from another's; its pip section has a lock of its own."""
    specs = [item for item in environment.get("dependencies") or [] if isinstance(item, str)]
    return hashlib.sha256(json.dumps([environment.get("channels"), specs]).encode()).hexdigest()


def explicit_packages(environment: dict, text: str, alias: str) -> tuple[str, ...]:
    """The lines URL#SHA256 of a conda lock, its channels found below `alias`; none where there is no lock.

    Raises ValueError where it is not such a lock, or that of another environment.yml.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ()
    packages = [line.replace("#sha256:", "#") for line in lines if not line.startswith(("#", "@"))]
    bad = [line for line in packages if not EXPLICIT.fullmatch(line)]
    if "@EXPLICIT" not in lines or bad or not packages:
        found = f"{bad[0]} is no URL#SHA256 of a package" if bad else "there is no line @EXPLICIT with packages below it"
        raise ValueError(f"The conda lock cannot be used: {found}. Make it again with playbooks/lock.yml.")
    made_from = [line.removeprefix(MADE_FROM) for line in lines if line.startswith(MADE_FROM)]
    if made_from and made_from != [environment_digest(environment)]:
        raise ValueError("The conda lock was made from another environment.yml: make it again with playbooks/lock.yml, or delete it.")
    return tuple(f"{alias.rstrip('/')}{line.removeprefix(PUBLIC)}" if line.startswith(f"{PUBLIC}/") else line for line in packages)


def explicit_text(environment: dict, platform: str, urls: Iterable[str], alias: str) -> str:
    """A lock of conda packages as `conda create --file` reads it. A mirror makes the same lock as the channel itself."""
    near = f"{alias.rstrip('/')}/"
    lines = [f"{PUBLIC}/{url.removeprefix(near)}" if url.startswith(near) else url for url in urls]
    made_from = f"{MADE_FROM}{environment_digest(environment)}"
    head = ["# Made by playbooks/lock.yml from environment.yml.", f"# platform: {platform}", made_from]
    return "".join(f"{line}\n" for line in [*head, "@EXPLICIT", *sorted(lines)])


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
    def altered(self) -> bool:
        """Whether somebody removed one of the conda packages or put another version in its place."""
        now = {package: version(record) for package, record in self.conda.items()}
        return any(now.get(package) != then for package, then in self.state["conda"].items())

    @property
    def conda_due(self) -> bool:
        return not self.complete or self.altered or bool(self.damaged_conda)

    @property
    def only_damaged(self) -> bool:
        """Whether the packages that should be there are known: those that are there."""
        return self.complete and not self.altered

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

    Only files that changed at `since` (a Unix time; the end of the last run, unless told) or later are read.
    """
    state = read_state(prefix) | ({} if since is None else {"since": since})
    since = state["since"]
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
    draft.parent.mkdir(parents=True, exist_ok=True)  # an environment of no packages has no such folder
    draft.write_text(json.dumps(state), encoding="utf-8")
    draft.replace(prefix / STATE)


def clock(prefix: Path) -> float:
    """The time (Unix) by the environment's own file system, whose clock is coarse: what changes from now on bears it or a later one."""
    draft = prefix / f"{STATE}.new"
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_bytes(b"")
    return draft.stat().st_mtime


def state_of(found: Found, want: Wanted, now: float) -> dict:
    """What to write down of an environment that is as wanted `now` (a Unix time)."""
    kept = found.kept(want)
    return {
        "digest": want.digest,
        "since": now,
        "conda": {package: version(record) for package, record in found.conda.items() if package not in kept},
        "wheels": sorted(dist.name for package, dist in found.wheels.items() if package not in kept),
    }


def conda_records(prefix: Path) -> dict[str, dict]:
    """conda's own records by package name; one that cannot be read counts as absent, so that its package is installed again."""
    records = {}
    for path in listed(prefix / "conda-meta", "*.json"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            package = record.get("extracted_package_dir") or ""
            about = {key: record[key] for key in ("version", "build")}
            records[record["name"]] = about | {"package": package, "paths": record["paths_data"]["paths"]}
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
    folder = str(prefix)
    return all(intact(folder, entry, since) for entry in record["paths"])


def intact(prefix: Path | str, entry: dict, since: float) -> bool:
    """Tell whether one file of a conda package is there and, if it changed at `since` (a Unix time) or later, holds the same bytes."""
    path = f"{prefix}/{entry['_path']}"
    if path.endswith(".pyc"):  # Python writes these itself.
        return True
    try:
        status = os.lstat(path)
    except OSError:
        return False
    digest = entry.get("sha256_in_prefix") or entry.get("sha256")
    if entry.get("path_type") == "softlink":
        return os.path.islink(path)
    # A file that the prefix was written into has another size than the package says.
    if digest == entry.get("sha256") and entry.get("size_in_bytes", status.st_size) != status.st_size:
        return False
    if not digest or max(status.st_mtime, status.st_ctime) < since:
        return True
    try:
        return os.path.isfile(path) and hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest
    except PermissionError:  # what cannot be read is of no use to a student either
        return False


def restored(prefix: Path, found: Found) -> Found:
    """Put back the files of damaged conda packages where their unpacked packages have them; what is damaged still is left for the engine.

    No engine is asked. Nothing is put back over what somebody installed in place of a package.
    """
    if not found.only_damaged or found.foreign():
        return found
    left = [package for package in found.damaged_conda if not restore(prefix, found.conda[package], found.state["since"])]
    return replace(found, damaged_conda=left)


def restore(prefix: Path, record: dict, since: float) -> bool:
    """Put back the damaged files of one conda package; tell whether all of it is as it was installed."""
    return all([intact(prefix, entry, since) or put_back(prefix, record["package"], entry) for entry in record["paths"]])


def put_back(prefix: Path, package: str, entry: dict) -> bool:
    """Copy one file from an unpacked package into its place in one step, if it holds the very bytes that were installed.

    It does not where the package is damaged, too, and where installing meant writing the file: the prefix in it, or an entry point.
    """
    name = entry["_path"]
    layouts = (name, re.sub(r"^lib/python[^/]+/", "", name), re.sub("^bin/", "python-scripts/", name))  # the last two of noarch packages
    source = next((path for layout in layouts if os.path.lexists(path := f"{package}/{layout}")), "")
    if not source or not entry.get("sha256"):
        return False
    draft = f"{prefix}/{name}.new"
    try:
        os.makedirs(os.path.dirname(draft), exist_ok=True)
        with suppress(FileNotFoundError):
            os.unlink(draft)  # of a run that was killed
        shutil.copy(source, draft, follow_symlinks=False)
        if intact(prefix, entry | {"_path": f"{name}.new"}, since=0.0):
            os.replace(draft, f"{prefix}/{name}")
            return True
        os.unlink(draft)
    except OSError:  # the engine explains what is in the way
        pass
    return False


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
