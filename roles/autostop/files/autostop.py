#!/usr/bin/python3
"""Stop this machine at the end of class, or when nobody has used it for a while.

autostop.timer runs this each minute, as root, with no credentials and no controller; the system's Python is all it needs. The end is that
of the instance's tag classroom:ends; the last one that was read is kept in /etc/autostop/ends for when the metadata does not answer.
Their clock counts, too: one that is wrong on the machine stops nobody's class. What is only needed until the next boot is in /run.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from zoneinfo import ZoneInfo

ENDS, SETTINGS = Path("/etc/autostop/ends"), Path("/etc/autostop/settings.json")
STATE = Path("/run/autostop/state.json")
# Jupyter shows what lies here in its pages, to anyone who reaches them.
NOTICE, WORDS = Path("/run/autostop/told/notice.txt"), Path("/run/autostop/told/ends.txt")
KERNELS = Path("/run/jupyter/kernels.json")
METADATA = "http://169.254.169.254/latest"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
# Programs that keep a quarter of a processor busy, or a twentieth of a GPU, are somebody's work.
BUSY_CORES, BUSY_GPU = 0.25, 5
PERSON = 1000  # the first user id that is not the system's
KERNELS_STALE = 180  # seconds after which a list of kernels is that of a Jupyter that has ended
IDLE_WARN_MINUTES = 10


@dataclass(frozen=True)
class Settings:
    """What the class decided; a machine that was never configured has these. sessions: begin and end of each."""

    zone: str = "UTC"
    warn_minutes: int = 30
    grace_minutes: int = 15
    idle_minutes: int = 0
    sessions: tuple = ()


@dataclass(frozen=True)
class Sample:
    """What shows whether the machine is used. Moments are seconds of a clock that nobody sets."""

    at: float
    used: float  # the last time that it was
    kernels: list = field(default_factory=list)  # execution state and last activity of each
    processor: dict = field(default_factory=dict)  # seconds that each process of a person has computed
    gpu: int = 0  # percent
    logins: int = 0


def moment(text: str) -> datetime | None:
    """Return when `2026-12-04T17:00:00Z` is; None for `never`; ValueError for anything else."""
    return None if text == "never" else datetime.strptime(text.replace("Z", "+0000"), "%Y-%m-%dT%H:%M:%S%z")


def use(before: Sample, now: Sample) -> str:
    """Say what shows that the machine was used since the sample before; nothing where nothing does."""
    seen = {activity for _, activity in before.kernels}
    seconds = sum(max(0.0, spent - before.processor.get(process, 0.0)) for process, spent in now.processor.items())
    if any(state == "busy" or activity not in seen for state, activity in now.kernels):
        return "a kernel at work"
    if now.gpu >= BUSY_GPU:
        return "the GPU at work"
    if seconds > BUSY_CORES * (now.at - before.at):
        return "a program at work"
    return "a login" if now.logins else ""


def decide(now: datetime, ends: datetime | None, up: float, unused: float, settings: Settings) -> tuple[bool, str]:
    """Return whether the machine is to stop now, and what its student is to be told.

    up: seconds since the boot, which is granted a grace even after the end; unused: seconds since anybody used the machine.
    """
    minutes, second = timedelta(minutes=1), timedelta(seconds=1)
    end = max(ends, now - up * second + settings.grace_minutes * minutes) if ends else None
    idle = now - unused * second + settings.idle_minutes * minutes if settings.idle_minutes else None
    if any(stop and stop <= now for stop in (end, idle)):
        return True, ""
    if end and end - now <= settings.warn_minutes * minutes:
        soon = " That is in less than five minutes!" if end - now < 5 * minutes else ""
        return False, f"This machine stops at {clock(end, settings.zone)}.{soon} Save now: files stay, running notebooks end."
    if idle and idle - now <= min(IDLE_WARN_MINUTES, settings.idle_minutes / 2) * minutes:
        return False, "Nobody seems to work here, so this machine stops within ten minutes. Run a cell of a notebook to keep it."
    return False, ""


def local(when: datetime, zone: str) -> datetime:
    """Return a moment in the class's zone, or as it is on a machine that does not know that."""
    try:
        return when.astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError):
        return when


def clock(when: datetime, zone: str) -> str:
    """Return the hour with its zone."""
    here = local(when, zone)
    return f"{here:%H:%M} ({here.tzinfo})"


def words(ends: datetime | None, zone: str) -> str:
    """Return the end as the login message tells it."""
    here = local(ends, zone) if ends else None
    return f"{here:%Y-%m-%d %H:%M} {here.tzinfo}" if here else "never"


def ask(path: str, method: str = "GET", **headers: str) -> tuple[str, str]:
    """Ask the instance metadata; return the answer and its date."""
    sent = {f"X-aws-ec2-metadata-{name.replace('_', '-')}": value for name, value in headers.items()}
    with DIRECT.open(urllib.request.Request(METADATA + path, method=method, headers=sent), timeout=2) as answer:
        return answer.read().decode(), answer.headers.get("Date", "")


