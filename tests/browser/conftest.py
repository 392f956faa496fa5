"""The class whose seat a student opens: the one that the story is about."""

from tests.rehearsal.conftest import classroom

__all__ = ["classroom"]
