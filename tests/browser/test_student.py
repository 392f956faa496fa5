"""A student's first minutes in a real browser: strict TLS with the class's authority, log in, run the notebook that proves the seat.

Pictures of what was seen, and the seconds that each run took, are kept in test-results/browser; no test asserts a wall-clock time.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.classroom.gpu.plugins.filter.password import seat_password
from ansible_collections.classroom.gpu.plugins.module_utils.jupyter.client import Jupyter
from playwright.sync_api import Browser, Error, expect

from tests.browser.chromium import chromium
from tests.browser.lab import PICTURES, Lab, at_lab, text, untouched
from tests.support.classroom import Classroom, tags

SEAT = "s01"
RUNS = [1, *(pytest.param(number, marks=pytest.mark.slow) for number in range(2, 11))]
MEMORY = re.compile(r"Mem:\s+[1-9]")


@pytest.fixture(scope="module")
def url(classroom: Classroom) -> str:
    if SEAT not in classroom.instances():
        pytest.exit(f"class {classroom.name} has no seat {SEAT}: run `make rehearsal` first", returncode=2)
    return f"https://{classroom.instances()[SEAT]['PublicIpAddress']}:8888/"


@pytest.fixture(scope="module")
def password(classroom: Classroom) -> str:
    return seat_password((classroom.folder / "secret").read_text().strip(), SEAT)


@pytest.fixture
def browser(classroom: Classroom) -> Iterator[Browser]:
    with chromium(classroom.folder / "ca.crt") as one:
        yield one


def test_a_browser_that_does_not_know_the_class_refuses_the_seat(url: str) -> None:
    with chromium(None) as browser, at_lab(browser, url, "stranger") as lab, pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        lab.open()


def test_a_wrong_password_is_refused_with_a_message(browser: Browser, url: str, password: str) -> None:
    with at_lab(browser, url, "refused") as lab:
        lab.open()
        lab.give(password[:-1])
        expect(lab.page.get_by_text("Invalid credentials")).to_be_visible()
        expect(lab.page.locator("input[name=password]")).to_be_visible()
        lab.picture("refused")


@pytest.mark.parametrize("run", RUNS)
def test_a_student_logs_in_and_runs_the_proof_notebook(classroom: Classroom, browser: Browser, url: str, password: str, run: int) -> None:
    server = Jupyter(url, str(classroom.folder / "ca.crt"))
    server.login(password)
    proofs = classroom.settings["classroom_course_proofs"]
    before = left(classroom, server)
    start = time.monotonic()
    with untouched(server, [proof["notebook"] for proof in proofs]), at_lab(browser, url, f"run-{run}") as lab:
        enter(lab, password)
        for proof in proofs:
            work(lab, server, proof["notebook"], proof["expect"])
        assert lab.interruptions() == []
    note(run, time.monotonic() - start)
    assert left(classroom, server) == before


def test_a_student_is_told_that_the_machine_stops_soon(classroom: Classroom, browser: Browser, url: str, password: str) -> None:
    with at_lab(browser, url, "notice") as lab, end_near(classroom):
        enter(lab, password)
        expect(lab.page.locator(".Toastify__toast")).to_contain_text("This machine stops at ")
        lab.picture("notice")


@contextmanager
def end_near(classroom: Classroom) -> Iterator[None]:
    """Move the end of the seat to 20 minutes from now, and back."""
    before = tags(classroom.instances()[SEAT])["classroom:ends"]
    move(classroom, f"{datetime.now(UTC) + timedelta(minutes=20):%Y-%m-%dT%H:%M:%SZ}")
    try:
        yield
    finally:
        move(classroom, before)


def move(classroom: Classroom, ends: str) -> None:
    """Tag the seat with an end, and let it look."""
    tag = {"Key": "classroom:ends", "Value": ends}
    classroom.client("ec2").create_tags(Resources=[classroom.instances()[SEAT]["InstanceId"]], Tags=[tag])
    assert classroom.ssh(SEAT, "sudo systemctl start autostop").returncode == 0


def left(classroom: Classroom, server: Jupyter) -> tuple[str, list]:
    """Changes of the course's folder, but for the checkpoint that Jupyter makes when a notebook is opened, and the kernels."""
    status = classroom.ssh(SEAT, "cd ~/dl_tutorial && git status --porcelain -- . ':!*.ipynb_checkpoints*'")
    assert status.returncode == 0, status.stderr
    return status.stdout, [one["id"] for one in server.api("GET", "kernels")]


def enter(lab: Lab, password: str) -> None:
    """Log in on a page that shows the seat, and arrive in the course's folder."""
    lab.open()
    expect(lab.page.locator("body")).to_contain_text(SEAT)
    lab.picture("1-login")
    lab.give(password)
    expect(lab.files.filter(has_text="README.md")).to_be_visible()
    expect(lab.page).to_have_title(re.compile(SEAT))


def work(lab: Lab, server: Jupyter, notebook: str, promised: str) -> None:
    """Open a notebook, run it whole, and read what it says."""
    lab.open_file(notebook)
    cells = json.loads(text(server, notebook))["cells"]
    lab.wait_for_notebook(sum(cell["cell_type"] == "code" for cell in cells))
    expect(lab.page).to_have_title(re.compile(SEAT))
    expect(lab.resources).to_be_visible()
    expect(lab.resources).to_have_text(MEMORY)
    lab.picture("2-opened")
    lab.run_all_cells()
    expect(lab.output.filter(has_text=promised)).to_be_visible()
    expect(lab.errors).to_have_count(0)
    lab.picture("3-ran")


def note(run: int, seconds: float) -> None:
    """Keep the seconds of each run."""
    file = PICTURES / "seconds.json"
    figures = json.loads(file.read_text()) if file.exists() and run > 1 else {}
    file.write_text(json.dumps(figures | {str(run): round(seconds, 1)}, indent=1) + "\n")
