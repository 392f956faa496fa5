"""An earlier proof holds only where the seat answers now: asked of a real Jupyter, and of what may stand in its place."""

from __future__ import annotations

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.seat import health as seat_health
from ansible_collections.classroom.gpu.plugins.modules import seat_proof

from tests.support.jupyter_seat import Page, Seat, installed, served
from tests.support.simulated_hosts import next_second, running_module

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
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine may be busy: a seat on it has more time than a class's."""
    monkeypatch.setattr(seat_proof, "DOOR", 60)
    monkeypatch.setattr(seat_proof, "KERNEL", 55)
    monkeypatch.setattr(seat_proof, "CELL", 55)


@pytest.fixture
def running(seat: Seat, environment: Path, patient: None) -> Seat:
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


SHADOW = "raise ImportError('not of the course')\n"


@pytest.fixture(scope="session")
def course_environment(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that looks into its user's ~/.local, as a conda environment does and a plain virtual one does not."""
    prefix = tmp_path_factory.mktemp("prefix")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", prefix], check=True)
    places = [next(root.glob("lib/python*/site-packages")) for root in (prefix, environment)]
    (places[0] / "course.pth").write_text(f"{places[1]}\n")
    return prefix


def broken_home(seat: Seat) -> dict[str, str]:
    """Put in the student's way what `pip install --user` and the shell's settings put there; return variables that lead to it."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    user, path = seat.home / f".local/lib/{version}/site-packages", seat.home / "path"
    for place, name in ((user, "ipykernel"), (user, "traitlets"), (path, "ipykernel_launcher")):
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.py").write_text(SHADOW)
    (user / "usercustomize.py").write_text("import os; os._exit(3)\n")
    (seat.home / "startup.py").write_text("import os; os._exit(4)\n")
    return {"PYTHONPATH": str(path), "PYTHONSTARTUP": str(seat.home / "startup.py")}


def wheel(folder: Path) -> Path:
    """Make the smallest package that pip installs."""
    path = folder / "fromhome-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("fromhome.py", "answer = 42\n")
        file.writestr("fromhome-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: fromhome\nVersion: 1.0\n")
        file.writestr("fromhome-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("fromhome-1.0.dist-info/RECORD", "")
    return path


INSTALL = """
import subprocess, sys
done = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--user", wheel], capture_output=True, text=True)
import importlib; importlib.invalidate_caches()
import fromhome; print(done.returncode, fromhome.answer, fromhome.__file__)
"""


def test_whatever_lies_in_the_students_home_the_courses_kernel_is_whole(
    seat: Seat, environment: Path, course_environment: Path, patient: None
) -> None:
    seat.start(environment, kernels=course_environment, **broken_home(seat))
    assert verify(seat)["reused"], (seat.home / "log").read_text()
    server = seat_proof.Jupyter(f"https://127.0.0.1:{seat.port}/", str(seat.folder / "ca.crt"))
    server.login(seat_proof.seat_password((seat.folder / "secret").read_text(), "s01"))
    with server.start("dl_aws", "a student's") as kernel:
        code = seat_proof.apart(INSTALL, wheel=str(wheel(seat.home)))
        status, answer, place = kernel.run(code, 120).split()
    assert (status, answer) == ("0", "42") and Path(place).is_relative_to(course_environment)


def test_a_startup_file_that_spoils_each_cell_is_named(running: Seat) -> None:
    file = running.home / ".ipython/profile_default/startup/my own.py"
    file.parent.mkdir(parents=True)
    file.write_text("print = None\n")
    told = verify(running, inside=INSIDE | {"startup": seat_health.startup(running.home)})
    assert "comes alive and runs no cell (it raised TypeError: 'NoneType' object is not callable)" in told["msg"]
    assert f"('mv '{file}' '{file}.off'')" in told["msg"]


STARTUP = {"ends": "import os; os._exit(1)\n", "hangs": "import time; time.sleep(1000)\n"}


@pytest.mark.slow
@pytest.mark.parametrize("what", STARTUP)
def test_a_startup_file_that_ends_each_kernel_is_named(running: Seat, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(seat_proof, "KERNEL", 8)
    file = running.home / ".ipython/profile_default/startup/00-mine.py"
    file.parent.mkdir(parents=True)
    file.write_text(STARTUP[what])
    told = verify(running, inside=INSIDE | {"startup": seat_health.startup(running.home)})
    assert not told["proven"] and "no notebook works: a new kernel 'dl_aws' does not come alive" in told["msg"]
    assert f"Each kernel runs {file} first: move it away on the seat ('mv {file} {file}.off')." in told["msg"]
    assert "does not come alive" in verify(running)["msg"] and "journalctl" in verify(running)["msg"]
    file.rename(file.with_suffix(".off"))
    monkeypatch.setattr(seat_proof, "KERNEL", 55)
    assert verify(running)["reused"]


def page(**about: object) -> type[Page]:
    return type("Other", (Page,), about)


WRONG = {
    "a page": (page(text="<html>Welcome</html>"), True, "answers, but not as Jupyter does (status 200 for api/kernels)"),
    "json of another kind": (page(text='{"hello": 1}'), True, "answers, but not as Jupyter does (status 200 for api/kernels)"),
    "kernels for everybody": (page(text="[]"), True, "shows its kernels without a password"),
    "a redirect": (page(status=302, headers_too={"Location": "https://example.org/"}), True, "not as Jupyter does (status 302"),
    "an error": (page(status=502, text="Bad gateway"), True, "not as Jupyter does (status 502 for api/kernels)"),
    "forbidden in another's way": (page(status=403, text="no"), True, "not as Jupyter does (status 403 for api/kernels)"),
    "forbidden for all": (page(status=403, text='{"message": "Forbidden"}'), True, "refuses the seat's password (status 403)"),
    "without TLS": (page(), False, "what answers there does not speak HTTPS"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_that_is_not_jupyters_is_a_sentence(seat: Seat, name: str) -> None:
    other, tls, said = WRONG[name]
    end = served(seat, other, tls)
    try:
        told = verify(seat)
    finally:
        end()
    assert not told["proven"] and said in told["msg"]
    assert told["checks"][-1]["ok"] is False


def test_what_breaks_off_is_a_sentence(seat: Seat) -> None:
    with socket.create_server(("127.0.0.1", seat.port)) as listener:
        threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
        told = verify(seat)["msg"]
    assert "is not Jupyter, or breaks off" in told or "does not speak HTTPS" in told


def drip(page: Page) -> None:
    """Answer without an end, and slowly."""
    page.send_response(200)
    page.end_headers()
    with suppress(OSError):
        while True:
            page.wfile.write(b" ")
            time.sleep(0.2)


def test_what_never_ends_is_a_sentence(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat_proof, "DOOR", 2)
    end = served(seat, page(do_GET=drip))
    told = verify(seat)
    end()
    assert "it takes more than 2 s to let its student in" in told["msg"]


CERTIFICATES = {
    "of another address": ({"address": "127.0.0.2"}, "is not one of this class for this address (IP address mismatch"),
    "that has ended": ({"days": 0}, "certificate has expired at this computer's time, 20"),
    "of a class that is not this one": (None, "its certificate is not one of this class for this address"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_that_does_not_hold_is_a_sentence(seat: Seat, tmp_path: Path, name: str) -> None:
    signed, said = CERTIFICATES[name]
    other = Seat(tmp_path / "other")
    if signed is not None:
        seat.sign(**signed)
        next_second()
    other.etc, other.port = (other.etc if signed is None else seat.etc), seat.port
    end = served(other, page())
    try:
        assert said in verify(seat)["msg"]
    finally:
        end()


def test_a_new_proof_of_a_seat_that_does_not_answer_is_written_with_its_cause(seat: Seat) -> None:
    path = proven_before(seat)
    told = running_module(seat_proof, arguments(seat, reprove=True, instance_type="t3.large", inside={}))
    assert (told["proven"], told["reused"], told["changed"]) == (False, False, True)
    assert "nothing listens there: run site.yml, which starts Jupyter" in told["msg"]
    written = seat_proof.read(path)
    assert (written["proven"], written["gpus"], written["instance_type"]) == (False, [], "t3.large")


RULE = "tcp dport 8888 drop"
WALLS = [
    (INSIDE | {"listens": False, "answers": False}, "nothing listens there: run site.yml, which starts Jupyter"),
    (
        INSIDE | {"rules": [RULE]},
        f"Jupyter answers on the seat itself, but no connection comes about from here: a rule of the seat's firewall ('{RULE}')",
    ),
    (INSIDE | {"answers": False}, "Jupyter listens on the seat, but no connection comes about from here"),
    (INSIDE, "a rule of the seat's firewall or of a network between it and here shuts port"),
]


@pytest.mark.parametrize(("inside", "said"), WALLS)
def test_a_port_that_the_seat_shuts_is_not_blamed_on_the_classs_networks(seat: Seat, inside: dict, said: str) -> None:
    told = verify(seat, inside=inside)
    assert not told["proven"] and said in told["msg"] and "classroom_allowed_cidrs" not in told["msg"]


def test_packets_that_nobody_answers_are_given_up_in_seconds(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose queue is full drops what comes, as a firewall does."""
    monkeypatch.setattr("ansible_collections.classroom.gpu.plugins.module_utils.jupyter.client.FIRST", 1)
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", seat.port))
        listener.listen(0)
        for _ in range(3):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", seat.port))
        told = verify(seat, inside=INSIDE | {"rules": [RULE]})
    assert "answers SSH" in told["msg"] and RULE in told["msg"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"troubles": ["No name resolves on the seat.", "The disk is full."]}, "No name resolves on the seat. The disk is full."),
        ({"seat_time": time.time() - 7300}, "The seat's clock is 2 hours behind this computer's: type 'sudo timedatectl set-ntp true'"),
        ({"seat_time": time.time() + 1e6}, "The seat's clock is 11 days ahead of this computer's"),
    ],
)
def test_a_trouble_of_the_seat_is_told_and_nothing_is_run(seat: Seat, other: dict, said: str) -> None:
    told = verify(seat, **other)
    assert (told["proven"], told["seconds"]) == (False, 0.0) and said in told["msg"]


