"""What a setting must not be: one task looks at all seats' before a seat is touched, and says role, setting and file in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.support import warm

ROOT = Path(__file__).parents[2]
CONFIGURE = yaml.safe_load((ROOT / "playbooks/configure.yml").read_text(encoding="utf-8"))
LOOKED_AT = CONFIGURE[0]["tasks"][0]["classroom.gpu.role_arguments"]["roles"]
IMPORTED = [task["ansible.builtin.import_role"] for task in CONFIGURE[1]["tasks"]]
FILE = "group_vars/classroom_other.yml"
# What the rehearsal's settings say; class other has none of its own.
GIVEN = {"classroom_ends": "never", "classroom_account": "123456789012"}


def run(environment: dict[str, str], *command: str, **settings: object) -> tuple[int, list[str], str]:
    """Run a command for class other, which has the seat s01; return its status, what it refused, and all that it printed."""
    done = warm.run(*command, "-e", json.dumps(GIVEN | settings), environment=environment | {"CLASSROOM": "other"})
    said = [line.removeprefix("localhost: ") for line in done.stdout.splitlines() if line.startswith("localhost: ")]
    return done.returncode, said, done.stdout + done.stderr


def test_every_role_of_the_seats_is_looked_at_once_and_no_seat_looks_again() -> None:
    assert [role["name"] for role in IMPORTED] == LOOKED_AT
    assert [role["rolespec_validate"] for role in IMPORTED] == [False] * len(LOOKED_AT)
    site = yaml.safe_load((ROOT / "site.yml").read_text(encoding="utf-8"))
    assert [play["ansible.builtin.import_playbook"] for play in site] == ["playbooks/provision.yml", "playbooks/configure.yml"]


def test_settings_that_are_right_pass(environment: dict[str, str]) -> None:
    look = ("ansible", "localhost", "-m", "classroom.gpu.role_arguments", "-a", json.dumps({"roles": LOOKED_AT}))
    status, _, output = run(environment, *look, jupyter_reserve_path="{{ jupyter_reserve_mib }}/of a default")
    assert status == 0 and "Every seat's settings are what the roles take." in output, output


@pytest.mark.parametrize(
    ("settings", "sentences"),
    [
        (
            {"classroom_idle_minutes": "an hour", "classroom_course_data": [{"url": "https://example.org/x", "sha265": "0", "size": 1}]},
            [
                "Role autostop: argument 'autostop_idle_minutes' is of type str and we were unable to convert to int: {...}"
                f" Set classroom_idle_minutes in {FILE}.",
                f"Role course: missing required arguments: sha256 found in course_data. Set classroom_course_data in {FILE}.",
                "Role course: nothing reads course_data.sha265. Supported parameters include: {...}, unpacked_size, url."
                f" Set classroom_course_data in {FILE}.",
            ],
        ),
        (
            {"classroom_vim_source": "{{ nowhere }}"},
            [f"Role vim: 'vim_source' has no value: 'nowhere' is undefined. Set classroom_vim_source in {FILE}."],
        ),
    ],
)
def test_what_a_role_cannot_take_is_refused_before_a_seat_is_touched(
    environment: dict[str, str], settings: dict[str, object], sentences: list[str]
) -> None:
    status, said, output = run(environment, "ansible-playbook", "playbooks/configure.yml", **settings)
    assert status == 2 and "Configure and prove the seats" not in output, output
    assert len(said) == len(sentences), said
    for line, sentence in zip(said, sentences, strict=True):
        begin, _, end = sentence.partition("{...}")
        assert line.startswith(begin) and line.endswith(end), line


def test_a_setting_that_nothing_reads_is_refused_with_what_was_meant(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"seats": {"vars": {"classroom_idel_minutes": 5, "jupyter_prot": 9000}}}))
    several = ("-i", f"{ROOT}/inventory", "-i", f"{tmp_path}/hosts.yml")
    status, said, _ = run(environment, "ansible-playbook", *several, "playbooks/configure.yml")
    assert status == 2 and said == [
        f"Nothing reads classroom_idel_minutes. Did you mean classroom_idle_minutes? Mend or remove it in {FILE}.",
        f"Nothing reads jupyter_prot. Did you mean jupyter_port? Mend or remove it in {FILE}.",
    ]
