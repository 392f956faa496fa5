"""What the running cloud leaves for others to read, and the locks that make it one cloud. Standard library only."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rehearsal import API_URL, REGION

RUN = Path("/run/rehearsal")
CREDENTIALS = RUN / "credentials.json"
SERVER = RUN / "server.json"
LOG = RUN / "server.log"
ALIVE = RUN / "server.lock"
COMMAND = Path("/var/cache/rehearsal/command.lock")


class StateError(Exception):
    """The cloud is not in the state that a command needs; the text says what to type."""


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


def credentials() -> dict[str, str]:
    """Return the key of the running cloud.

    Raises:
        StateError: no cloud runs, or it was started by another user.
    """
    try:
        found = read(CREDENTIALS) if alive() else None
    except PermissionError:
        raise StateError(f"The rehearsal cloud was started by another user: {CREDENTIALS} is theirs alone.") from None
    if found is None:
        raise StateError("No rehearsal cloud is running. Start it first: python -m rehearsal up")
    return found


def exports(key: dict[str, str]) -> str:
    """Return the shell lines that point every AWS SDK at this cloud and choose the class `rehearsal`."""
    values = {
        "AWS_ENDPOINT_URL": API_URL,
        "AWS_ACCESS_KEY_ID": key["access_key"],
        "AWS_SECRET_ACCESS_KEY": key["secret_key"],
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CLASSROOM": "rehearsal",
    }
    return "\n".join(["unset AWS_PROFILE AWS_SESSION_TOKEN", *(f"export {name}={value}" for name, value in values.items())])


@contextmanager
def one_command() -> Iterator[None]:
    """Let one `up` or `down` run at a time; a second waits for the first."""
    COMMAND.parent.mkdir(parents=True, exist_ok=True)
    with COMMAND.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def hold_alive() -> int:
    """Take the lock that says "a server runs"; the kernel releases it when the process ends, however it ends.

    Raises:
        BlockingIOError: a server holds it already.
    """
    file = os.open(ALIVE, os.O_WRONLY | os.O_CREAT, 0o644)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def alive() -> bool:
    """Tell whether a server runs; needs no root, and no process id that might have been reused."""
    try:
        with ALIVE.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def wait_until_gone(seconds: float) -> bool:
    """Wait until no server runs; False where one still does after so many seconds."""
    deadline = time.monotonic() + seconds
    while alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
