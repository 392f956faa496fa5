"""The seat break matrix: six seats broken at a time, each in another way, beside one that is well. Never green: repaired, or named.

Part of `make test-all` only. What each seat's teacher was told goes to test-results/broken.json.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.classroom.gpu.plugins.filter.password import seat_password
from ansible_collections.classroom.gpu.plugins.module_utils.jupyter.client import Jupyter, JupyterError

from tests.support.breaks import BREAKS, Break
from tests.support.classroom import ROOT, Classroom, Run
from tests.support.machine import output

pytestmark = pytest.mark.slow
NAME = "broken"
WELL = "s07"
SEATS = [f"s{number:02}" for number in range(1, 7)]
SETTINGS = {
    "classroom_stack": "minimal",
    "classroom_course_repository": "http://198.19.0.1:8080/git/plain-course.git",
    "classroom_course_proofs": [{"notebook": "code/hello_python.ipynb", "expect": "Pairs of rabbits after 30 months: 832040"}],
}
NAMES = list(BREAKS)
GROUPS = [NAMES[first : first + len(SEATS)] for first in range(0, len(NAMES), len(SEATS))]
# What a run says of a seat, in the line that it prints at once and in the closing table.
REASON = re.compile(r"^((?:s\d+(?:, )?)+) NOT PROVEN: (.*)$", re.M)
PROVEN = r"^{seat} (?:proven|earlier proof holds): "


class Seats:
    """A class of seven, and root's back door to each."""

    def __init__(self, folder: Path) -> None:
        """Write roster and settings outside the project, where an inventory beside its own brings them."""
        roster = folder / "roster.csv"
        roster.write_text("seat,name,email\n" + "".join(f"{seat},Ada,{seat}@example.org\n" for seat in [*SEATS, WELL]))
        settings = yaml.safe_load((ROOT / "group_vars/classroom_rehearsal.yml").read_text()) | SETTINGS
        settings["classroom_roster"] = f"{{{{ '{roster}' | relpath(classroom_root) }}}}"
        (folder / "hosts.yml").write_text("all: {}\n")
        (folder / "group_vars").mkdir()
        (folder / f"group_vars/classroom_{NAME}.yml").write_text(json.dumps(settings))
        own = {"CLASSROOM": NAME, "ANSIBLE_INVENTORY": f"{ROOT / 'inventory'},{folder / 'hosts.yml'}"}
        self.classroom = Classroom(dict(os.environ) | own)
        self.told: dict[str, str] = {}

    def site(self, seats: list[str]) -> Run:
        """Run site.yml for some seats."""
        return self.classroom.play("site.yml", "-e", f"seats={','.join(seats)}")

    def renew(self, seats: list[str]) -> None:
        """Have other machines for some seats, so that one fault is told once."""
        if seats:
            self.classroom.play("playbooks/teardown.yml", "-e", f"seats={','.join(seats)}", "-e", "confirm=true")
            self.site(seats)

    def root(self, seat: str, command: str) -> None:
        """Run a command as root on a seat, past SSH."""
        host = f"rehearsal-{self.classroom.instances()[seat]['InstanceId']}"
        pid = output("podman", "inspect", "--format", "{{.State.Pid}}", host).strip()
        output("nsenter", "--target", pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--", "/bin/bash", "-c", command)


@pytest.fixture(scope="module")
def seats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seats]:
    """Seven proven seats; none is left."""
    seats = Seats(tmp_path_factory.mktemp(NAME))
    first = seats.site([*SEATS, WELL])
    assert first.status == 0, first.output[-6000:]
    yield seats
    (ROOT / "test-results").mkdir(exist_ok=True)
    (ROOT / "test-results/broken.json").write_text(json.dumps(seats.told, indent=1) + "\n")
    ended = seats.classroom.play("playbooks/teardown.yml", "-e", "confirm=true")
    assert ended.status == 0, ended.output[-6000:]


def outcome(run: Run, seat: str) -> str:
    """Return what a run says of a seat that it did not prove, empty where it did."""
    reasons = [told for seats, told in REASON.findall(run.output) if seat in seats.split(", ")]
    proven = re.search(PROVEN.format(seat=seat), run.output, re.M)
    return reasons[-1] if reasons else "" if proven else "the run says nothing of it"


def works(seats: Seats, seat: str) -> str:
    """Ask a seat as its student does, whatever a run says of it; return what is wrong, empty where a cell answers."""
    folder = seats.classroom.folder
    server = Jupyter(f"https://{seats.classroom.instances()[seat]['PublicIpAddress']}:8888/", str(folder / "ca.crt"))
    try:
        server.login(seat_password((folder / "secret").read_text(), seat))
        with server.start("dl_aws", "the matrix asks") as kernel:
            return "" if kernel.run("print(6 * 7)", 20).strip() == "42" else "its kernel does not compute"
    except JupyterError as error:
        return str(error)


def faults(name: str, row: Break, told: str, changed: int) -> list[str]:
    """Return what is wrong with what was told of a broken seat, and with how many of its tasks changed something."""
    if not told and not row.says and not changed and not row.unharmed:
        return [f"{name}: proven, but nothing was repaired"]
    if row.says and not told:
        return [f"{name}: proven, but it was to be named"]
    if row.says and not re.search(row.says, told):
        return [f"{name}: told '{told}', not /{row.says}/"]
    return [f"{name}: not repaired: {told}"] if told and not row.says else []


@pytest.mark.parametrize("names", GROUPS, ids=[group[0] for group in GROUPS])
def test_each_broken_seat_is_repaired_or_named_and_none_keeps_the_others(seats: Seats, names: list[str]) -> None:
    here = dict(zip(SEATS, names, strict=False))
    for seat, name in here.items():
        seats.root(seat, BREAKS[name].how)
    run = seats.site([*here, WELL])
    told = {seat: outcome(run, seat) for seat in here}
    changed = run.changed
    seats.told |= {name: told[seat] or ("repaired" if changed.get(seat) else "unharmed") + ", and proven" for seat, name in here.items()}
    wrong = [fault for seat, name in here.items() for fault in faults(name, BREAKS[name], told[seat], changed.get(seat, 0))]
    wrong += [f"{here[seat]}: said to be proven, but {no}" for seat in here if not told[seat] and (no := works(seats, seat))]
    wrong += [] if re.search(PROVEN.format(seat=WELL), run.output, re.M) else ["the seat that is well was not proven"]
    wrong += ["the run ended well although a seat was not proven"] if any(told.values()) and run.status == 0 else []
    for seat, name in here.items():
        seats.root(seat, BREAKS[name].mend or "true")
    after = seats.site(list(here)) if any(told.values()) else run
    left = {seat: sentence for seat in here if (sentence := outcome(after, seat))}
    wrong += [f"{here[seat]}: not well when that is mended: {sentence}" for seat, sentence in left.items()]
    seats.renew(list(left))
    assert wrong == [], f"{json.dumps(wrong, indent=1)}\n{run.output[-8000:]}"
