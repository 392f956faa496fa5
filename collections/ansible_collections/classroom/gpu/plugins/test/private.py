"""A test of files on the controller."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def private_file(path: str, content: str) -> bool:
    """Tell whether a file is there, belongs to who asks, is for their eyes alone, and has this text."""
    try:
        about = os.lstat(path)
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return stat.S_ISREG(about.st_mode) and (stat.S_IMODE(about.st_mode), about.st_uid, text) == (0o600, os.geteuid(), content)


class TestModule:
    """The test's name."""

    def tests(self) -> dict:
        """Return it by name."""
        return {"private_file": private_file}
