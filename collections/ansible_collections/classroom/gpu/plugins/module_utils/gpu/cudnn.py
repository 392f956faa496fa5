"""The version of cuDNN, told by the library itself."""

from __future__ import annotations

import subprocess
import sys

# In a process of its own: a cuDNN that misses one of its parts does not return an error, it aborts whoever asked.
ASK = "import ctypes, sys; ask = ctypes.CDLL(sys.argv[1]).cudnnGetVersion; ask.restype = ctypes.c_size_t; print(ask())"
SECONDS = 60  # the first load of a library of a gigabyte, from a disk that has not been read yet


def spelled(number: int) -> str:
    """Return the version that cudnnGetVersion() encodes; the major one counts 10000 from cuDNN 9 on, 1000 before (cudnn_version.h)."""
    major, rest = divmod(number, 10000 if number >= 90000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def library_version(path: str) -> str:
    """Load a libcudnn and return its version, such as 9.28.0; nothing where it is missing or broken. Needs no GPU and no driver."""
    try:
        done = subprocess.run([sys.executable, "-c", ASK, path], capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return spelled(int(done.stdout)) if done.returncode == 0 else ""
