"""The rehearsal's API alone, for the modules that ask EC2."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hostless import Cloud, rehearsal

from rehearsal import state


@pytest.fixture(scope="session")
def hostless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud that all tests of this process share: whoever uses it empties it first (`Reset`)."""
    place = state.without_hosts(tmp_path_factory.mktemp("cloud") / "place")
    own = ("--no-hosts", "--state", str(place.folder))
    rehearsal("up", *own)
    yield Cloud(place.environment())
    rehearsal("down", *own)
