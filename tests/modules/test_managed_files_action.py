"""What a role says instead of a file's content, by real Ansible with a role of this test's own on this machine."""

from __future__ import annotations

import getpass
import json
import os
import sys
from pathlib import Path

import pytest

from tests.support import warm

ROOT = Path(__file__).parents[2]
TASKS = """
- name: Write
  classroom.gpu.managed_files:
    files:
      - {path: "{{ there }}/template", template: one.j2, vars: {number: "{{ 6 * 7 }}"}, owner: ME}
      - {path: "{{ there }}/again", template: one.j2, vars: {number: 43}, owner: ME}
      - path: "{{ there }}/by_ansible"
        content: "{{ lookup('ansible.builtin.template', 'one.j2', template_vars={'number': 42}) }}"
        owner: ME
      - {path: "{{ there }}/src", src: deep/as_it_is, owner: ME}
      - {path: "{{ there }}/content", content: "{{ '{{ not filled in }}' }}", owner: ME}
      - {path: "{{ there }}/gone", state: absent, template: nowhere.j2, owner: ME}
      - {path: "{{ there }}/secret", template: secret.j2, secret: true, owner: ME}
""".replace("ME", getpass.getuser())
TEMPLATE = "# {{ ansible_managed }}\n{% if number == 42 %}\nforty-two of {{ role_has }}\n{% endif %}\n{% include 'part.j2' %}\n"


@pytest.fixture
def role(tmp_path: Path) -> Path:
    """A role with templates and files, and a play that runs it."""
    texts = {
        "tasks/main.yml": TASKS,
        "defaults/main.yml": "role_has: a default\npassword: opensesame\n",
        "templates/one.j2": TEMPLATE,
        "templates/part.j2": "part {{ number }}\n",
        "templates/secret.j2": "it is {{ password }}\n",
        "files/deep/as_it_is": "{{ as it is }}\n",
    }
    for name, text in texts.items():
        path = tmp_path / "roles/own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "there").mkdir()
    (tmp_path.parent / "ansible.cfg").touch()  # one for all: nobody's settings
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "roles": ["own"]}]))
    return tmp_path


def play(role: Path, *options: str) -> str:
    """Run the play on this machine, and return all that it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    own = {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_CONFIG": str(role.parent / "ansible.cfg")}
    typed = ("-i", "here,", "-c", "local", "-e", f"there={role}/there", *options, "-e", f"ansible_python_interpreter={sys.executable}")
    done = warm.run("ansible-playbook", *typed, str(role / "play.yml"), environment=clean | own)
    return done.stdout + done.stderr


def test_templates_and_files_of_the_role_are_written_and_secrets_shown_to_nobody(role: Path) -> None:
    assert "changed=1" in (foreseen := play(role, "--check", "--diff")), foreseen
    assert not os.listdir(role / "there")
    said = play(role, "--diff", "-vvv")
    assert "forty-two of a default" in said and "opensesame" not in said + foreseen
    assert {path.name: path.read_text(encoding="utf-8") for path in (role / "there").iterdir()} == {
        "by_ansible": "# Ansible managed\nforty-two of a default\npart 42\n",
        "template": "# Ansible managed\nforty-two of a default\npart 42\n",
        "again": "# Ansible managed\npart 43\n",
        "src": "{{ as it is }}\n",
        "content": "{{ not filled in }}",
        "secret": "it is opensesame\n",
    }
    assert "changed=0" in play(role)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('{path: "{{ there }}/x", template: one.j2, content: x}', "has more than one of content, template and src"),
        ('{path: "{{ there }}/x", src: nowhere}', "Could not find or access 'nowhere'"),
        ('{path: "{{ there }}/x"}', "state is file but any of the following are missing: content, template, src"),
        ('{path: "{{ there }}/x", template: one.j2}', "'number' is undefined"),
    ],
)
def test_what_cannot_be_filled_in_is_told(role: Path, entry: str, said: str) -> None:
    (role / "roles/own/tasks/main.yml").write_text(f"- classroom.gpu.managed_files:\n    files:\n      - {entry}\n")
    printed = " ".join(play(role).split())
    assert "failed=1" in printed and said in printed, printed
