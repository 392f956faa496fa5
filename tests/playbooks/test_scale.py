"""Five hundred seats against the API alone: calls and seconds of a class's life, beside a loop of amazon.aws.ec2_instance over fifty.

Figures go to test-results/scale.json. Calls are asserted, times are not.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.organiser import CLASSROOM, ROOT, SIZE, Organiser, organised

pytestmark = pytest.mark.slow  # a quarter of an hour, of which four minutes are EC2's rate of two launches a second
SEATS = [f"s{number:03}" for number in range(1, 501)]
LOOPED = 50
LIFE = {
    "launch": ("playbooks/provision.yml",),
    "no-op": ("playbooks/provision.yml",),
    "stop": ("playbooks/stop.yml",),
    "start": ("playbooks/provision.yml",),
    "teardown": ("playbooks/teardown.yml", "-e", "confirm=true"),
}
LOOP = f"""
- hosts: localhost
  tasks:
    - name: Launch one after the other
      amazon.aws.ec2_instance:
        state: running
        filters: {{"tag:classroom:name": "{CLASSROOM}", "tag:classroom:seat": "{{{{ item }}}}", instance-state-name: [pending, running]}}
        tags: {{"classroom:name": "{CLASSROOM}", "classroom:seat": "{{{{ item }}}}"}}
        image_id: "{{{{ image }}}}"
        instance_type: {SIZE}
      loop: "{{{{ range(1, {LOOPED + 1}) | map('string') | map('regex_replace', '^', 'l') }}}}"
"""


@pytest.fixture
def organiser(tmp_path: Path) -> Iterator[Organiser]:
    with organised(tmp_path) as somebody:
        somebody.enrol(*SEATS)
        yield somebody


def test_five_hundred_seats(organiser: Organiser) -> None:
    organiser.control("Throttle", on=True)
    figures = {name: measured(organiser, *command) for name, command in LIFE.items()}
    organiser.control("Throttle", on=False)
    figures |= looped(organiser)
    results = ROOT / "test-results"
    results.mkdir(exist_ok=True)
    (results / "scale.json").write_text(json.dumps(figures, indent=1) + "\n")
    calls = {name: figure["calls"] for name, figure in figures.items()}
    assert calls["launch"] <= 2 * len(SEATS)
    assert calls["no-op"] < len(SEATS) / 10
    assert max(calls["stop"], calls["start"], calls["teardown"]) < len(SEATS) / 2
    assert calls["launch"] / len(SEATS) < calls["loop"] / LOOPED
    assert calls["no-op"] / len(SEATS) < calls["loop, no-op"] / LOOPED


def measured(organiser: Organiser, *command: str) -> dict:
    """Run a playbook; return its seconds, and its calls, in all and by action."""
    organiser.control("Calls", clear=True)
    begin = time.monotonic()
    done = subprocess.run(organiser.type(*command), cwd=ROOT, env=organiser.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    seconds, calls = time.monotonic() - begin, organiser.control("Calls")
    organiser.hold()
    return {"seconds": round(seconds, 1), "calls": sum(calls.values()), "by action": calls}


def looped(organiser: Organiser) -> dict[str, dict]:
    """Launch seats as a loop of ec2_instance does, and once more with nothing to do."""
    playbook = organiser.settings.with_name("loop.yml")
    playbook.write_text(LOOP)
    return {name: measured(organiser, str(playbook), "-e", f"image={organiser.image}") for name in ("loop", "loop, no-op")}
