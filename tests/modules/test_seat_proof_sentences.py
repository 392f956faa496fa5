"""What a seat's proof says where nothing answers, or a notebook prints something else: the sentences of docs/troubleshooting.md."""

from __future__ import annotations

import socket

import certifi
import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.jupyter.client import Jupyter, JupyterError
from ansible_collections.classroom.gpu.plugins.modules import seat_proof


class Kernel:
    """A kernel in which every cell prints one line."""

    def run(self, code: str, timeout: int) -> str:
        return "something else\n"


def test_a_notebook_that_prints_something_else_is_told_with_its_last_line() -> None:
    course = {"copy": "/nowhere", "notebook": {"cells": [{"cell_type": "code", "source": "x"}]}}
    with pytest.raises(seat_proof.Unproven, match="a.ipynb ran, but printed no line 'Hello'; its last one was 'something else'"):
        seat_proof.run_copy(Kernel(), course, {"notebook": "a.ipynb", "expect": "Hello"}, {"timeout": 1})


def test_a_port_at_which_nothing_listens_is_told_with_what_starts_jupyter() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(JupyterError, match="nothing listens there: run site.yml, which starts Jupyter"):
        Jupyter(f"https://127.0.0.1:{port}/", certifi.where()).closed()
