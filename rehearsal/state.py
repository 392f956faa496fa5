"""What a running cloud leaves for others to read, and the locks that make it one cloud. Standard library only."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rehearsal import API_URL, REGION


class StateError(Exception):
    """The cloud is not in the state that a command needs; the text says what to type."""


@dataclass(frozen=True)
class Place:
    """Where one cloud keeps what others read.

    Attributes:
        folder: there while the cloud is up.
        lock: which one command at a time holds; stays when the folder goes.
        options: what `python -m rehearsal up`, `env`, `status` and `down` need to mean this cloud.
    """

    folder: Path
    lock: Path
    options: str = ""

    @property
    def key_file(self) -> Path:
        return self.folder / "credentials.json"

    @property
    def server_file(self) -> Path:
        return self.folder / "server.json"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def alive_file(self) -> Path:
        return self.folder / "server.lock"

    def environment(self) -> dict[str, str]:
        """Return the variables that point every AWS SDK at this cloud and choose the class `rehearsal`.

        Raises:
            StateError: no cloud runs here, or it was started by another user.
        """
        try:
            key = read(self.key_file) if self.alive() else None
        except PermissionError:
            raise StateError(f"The rehearsal cloud was started by another user: {self.key_file} is theirs alone.") from None
        server = self.server()
        if key is None or not server:
            raise StateError(f"No rehearsal cloud is running. Start it first: python -m rehearsal up{self.options}")
        return {
            "AWS_ENDPOINT_URL": server.get("url", API_URL),
            "AWS_ACCESS_KEY_ID": key["access_key"],
            "AWS_SECRET_ACCESS_KEY": key["secret_key"],
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "CLASSROOM": "rehearsal",
        }

    def clear(self) -> None:
        """Remove what a server left; a folder that holds something else stays."""
        for path in (self.key_file, self.server_file, self.log, self.alive_file):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def server(self) -> dict:
        """Return what the server says of itself; nothing where none runs."""
        return read(self.server_file) or {}

    @contextmanager
    def one_command(self) -> Iterator[None]:
        """Let one `up` or `down` run at a time; a second waits for the first."""
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        with self.lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def hold_alive(self) -> int:
        """Take the lock that says "a server runs"; the kernel releases it when the process ends, however it ends.

        Raises:
            BlockingIOError: a server holds it already.
        """
        file = os.open(self.alive_file, os.O_WRONLY | os.O_CREAT, 0o644)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file

    def alive(self) -> bool:
        """Tell whether a server runs; needs no root, and no process id that might have been reused."""
        try:
            with self.alive_file.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def wait_until_gone(self, seconds: float) -> bool:
        """Wait until no server runs; False where one still does after so many seconds."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


MACHINE = Place(Path("/run/rehearsal"), Path("/var/cache/rehearsal/command.lock"))


def without_hosts(folder: Path | None = None) -> Place:
    """Return the place of an API alone: the user's own, or another beside it in a folder."""
    own = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "rehearsal"
    at = f" --state {folder}" if folder else ""
    folder = folder or own
    return Place(folder, folder.with_name(f"{folder.name}.lock"), f" --no-hosts{at}")


def new_credentials() -> dict[str, str]:
    """Make an access key and its secret, shaped like AWS's, unknown before this moment."""
    return {
        "access_key": "AKIA" + "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16)),
        "secret_key": secrets.token_urlsafe(30),
    }


def write_private(path: Path, content: dict) -> None:
    """Write JSON that only the user who typed the command may read (SUDO_UID where sudo was in between)."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.chown(new, int(os.environ.get("SUDO_UID", os.getuid())), int(os.environ.get("SUDO_GID", os.getgid())))
    new.rename(path)


def read(path: Path) -> dict | None:
    """Return a state file's content, None where there is none. Raises PermissionError for another user's."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def exports(environment: dict[str, str]) -> str:
    """Return the shell lines that set an environment, and no credentials beside it."""
    return "\n".join(["unset AWS_PROFILE AWS_SESSION_TOKEN", *(f"export {name}={value}" for name, value in environment.items())])
