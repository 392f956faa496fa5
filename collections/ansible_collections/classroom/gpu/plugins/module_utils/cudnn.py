"""The version of cuDNN, told by the library itself."""

from __future__ import annotations

import ctypes


def spelled(number: int) -> str:
    """Return the version that cudnnGetVersion() encodes; the major one counts 10000 from cuDNN 9 on, 1000 before (cudnn_version.h)."""
    major, rest = divmod(number, 10000 if number >= 90000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def library_version(path: str) -> str:
    """Load a libcudnn and return its version, such as 9.28.0; nothing where it is missing or no cuDNN. Needs no GPU and no driver."""
    try:
        ask = ctypes.CDLL(path).cudnnGetVersion
    except (OSError, AttributeError):
        return ""
    ask.restype = ctypes.c_size_t
    return spelled(ask())
