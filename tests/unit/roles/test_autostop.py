"""When a seat stops by itself, what it says before, and what counts as its use. The program is the one that seats run."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

FILE = Path(__file__).parents[3] / "roles/autostop/files/autostop.py"
SPEC = importlib.util.spec_from_file_location("autostop", FILE)
autostop = sys.modules["autostop"] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(autostop)

ENDS = autostop.moment("2026-12-04T17:00:00Z")
BERLIN = autostop.Settings(zone="Europe/Berlin")
IDLE = autostop.Settings(idle_minutes=60)
HOURS = 3600.0


def decide(minutes: float, up: float = 9 * HOURS, settings: autostop.Settings = BERLIN, unused: float = 0.0) -> tuple[bool, str]:
    """Decide so many minutes after the end."""
    return autostop.decide(ENDS + timedelta(minutes=minutes), ENDS, up, unused, settings)


@pytest.mark.parametrize("minutes", [0, 1, 60, 60 * 24 * 400])
def test_the_end_stops_whenever_it_is_noticed(minutes: float) -> None:
    assert decide(minutes) == (True, "")


@pytest.mark.parametrize(("minutes", "told"), [(-31, False), (-30, True), (-1, True), (-60 * 24 * 400, False)])
def test_students_are_warned_half_an_hour_before(minutes: float, told: bool) -> None:
    over, notice = decide(minutes)
    assert (over, "stops at 18:00 (Europe/Berlin)" in notice) == (False, told)


def test_they_are_warned_again_in_the_last_five_minutes() -> None:
    assert "less than five minutes" not in decide(-5)[1]
    assert "less than five minutes" in decide(-4.9)[1]


@pytest.mark.parametrize(("up", "over"), [(30, False), (14 * 60, False), (15 * 60, True), (HOURS, True)])
def test_a_boot_after_the_end_is_granted_a_grace_to_move_it(up: float, over: bool) -> None:
    stops, notice = decide(120, up=up)
    assert stops == over
    assert over or "This machine stops at" in notice


def test_never_is_never() -> None:
    assert autostop.decide(ENDS, None, 9 * HOURS, 999 * HOURS, BERLIN) == (False, "")


@pytest.mark.parametrize(
    ("unused", "over", "told"), [(0, False, False), (49, False, False), (50, False, True), (59.9, False, True), (60, True, False)]
)
def test_an_idle_machine_is_warned_and_stops(unused: float, over: bool, told: bool) -> None:
    stops, notice = autostop.decide(ENDS, None, 9 * HOURS, unused * 60, IDLE)
    assert (stops, "Nobody seems to work" in notice) == (over, told)
    assert autostop.decide(ENDS, None, 9 * HOURS, unused * 60, autostop.Settings()) == (False, ""), "idle stop is off unless set"


BEFORE = autostop.Sample(at=100.0, used=40.0, kernels=[["idle", "10:00"]], processor={"7 1": 5.0})


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"kernels": [["idle", "10:00"]], "processor": {"7 1": 6.0}}, ""),
        ({}, ""),  # a Jupyter that is dead, and no program
        ({"kernels": [["busy", "10:00"]]}, "a kernel at work"),  # a cell that computes or waits
        ({"kernels": [["idle", "10:01"]]}, "a kernel at work"),  # one that was run meanwhile
        ({"kernels": [["idle", "10:00"], ["starting", "10:01"]]}, "a kernel at work"),
        ({"processor": {"7 1": 25.0}}, "a program at work"),
        ({"processor": {"7 2": 25.0}}, "a program at work"),  # another one with the number of an earlier
        ({"processor": {"7 1": 14.0, "8 1": 5.0}}, ""),
        ({"gpu": 100}, "the GPU at work"),
        ({"gpu": 4}, ""),
        ({"logins": 1}, "a login"),
    ],
)
def test_what_is_use(seen: dict, said: str) -> None:
    assert autostop.use(BEFORE, autostop.Sample(at=160.0, used=40.0, **seen)) == said


def test_a_list_of_kernels_counts_while_jupyter_lives(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(autostop, "KERNELS", tmp_path / "kernels.json")
    assert autostop.kernels(0.0) == []
    kernel = {"execution_state": "busy", "last_activity": "10:00", "connections": 3}
    autostop.KERNELS.write_text(json.dumps({"at": 1000.0, "kernels": [kernel]}))
    assert autostop.kernels(1020.0) == [["busy", "10:00"]]
    assert autostop.kernels(1180.0) == []
    autostop.KERNELS.write_text('{"at": 1000.0, "ker')
    assert autostop.kernels(1020.0) == []


def test_the_tag_counts_and_is_kept_for_when_it_cannot_be_read(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(autostop, "ENDS", tmp_path / "ends")
    assert autostop.known_end("") is None
    autostop.ENDS.write_text("2026-12-04T16:00:00Z\n")
    assert autostop.known_end("").hour == 16
    assert autostop.known_end("2026-12-04T17:00:00Z") == ENDS
    assert autostop.known_end("") == ENDS
    assert autostop.known_end("tomorrow") == ENDS, "a tag that is none, as one typed into the console"
    assert autostop.known_end("never") is None
    assert autostop.ENDS.read_text() == "never\n"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"zone": "UTC"}', '{"sessions": [["1", "2"]]}', '{"sessions": [], "other": 1}'])
def test_broken_settings_leave_the_end_in_force(text: str) -> None:
    assert autostop.settings_of(text) == autostop.Settings()


def test_settings_are_those_that_the_role_writes() -> None:
    session = ["2026-12-04T08:00:00Z", "2026-12-04T17:00:00Z"]
    found = autostop.settings_of(json.dumps({"zone": "Asia/Tokyo", "idle_minutes": 45, "sessions": [session]}))
    assert (found.zone, found.idle_minutes, found.sessions[0][1]) == ("Asia/Tokyo", 45, ENDS)


def test_the_processor_time_of_a_program_is_seen(monkeypatch) -> None:
    monkeypatch.setattr(autostop, "PERSON", 0)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as program:
        until = time.monotonic() + 20
        while time.monotonic() < until and not any(
            spent >= 0.1 for process, spent in autostop.processor().items() if process.split()[0] == str(program.pid)
        ):
            time.sleep(0.05)
        program.kill()
    assert time.monotonic() < until


def test_a_boot_is_as_old_as_the_first_process() -> None:
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - autostop.boot()
    shown = subprocess.run(["ps", "-o", "etimes=", "-p", "1"], capture_output=True, text=True, check=True).stdout
    assert abs(age - int(shown)) < 3


def test_words_in_the_zone_of_the_class_or_in_what_there_is() -> None:
    assert autostop.words(ENDS, "Europe/Berlin") == "2026-12-04 18:00 Europe/Berlin"
    assert autostop.words(ENDS, "No/Where") == "2026-12-04 17:00 UTC"
    assert autostop.words(None, "UTC") == "never"


class Metadata(BaseHTTPRequestHandler):
    """The instance metadata, version 2, on a day in December; EC2's has a Date header, too."""

    tag, date = "2026-12-04T17:00:00Z", "Fri, 04 Dec 2026 16:45:00 GMT"

    def do_PUT(self) -> None:
        self.answer(200 if self.headers["X-aws-ec2-metadata-token-ttl-seconds"] else 400, "token")

    def do_GET(self) -> None:
        known = self.path == "/meta-data/tags/instance/classroom:ends" and self.headers["X-aws-ec2-metadata-token"] == "token"
        self.answer(200 if known else 401, self.tag)

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def date_time_string(self, timestamp=None) -> str:
        return self.date

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Iterator[list]:
    """The program's files in a folder of their own, the metadata, and a list of what it told and did."""
    for name in ("ENDS", "SETTINGS", "STATE", "NOTICE", "WORDS", "KERNELS"):
        monkeypatch.setattr(autostop, name, tmp_path / name)
    done: list = []
    monkeypatch.setattr(autostop, "tell", done.append)
    monkeypatch.setattr(autostop, "stop", lambda: done.append("stop"))
    monkeypatch.setattr(autostop, "boot", lambda: -3600.0)  # no grace of a boot, however young the machine that tests
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(autostop, "METADATA", f"http://127.0.0.1:{server.server_port}")
        yield done
        server.shutdown()


