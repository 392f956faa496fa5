"""The rehearsal's API alone, for the modules that ask EC2."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from rehearsal import state


@pytest.fixture(scope="session")
def hostless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of an API that all tests of this process share: whoever uses it empties it first (`Reset`)."""
    place = state.without_hosts(tmp_path_factory.mktemp("cloud") / "place")
    command = [sys.executable, "-m", "rehearsal"]
    own = ["--no-hosts", "--state", str(place.folder)]
    subprocess.run([*command, "up", *own], capture_output=True, check=True, timeout=120)
    yield place.environment()
    subprocess.run([*command, "down", *own], capture_output=True, check=True, timeout=60)