def test_a_clock_that_is_some_seconds_off_is_right(seat: Seat) -> None:
    assert "clock" not in verify(seat, seat_time=time.time() - 60)["msg"]


T4 = LAYERS | {"gpus": [{"model": "Tesla T4"}]}


@pytest.mark.parametrize(
    ("before", "now", "gone"),
    [
        ({"gpus": ["Tesla T4"], "instance_type": "g4dn.xlarge"}, {"instance_type": "g4dn.xlarge"}, True),
        ({"gpus": ["Tesla T4"], "instance_type": "g4dn.xlarge"}, {"instance_type": "t3.large"}, False),  # resized
        ({"gpus": ["Tesla T4"], "instance_type": "g4dn.xlarge"}, {"instance_type": "g4dn.xlarge", "layers": T4}, False),
        ({"gpus": [], "instance_type": "t3.large"}, {"instance_type": "t3.large"}, False),
        ({}, {}, False),
    ],
)
def test_a_gpu_that_the_machine_was_proven_with_is_missed(seat: Seat, before: dict, now: dict, gone: bool) -> None:
    proven_before(seat, **before)
    last = seat_proof.read(seat.folder / "seats/s01/proof.json")
    said = seat_proof.lost_gpu(last, {"instance_type": ""} | arguments(seat) | now)
    assert bool(said) is gone and (not gone or "The Tesla T4 that this machine was proven with is gone" in said[0])


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        ({"driver": "580.1", "cuda_driver": {"status": 0, "devices": [{"name": "Tesla T4"}]}}, ""),
        ({"driver": "580.1", "cuda_driver": {"status": 100, "devices": []}}, "the driver's library sees no GPU: type 'sudo reboot'"),
        ({"driver": "580.1", "cuda_driver": {"status": 0, "devices": []}}, "the driver's library lists none"),
        ({"driver": "", "cuda_driver": {}}, "the NVIDIA driver is not loaded"),
    ],
)
def test_a_kernel_tells_whether_it_has_the_use_of_the_gpu(driver: dict, said: str) -> None:
    output = json.dumps({"verdict": ""} | driver)
    trouble = seat_proof.no_gpu(output, {"layers": T4})
    assert said in trouble and bool(trouble) == bool(said)


def test_what_asks_for_the_gpu_runs_anywhere() -> None:
    output = StringIO()
    with redirect_stdout(output):
        exec(seat_proof.apart(inspect.getsource(seat_proof.gpu_proof) + seat_proof.ASK_GPU, __name__="gpu_proof"), {})
    assert set(seat_proof.reported(output.getvalue())) == {"verdict", "driver", "cuda_driver"}
