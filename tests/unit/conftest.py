"""The rehearsal's API alone, for the modules that ask EC2."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import pytest
from botocore import loaders
from hostless import Cloud, rehearsal

from rehearsal import state

# Each session of an SDK lists and parses its descriptions of the services anew, which takes longer than what most tests ask: here once a
# process.
loaders.JSONFileLoader.load_file = staticmethod(cache(partial(loaders.JSONFileLoader.load_file, loaders.JSONFileLoader())))
every = cache(loaders.Loader().list_available_services)
loaders.Loader.list_available_services = lambda self, type_name: every(type_name)


@pytest.fixture(scope="session")
def hostless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud that all tests of this process share: whoever uses it empties it first (`Reset`)."""
    place = state.without_hosts(tmp_path_factory.mktemp("cloud") / "place")
    own = ("--no-hosts", "--state", str(place.folder))
    assert f'eval "$(python -m rehearsal env {" ".join(own)})"' in rehearsal("up", *own)
    assert "is up already" in rehearsal("up", *own)
    yield Cloud(place.environment())
    assert rehearsal("down", *own) == "The rehearsal cloud is down.\n"
    assert not place.folder.exists()
    assert rehearsal("env", *own) == f"No rehearsal cloud is running. Start it first: python -m rehearsal up {' '.join(own)}\n"