def test_from_the_tag_to_the_stop_by_the_clock_of_the_metadata(machine: list, monkeypatch) -> None:
    autostop.main()
    autostop.main()
    notice = "This machine stops at 17:00 (UTC). Save now: files stay, running notebooks end."
    assert machine == [notice], "told once, whatever clock this machine has"
    assert (autostop.NOTICE.read_text(), autostop.WORDS.read_text()) == (f"{notice}\n", "2026-12-04 17:00 UTC\n")
    monkeypatch.setattr(Metadata, "tag", "2026-12-04T19:00:00Z")
    autostop.main()
    assert (machine, autostop.NOTICE.read_text()) == ([notice], "\n"), "an end that was moved takes the notice back"
    monkeypatch.setattr(Metadata, "date", "Fri, 04 Dec 2026 19:00:00 GMT")
    autostop.main()
    assert machine == [notice, "stop"]


def test_without_metadata_the_end_that_is_known_counts_by_the_machines_own_clock(machine: list, monkeypatch) -> None:
    monkeypatch.setattr(autostop, "METADATA", "http://127.0.0.1:1")
    autostop.ENDS.write_text("2026-01-01T00:00:00Z\n")
    autostop.SETTINGS.write_text("{")
    autostop.main()
    assert machine == ["stop"]
    autostop.ENDS.write_text("2999-01-01T00:00:00Z\n")
    autostop.main()
    assert machine == ["stop"]


def test_class_hours_keep_an_idle_machine(machine: list, monkeypatch) -> None:
    monkeypatch.setattr(autostop, "PERSON", 2**31)
    monkeypatch.setattr(autostop, "logins", lambda: 0)
    idle = json.dumps({"at": 0.0, "used": 0.0, "kernels": [], "processor": {}, "gpu": 0, "logins": 0})
    for end, done in (("2026-12-04T17:00:00Z", []), ("2026-12-04T16:45:00Z", ["stop"])):
        monkeypatch.setattr(Metadata, "tag", "never")
        autostop.SETTINGS.write_text(json.dumps({"idle_minutes": 1, "sessions": [["2026-12-04T08:00:00Z", end]]}))
        autostop.STATE.write_text(idle)
        autostop.main()
        assert machine == done
