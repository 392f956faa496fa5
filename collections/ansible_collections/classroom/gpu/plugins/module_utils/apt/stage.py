"""The edges of classroom.gpu.apt_set: the machine's files and commands, and an APT state beside its own in which things may fail."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.apt import packages as apt_packages
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors

ETC, LISTS, DPKG = Path("/etc/apt"), Path("/var/lib/apt/lists"), Path("/var/lib/dpkg")
# APT's user has to read what is in here, and the machine's lists are linked into it: not /tmp, not a private folder.
STAGE = Path("/var/cache/classroom-apt")
# A mirror that stumbles is asked again twice; a silent one is given up after 20 s. apt.conf(5)
NETWORK = {"Acquire::Retries": "2", "Acquire::http::Timeout": "20", "Acquire::https::Timeout": "20", "Acquire::Languages": "none"}
QUIET = {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "APT_LISTCHANGES_FRONTEND": "none"}


class Failed(Exception):
    """It went wrong after the machine began to change; the text is the reason without its full stop."""


class Refused(Failed):
    """It went wrong before anything changed."""


class Unsolved(Refused):
    """APT knows no way; with newer lists it may."""


class File(NamedTuple):
    """A file, and what it should hold; None where there is none."""

    path: Path
    before: str | None
    after: str | None

    @property
    def due(self) -> bool:
        return self.before != self.after


def read(path: Path) -> str | None:
    """Return a file's text, or None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def write(path: Path, text: str | None) -> None:
    """Put a text into a file in one step; None removes it."""
    if text is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o644)
    draft.replace(path)


def linked(path: Path, other: Path) -> None:
    """Give a file a second name, or where that is on another disk, make a copy of it."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copy2(path, other)


@contextmanager
def locked(path: Path, patience: int) -> Iterator[None]:
    """Hold the lock that APT and dpkg also take on a file. Raises Refused after `patience` seconds."""
    until = time.monotonic() + patience
    with path.open("a") as lock:
        while True:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= until:
                    complaint = f"Could not get lock {path}. "
                    raise Refused(apt_packages.sentence(complaint, "", "", patience)) from error
                time.sleep(1)  # fcntl cannot give up after a time, and nothing tells when another process lets go: so ask again
        yield


class Machine:
    """Edges: commands and files of the machine."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.patience = module, module.params["patience"]

    def run(self, command: list[str], stdin: str | None = None, **environment: str) -> tuple[int, str, str]:
        """Run a command; return its exit status, its output, and its complaints, to which belongs what APT says while it waits."""
        code, output, complaint = self.module.run_command(command, data=stdin, environ_update=QUIET | environment)
        waits = [line for line in output.splitlines() if line.startswith("Waiting for cache lock: ")]
        return code, output, "\n".join([*waits[-1:], complaint])

    def found(self) -> dict[str, apt_packages.Package]:
        """What dpkg has."""
        code, listing, complaint = self.run(["dpkg-query", "--show", f"--showformat={apt_packages.QUERY}"])
        if code:
            raise Refused(f"dpkg-query failed: {complaint.strip()}")
        return apt_packages.installed(listing)

    def dpkg(self, *arguments: str, stdin: str | None = None) -> None:
        """Run dpkg when nobody else does."""
        with locked(DPKG / "lock-frontend", self.patience):
            code, _, complaint = self.run(["dpkg", "--force-confdef", "--force-confold", *arguments], stdin, DPKG_FRONTEND_LOCKED="1")
        if code:
            why = path_errors.of_words(complaint, "/").removesuffix(".")
            raise Failed(why or f"dpkg {arguments[0]} failed: {' '.join(complaint.split())}")

    def interrupted(self, found: dict[str, apt_packages.Package]) -> bool:
        """Tell whether dpkg was stopped in the middle of anything."""
        return bool(apt_packages.halves(found)) or self.unwritten()

    def unwritten(self) -> bool:
        """Tell whether dpkg was stopped before it wrote down what it had done: nothing can be installed then."""
        return any(path.name.isdigit() for path in (DPKG / "updates").iterdir())

    def fingerprints(self, key: Path) -> list[str]:
        """The fingerprints of the keys in a file; none where it is missing or holds none."""
        if not key.exists():
            return []
        home = tempfile.mkdtemp(dir=self.module.tmpdir)
        gpg = self.module.get_bin_path("gpg")
        if gpg is None:
            raise Refused("gpg is not installed: the role base installs it")
        _, colons, _ = self.run([gpg, "--homedir", home, "--batch", "--no-options", "--show-keys", "--with-colons", str(key)])
        return apt_packages.fingerprints(colons)

    def lists(self) -> Iterator[Path]:
        """The files in which APT looks for sources."""
        yield from (path for path in [ETC / "sources.list"] if path.is_file())
        yield from sorted(path for path in (ETC / "sources.list.d").glob("*") if path.suffix in (".list", ".sources"))


