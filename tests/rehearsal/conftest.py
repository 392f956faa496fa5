"""The class that the story is about."""

import os
import shutil

import pytest

from tests.support.classroom import Classroom


@pytest.fixture(scope="session")
def classroom() -> Classroom:
    """The class and the credentials that `python -m rehearsal env` put into this process's environment."""
    if "AWS_ENDPOINT_URL" not in os.environ:
        pytest.exit('no rehearsal: run `make story`, or `python -m rehearsal up` and eval "$(python -m rehearsal env)" first', returncode=2)
    if shutil.which("ansible-playbook") is None:
        pytest.exit("ansible-playbook is not on PATH: source .venv/bin/activate", returncode=2)
    return Classroom(dict(os.environ))
