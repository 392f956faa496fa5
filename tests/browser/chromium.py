"""The Chromium of this machine, with a home of its own: what it trusts is what a test told it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# It talks to the seat and to nobody else.
QUIET = [
    "--no-proxy-server",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
]
LIMIT = 120  # seconds that any one condition may take to come about; a busy machine imports TensorFlow in 40


def executable() -> str:
    """Return the browser's path; ends the tests where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None or shutil.which("certutil") is None:
        pytest.exit("no Chromium or no certutil on this machine: run `./setup.sh browser`, which installs both", returncode=2)
    return found


def trust(home: Path, authority: Path) -> None:
    """Make an authority's certificate one that a Chromium with this home accepts servers by."""
    folder = home / ".pki" / "nssdb"
    folder.mkdir(parents=True)
    database = ["-d", f"sql:{folder}"]
    subprocess.run(["certutil", *database, "-N", "--empty-password"], check=True, timeout=60)
    subprocess.run(["certutil", *database, "-A", "-t", "C,,", "-n", "class", "-i", str(authority)], check=True, timeout=60)


@contextmanager
def chromium(authority: Path | None) -> Iterator[Browser]:
    """Start Chromium with strict TLS; beside what the system trusts it trusts this authority, if there is one."""
    expect.set_options(timeout=LIMIT * 1000)
    with TemporaryDirectory(prefix="chromium-") as home, sync_playwright() as driver:
        if authority:
            trust(Path(home), authority)
        # Its sandbox wants a user other than root.
        browser = driver.chromium.launch(
            executable_path=executable(),
            chromium_sandbox=os.geteuid() != 0,
            args=QUIET,
            env={"HOME": home, "PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        )
        try:
            yield browser
        finally:
            browser.close()