class Stage:
    """An APT of its own: the machine's settings and lists, and what the set adds to them; nothing in it is the machine's."""

    def __init__(self, machine: Machine, source: dict | None) -> None:
        self.machine, self.source, self.excuse = machine, source, ""
        self.keyring = STAGE / "work/key.asc"
        shutil.rmtree(STAGE / "work", ignore_errors=True)
        self.etc, self.lists, self.archives, self.own = (STAGE / "work" / name for name in ("etc", "lists", "archives", "own"))
        for folder in (self.lists, self.archives / "partial", self.own):
            folder.mkdir(parents=True)
        shutil.copytree(ETC, self.etc, symlinks=True)
        for path in LISTS.iterdir() if LISTS.is_dir() else []:
            if path.is_file() and path.name != "lock":
                linked(path, self.lists / path.name)
        (STAGE / "work/empty").touch()

    def options(self, extra: dict[str, str]) -> list[str]:
        """APT's options for working here; the machine's apt.conf counts too."""
        where = {"Dir::Etc": f"{self.etc}/", "Dir::State::lists": f"{self.lists}/", "Dir::Cache::archives": f"{self.archives}/"}
        where |= {"Dir::Cache::pkgcache": "", "Dir::Cache::srcpkgcache": "", "APT::Get::List-Cleanup": "false"}
        lock = {"DPkg::Lock::Timeout": str(self.machine.patience), "APT::Get::AutomaticRemove": "false"}
        options = where | lock | NETWORK | extra
        keep = ["Dpkg::Options::=--force-confdef", "Dpkg::Options::=--force-confold"]
        return [word for option in [*(f"{name}={value}" for name, value in options.items()), *keep] for word in ("-o", option)]

    def run(self, program: str, *arguments: str, extra: dict[str, str] | None = None) -> tuple[int, str, str]:
        return self.machine.run([program, *self.options(extra or {}), *arguments])

    def says(self, complaint: str) -> str:
        """The sentence for a complaint of APT."""
        errors = "\n".join(line for line in complaint.splitlines() if not line.startswith("W: "))
        if why := path_errors.of_words(errors, "/"):
            return why.removesuffix(".")
        where, key = (self.source["uri"], self.source["fingerprint"]) if self.source else ("the machine's sources", "")
        # It reads a copy of the sources; whoever corrects one has to know which.
        return apt_packages.sentence(complaint.replace(str(self.etc), "/etc/apt"), where, key, self.machine.patience)

    def add_source(self, key: str) -> None:
        """Put the source here, with its key."""
        write(self.keyring, key)
        wanted = apt_packages.source_text(self.source, str(self.keyring))
        name = f"classroom-{self.source['name']}.sources"
        write(self.etc / "sources.list.d" / name, wanted)
        write(self.own / name, wanted)

    def refresh(self, everything: bool) -> None:
        """Fetch and check the indexes: the source's own, or all. Raises Refused where the source's own is not right."""
        only = {} if everything else {"Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": f"{self.own}/"}
        # Without the mode, a server that does not answer is a warning, and the exit status 0.
        code, _, complaint = self.run("apt-get", "--quiet", "update", extra={"APT::Update::Error-Mode": "any"} | only)
        if code and not everything:
            raise Refused(self.says(complaint))
        self.excuse = self.says(complaint) if code else ""

    def close(self) -> None:
        shutil.rmtree(STAGE / "work", ignore_errors=True)

    def publish(self) -> None:
        """Give the machine the indexes that were fetched and checked here."""
        for path in self.lists.iterdir():
            theirs = LISTS / path.name
            if path.is_file() and path.name != "lock" and not (theirs.exists() and theirs.samefile(path)):
                theirs.unlink(missing_ok=True)
                linked(path, theirs)

    def forget(self, packages: list[str]) -> None:
        """Leave out what packages that are to go have set, such as the pins of another driver branch."""
        for name in packages:
            for line in (read(DPKG / "info" / f"{name}.list") or "").splitlines():
                if line.startswith(f"{ETC}/preferences.d/"):
                    (self.etc / Path(line).relative_to(ETC)).unlink(missing_ok=True)

    def pin(self, text: str, name: str) -> None:
        write(self.etc / "preferences.d" / f"classroom-{name}", text)

    def versions(self, packages: list[str]) -> dict[str, list[str]]:
        """The versions that the lists have of some packages."""
        return apt_packages.madison(self.run("apt-cache", "madison", *packages)[1]) if packages else {}

    def needed(self, packages: list[str]) -> set[str]:
        """What the packages need on a machine that has nothing: the set without what an older one left."""
        arguments = ("--simulate", "--no-install-recommends", "install", *packages)
        code, plan, complaint = self.run("apt-get", *arguments, extra={"Dir::State::status": str(STAGE / "work/empty")})
        if code:
            raise Unsolved(self.unsolved(plan, complaint))
        return set(apt_packages.steps(plan).install)

    def install(self, mode: str, arguments: list[str]) -> tuple[int, str, str]:
        """Run the transaction in one of APT's modes: `--simulate`, `--download-only` or `--no-download`."""
        allowed = ["--allow-downgrades", "--allow-change-held-packages", "--no-install-recommends", "--fix-broken", "--purge"]
        return self.run("apt-get", "--yes", "--quiet", mode, *allowed, "install", *arguments)

    def unsolved(self, plan: str, complaint: str) -> str:
        """The sentence for a plan that APT could not make: an unreachable source first, then what does not fit."""
        clashes = [" ".join(line.split()) for line in plan.splitlines() if ": " in line and ("Depends" in line or "Conflicts" in line)]
        return self.excuse or (f"APT finds no way: {'; '.join(clashes)}" if clashes else self.says(complaint))
