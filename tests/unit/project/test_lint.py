"""What is linted: what changed and what hangs on it, and that what is wrong there is found. Real linters, in a project of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLUGINS = "collections/ansible_collections/classroom/gpu/plugins"
TEXTS = {
    "playbooks/verify.yml": "roles: [jupyter]",
    "roles/vim/tasks/main.yml": "classroom.gpu.managed_files:",
    "molecule/vim/verify.yml": "classroom.gpu.vim_plugins:",
}


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, set()),
        ({"tests/unit/test_x.py": True, "docs/new.md": True, "tests/gone.py": False}, set()),
        ({"playbooks/stop.yml": True}, {"playbooks/stop.yml"}),
        ({"roles/vim/tasks/main.yml": True, "roles/vim/templates/vimrc.j2": True}, {"roles/vim"}),
        ({"roles/jupyter/meta/argument_specs.yml": True}, {"roles/jupyter", "playbooks/verify.yml"}),
        ({"roles/jupyter/defaults/main.yml": True}, {"roles/jupyter", "playbooks/verify.yml"}),
        ({f"{PLUGINS}/modules/managed_files.py": True}, {f"{PLUGINS}/modules/managed_files.py", "roles/vim/tasks/main.yml"}),
        ({f"{PLUGINS}/module_utils/ec2/launch.py": True}, None),
        ({".ansible-lint": True}, None),
        ({"requirements.txt": True}, None),
        ({"ansible.cfg": True}, None),
        ({"roles/old/tasks/main.yml": False, "roles/new/tasks/main.yml": True}, None),
        (None, None),
    ],
)
def test_what_changed_takes_what_hangs_on_it(changed: dict[str, bool] | None, wanted: set[str] | None) -> None:
    lint = pytest.importorskip("tests.lint")
    assert lint.scope(changed, TEXTS) == wanted


FILES = {
    ".ansible-lint": "---\nprofile: production\nstrict: true\nextra_vars:\n  place: here\n",
    ".yamllint": "---\nextends: default\n",
    "inventory/00_hosts.yml": "---\nall:\n  hosts:\n    localhost:\n      ansible_connection: local\n",
    "ansible.cfg": "[defaults]\nroles_path = roles\n",
    "playbooks/play.yml": "---\n- name: Play\n  hosts: localhost\n  gather_facts: false\n  roles: [one]\n",
    "roles/one/tasks/main.yml": "---\n- name: Say it\n  ansible.builtin.debug:\n    msg: one\n",
    "roles/one/handlers/main.yml": "---\n- name: Say more\n  ansible.builtin.debug:\n    msg: more\n",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that is clean, on a branch that has left main."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in (FILES | {name: (ROOT / name).read_text() for name in ("tests/lint.py", "pyproject.toml")}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    me = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], [*me, "commit", "-qm", "x"], ["checkout", "-qb", "work"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def lint(project: Path, *arguments: str) -> tuple[int, str]:
    """Run the linters as make does and return exit status and all that is said."""
    shell = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "ANSIBLE_"))}
    shell["PATH"] = f"{Path(sys.executable).parent}:{shell['PATH']}"
    command = [sys.executable, "tests/lint.py", *arguments]
    done = subprocess.run(command, cwd=project, env=shell, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


TASKS, HANDLERS, PLAY, LIST = "roles/one/tasks/main.yml", "roles/one/handlers/main.yml", "playbooks/play.yml", "list.yaml"
SYNTAX = {TASKS: ("debug", "debig", "couldn't resolve module/action 'ansible.builtin.debig'")}
RULES = {HANDLERS: ("ansible.builtin.", "", "fqcn[action-core]"), PLAY: ("Play", "play", "name[casing]")}
YAML = {LIST: ("", "---\na: [ 1, 2]\n", "too many spaces inside brackets")}
SYNTAX_OF_A_PLAY = {PLAY: ("hosts:", "hots:", "'hots' is not a valid attribute for a Play")}
ALONE = [pytest.param(harms, marks=pytest.mark.slow) for harms in (SYNTAX, RULES, YAML, SYNTAX_OF_A_PLAY)]


@pytest.mark.parametrize("harms", [SYNTAX | RULES | YAML, *ALONE], ids=["all", "syntax", "rules", "yaml", "syntax of a play"])
def test_what_is_wrong_in_changed_files_is_found(project: Path, harms: dict[str, tuple[str, str, str]]) -> None:
    for file, (right, wrong, _) in harms.items():
        path = project / file
        path.write_text(path.read_text().replace(right, wrong) if path.exists() else wrong)
    status, said = lint(project)
    (project / LIST).unlink(missing_ok=True)
    subprocess.run(["git", "checkout", "-q", "."], cwd=project, check=True)
    assert status and all(says in said for _, _, says in harms.values()), said


@pytest.mark.slow
def test_a_project_without_a_change_is_clean_and_all_of_it_can_be_asked_for(project: Path) -> None:
    (status, said), (all_status, all_said) = lint(project), lint(project, "--all")
    assert (status, all_status) == (0, 0), said + all_said
    assert said.startswith("lint: clean: what changed since main, 0 of") and all_said == "lint: clean: everything\n"
