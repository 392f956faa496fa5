"""An earlier proof holds only where the seat answers now: asked of a real Jupyter, and of what may stand in its place."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostless import running_module
from jupyter_seat import Page, Seat, installed, served

from ansible_collections.classroom.gpu.plugins.modules import seat_proof

LAYERS = {"gpus": [], "kernels": [], "driver": {"installed": "", "loaded": ""}, "toolkits": [], "cudnn": ""}
INSIDE = {"listens": True, "answers": True, "rules": [], "startup": []}


@pytest.fixture(scope="session")
def environment() -> Path:
    return installed()


@pytest.fixture
def seat(tmp_path: Path) -> Iterator[Seat]:
    """A seat that was proven, without its server."""
    seat = Seat(tmp_path)
    yield seat
    seat.stop()


@pytest.fixture
def running(seat: Seat, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Seat:
    """A seat whose server runs; this machine may be busy, so that it has more time than a class's."""
    monkeypatch.setattr(seat_proof, "DOOR", 60)
    monkeypatch.setattr(seat_proof, "KERNEL", 55)
    monkeypatch.setattr(seat_proof, "CELL", 55)
    seat.start(environment)
    return seat


def arguments(seat: Seat, **other: object) -> dict:
    """What prove.yml hands over of this seat."""
    own = {"seat": "s01", "address": "127.0.0.1", "port": seat.port, "class_dir": str(seat.folder), "instance_id": "i-1", "boot_id": "b-1"}
    own |= {"stack_digest": "d", "layers": LAYERS, "stack": {}, "course_dir": "/nowhere", "inside": INSIDE}
    return own | {"notebooks": [{"notebook": "a.ipynb", "expect": "Hello"}]} | other


def proven_before(seat: Seat, **other: object) -> Path:
    """Write the proof that an earlier run made of this seat."""
    params = arguments(seat) | {"course_version": "refs/classroom/course", "kernel": "dl_aws", "evidence": []}
    path = seat.folder / "seats/s01/proof.json"
    checks = [{"name": "a.ipynb", "expected": "Hello", "found": "Hello", "ok": True}]
    seat_proof.write(path, seat_proof.identity_of(params) | {"proven": True, "checks": checks, "seconds": 9.0, "proven_at": "then"} | other)
    return path


def verify(seat: Seat, check: bool = False, **other: object) -> dict:
    """Run the module on a seat that was proven before; the proof in the class's folder stays as it is, whatever comes out."""
    path = proven_before(seat)
    before = path.read_text()
    told = running_module(seat_proof, arguments(seat, **other) | {"_ansible_check_mode": check})
    assert (path.read_text(), told["changed"]) == (before, False)
    return told


@pytest.mark.parametrize("check", [False, True])
def test_a_seat_that_answers_is_proven_still_and_nothing_is_left_on_it(running: Seat, check: bool) -> None:
    told = verify(running, check)
    assert (told["proven"], told["reused"]) == (True, True), told["msg"]
    assert told["seconds"] > 0 and "asked again now, it answered in" in told["msg"]
    assert [one["name"] for one in told["checks"]] == ["a.ipynb"]
    assert "Kernel shutdown" in (running.home / "log").read_text()


def test_a_server_that_is_stopped_is_not_proven_and_one_that_goes_on_is(running: Seat) -> None:
    os.kill(running.server.pid, signal.SIGSTOP)
    told = verify(running)
    assert not told["proven"] and told["seconds"] < 10
    assert "it takes the connection and does not answer: run site.yml" in told["msg"]
    os.kill(running.server.pid, signal.SIGCONT)
    assert verify(running)["reused"]


def test_a_kernel_that_a_student_stopped_harms_nobody(running: Seat) -> None:
    assert verify(running)["reused"]
    server = seat_proof.Jupyter(f"https://127.0.0.1:{running.port}/", str(running.folder / "ca.crt"))
    server.login(seat_proof.seat_password((running.folder / "secret").read_text(), "s01"))
    kernel = server.start("dl_aws", "a student's")
    with kernel:
        pid = int(kernel.run("import os; print(os.getpid())", 20))
        os.kill(pid, signal.SIGSTOP)
        assert verify(running)["reused"]
        os.kill(pid, signal.SIGCONT)
        assert kernel.run("print(1)", 20) == "1\n"
