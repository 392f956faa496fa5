"""What a run prints where each seat goes its own way: a line for each result, which names its task; a refusal as a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.classroom.gpu.plugins.callback.console import outcome

from tests.support import warm

TASKS = [
    {"name": "Look around", "ansible.builtin.set_fact": {"seen": True}},
    {"name": "Take each", "ansible.builtin.assert": {"that": "item > 0", "quiet": True}, "loop": [1, 2]},
    {"name": "Refuse s02", "ansible.builtin.assert": {"that": "inventory_hostname == 's01'", "quiet": True, "fail_msg": "Not s02."}},
    {"name": "Write", "ansible.builtin.debug": {"msg": "written"}, "changed_when": True},
]


def printed(tmp_path: Path, environment: dict[str, str], **play: str) -> list[str]:
    """Run the tasks on two hosts of this machine; return the lines of the play."""
    book = [{"name": "Go", "hosts": "s01,s02", "gather_facts": False, "tasks": TASKS, **play}]
    (tmp_path / "book.yml").write_text(yaml.safe_dump(book))
    done = warm.run("ansible-playbook", "-i", "s01,s02,", "-c", "local", str(tmp_path / "book.yml"), environment=environment)
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stdout.partition("PLAY RECAP")[0].splitlines()


@pytest.mark.parametrize("strategy", ["ansible.builtin.host_pinned", "ansible.builtin.free"])
def test_where_each_goes_its_own_way_a_result_names_its_task(tmp_path: Path, environment: dict[str, str], strategy: str) -> None:
    lines = printed(tmp_path, environment, strategy=strategy)
    looped = ["ok: [{}] Take each (item=1)", "ok: [{}] Take each (item=2)"]
    of_one = ["ok: [{}] Look around", *looped]
    assert sorted(line for line in lines if "s01" in line) == sorted(
        line.format("s01") for line in [*of_one, "ok: [{}] Refuse s02", "changed: [{}] Write"]
    )
    assert [line for line in lines if "[s02]" in line] == [line.format("s02") for line in of_one]
    said = lines.index("s02: Not s02.")
    assert lines[said - 1].startswith("TASK [Refuse s02] ***")
    assert sum(line.startswith("TASK") for line in lines) == 1


def test_where_all_go_together_a_task_has_its_banner(tmp_path: Path, environment: dict[str, str]) -> None:
    lines = printed(tmp_path, environment)
    assert [line.split("]")[0] for line in lines if line.startswith("TASK")] == [f"TASK [{task['name']}" for task in TASKS]


def test_a_seat_that_cannot_be_reached_is_told_in_a_line(tmp_path: Path, environment: dict[str, str]) -> None:
    """Nothing listens at that port of this machine, which SSH says in its own words."""
    book = [{"hosts": "s01", "gather_facts": False, "tasks": [{"ansible.builtin.ping": None}]}]
    (tmp_path / "book.yml").write_text(yaml.safe_dump(book))
    own = environment | {"ANSIBLE_SSH_RETRIES": "0"}
    done = warm.run(
        "ansible-playbook", "-i", "s01,", "-e", "ansible_host=127.0.0.1 ansible_port=1", f"{tmp_path}/book.yml", environment=own
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("s01: ")]
    assert "port 1: Connection refused" in line and "UNREACHABLE" not in done.stdout


@pytest.mark.parametrize(
    ("proof", "line"),
    [
        ({"proven": True, "reused": False, "url": "https://198.18.0.7:8888/"}, "s07 proven: https://198.18.0.7:8888/"),
        ({"proven": True, "reused": True, "url": "https://198.18.0.7:8888/"}, "s07 earlier proof holds: https://198.18.0.7:8888/"),
        ({"proven": False, "reused": False, "msg": "the Tesla T4 is idle"}, "s07 NOT PROVEN: the Tesla T4 is idle"),
    ],
)
def test_only_what_was_seen_in_this_run_is_called_proven(proof: dict, line: str) -> None:
    assert outcome("s07", proof) == line