def look_outside() -> tuple[str, datetime]:
    """Return the tag, empty where it cannot be read, and the time, that of this machine where the metadata tell none."""
    tag, now = "", datetime.now().astimezone()
    with suppress(OSError, HTTPException, ValueError):
        token, date = ask("/api/token", "PUT", token_ttl_seconds="60")
        now = parsedate_to_datetime(date).astimezone() if date else now
        tag, _ = ask("/meta-data/tags/instance/classroom:ends", token=token)
    return tag.strip(), now


def read(path: Path) -> str:
    """Return a file's text; that of one that cannot be read is empty."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def write(path: Path, text: str) -> None:
    """Replace a small file that everybody may read, if it changes; a full disk must not keep the machine from stopping."""
    if path.exists() and read(path) == text:
        return
    new = path.with_name(f".{path.name}.new")
    with suppress(OSError):
        new.write_text(text + "\n", encoding="utf-8")
        new.chmod(0o644)
        new.replace(path)


def known_end(tag: str) -> datetime | None:
    """Return the end that the tag tells, and keep it; the one that was kept last where it tells none."""
    for text in (tag, read(ENDS)):
        with suppress(ValueError):
            ends = moment(text)
            write(ENDS, text)
            return ends
    return None


def settings_of(text: str) -> Settings:
    """Return the class's settings; a file that is missing or broken leaves the end as it is."""
    try:
        told = json.loads(text)
        return Settings(**told | {"sessions": tuple((moment(begin), moment(end)) for begin, end in told["sessions"])})
    except (ValueError, TypeError, KeyError):
        return Settings()


def kernels(at: float) -> list:
    """Return state and last activity of each kernel, as Jupyter wrote them; those of a Jupyter that has ended do not count."""
    try:
        told = json.loads(read(KERNELS))
        return [[one["execution_state"], one["last_activity"]] for one in told["kernels"]] if at - told["at"] < KERNELS_STALE else []
    except (ValueError, TypeError, KeyError):
        return []


def processor() -> dict:
    """Return how many seconds each process of a person, as opposed to the system's, has computed."""
    spent = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            if folder.stat().st_uid >= PERSON:
                words = (folder / "stat").read_text().rpartition(")")[2].split()
                spent[f"{folder.name} {words[19]}"] = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return spent


def run(*command: str) -> str:
    """Return what a command prints; nothing where there is none or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def gpu() -> int:
    """Return by how many percent the busiest GPU is used."""
    shown = run("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits") if Path("/dev/nvidiactl").exists() else ""
    return max((int(line) for line in shown.split() if line.isdecimal()), default=0)


def logins() -> int:
    """Count the people who are logged in over SSH."""
    ids = [line.split()[0] for line in run("loginctl", "list-sessions", "--no-legend").splitlines() if line.strip()]
    shown = run("loginctl", "show-session", *ids, "--property=Service", "--property=State") if ids else ""
    blocks = [set(block.splitlines()) for block in shown.split("\n\n")]
    return sum("Service=sshd" in block and "State=closing" not in block for block in blocks)


def sample(at: float) -> Sample:
    """Look how the machine is used, and when it last was: now, if nothing is known."""
    try:
        before = Sample(**json.loads(read(STATE)))
    except (ValueError, TypeError):
        return Sample(at, at, kernels(at), processor())
    now = Sample(at, before.used, kernels(at), processor(), gpu(), logins())
    return replace(now, used=at) if use(before, now) else now


def boot() -> float:
    """Return when the first process of this machine began."""
    with suppress(OSError, ValueError, IndexError):  # a container's first process is younger than the kernel
        return int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def tell(text: str) -> None:
    """Write a line into every terminal: a login's, and Jupyter's, which wall does not know."""
    print(text, flush=True)
    for terminal in Path("/dev/pts").glob("[0-9]*"):
        with suppress(OSError):
            handle = os.open(terminal, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                os.write(handle, f"\r\n\a*** {text} ***\r\n".encode())
            finally:
                os.close(handle)


def stop() -> None:
    """Power off, which EC2 makes of a machine a stopped one; without services' consent if there is no other way."""
    tell("This machine stops now.")
    if subprocess.run(["systemctl", "poweroff"], check=False).returncode:
        subprocess.run(["systemctl", "poweroff", "--force", "--force"], check=False)


def main() -> None:
    """Look, tell, and stop if it is time."""
    tag, now = look_outside()
    settings, ends = settings_of(read(SETTINGS)), known_end(tag)
    at = time.clock_gettime(time.CLOCK_BOOTTIME)
    found = sample(at) if settings.idle_minutes else Sample(at, at)
    if any(begin <= now < end for begin, end in settings.sessions):
        found = replace(found, used=at)
    over, notice = decide(now, ends, at - boot(), at - found.used, settings)
    write(STATE, json.dumps(asdict(found)))
    write(WORDS, words(ends, settings.zone))
    if notice and notice != read(NOTICE):
        tell(notice)
    write(NOTICE, notice)
    if over:
        stop()


if __name__ == "__main__":
    main()
