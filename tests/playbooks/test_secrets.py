"""Keys, authority and certificate of a class by a real run of Ansible: what it prints, what it changes, how much it runs."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from tests.support import warm

ROOT = Path(__file__).parents[2]
PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  roles: [class_secrets]
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: jupyter, tasks_from: certificate.yml}
      vars: {jupyter_class_dir: "{{ class_secrets_dir }}", jupyter_seat: s01, jupyter_addresses: [198.51.100.7]}
"""


class Desk:
    """Somebody with a class in a folder, whose only seat is this machine, below another folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.playbook, self.etc = folder / "class", folder / "play.yml", folder / "etc"
        self.etc.mkdir()
        role = (ROOT / "roles/jupyter/tasks/certificate.yml").read_text(encoding="utf-8").replace("/etc/jupyter", str(self.etc))
        (folder / "roles/jupyter/tasks").mkdir(parents=True)
        (folder / "roles/jupyter/tasks/certificate.yml").write_text(role, encoding="utf-8")
        self.playbook.write_text(PLAYBOOK)
        (folder / "hosts.yml").write_text("all: {hosts: {localhost: {ansible_connection: local}}}\n")
        self.variables = {"class_secrets_dir": str(self.folder), "class_secrets_classroom": "class", "jupyter_user": "root"}
        self.variables |= {"jupyter_certificate_days": 365, "ansible_python_interpreter": sys.executable}

    def run(self, *options: str) -> tuple[dict, str]:
        """Run the playbook; return the counts of localhost and all that was printed."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))}
        shell = clean | {"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"}
        typed = ("-i", f"{self.playbook.parent}/hosts.yml", "-e", json.dumps(self.variables), *options, str(self.playbook))
        done = warm.run("ansible-playbook", *typed, environment=shell)
        recap = next((line for line in done.stdout.splitlines() if line.startswith("localhost ") and "ok=" in line), "")
        return dict(word.split("=") for word in recap.split(":")[-1].split()), done.stdout + done.stderr

    def lines(self) -> list[str]:
        """Return what only its owner may read, line by line."""
        private = [
            path
            for path in (*self.folder.rglob("*"), *self.etc.iterdir())
            if path.is_file() and not stat.S_IMODE(path.stat().st_mode) & 0o77
        ]
        public = (self.folder / "id_ed25519.pub").read_text()
        texts = [path.read_text() for path in private if path.suffix != ".pub"]
        return [line for text in texts for line in text.splitlines() if line not in public and not line.startswith("-----")]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.mark.skipif(os.geteuid() != 0, reason="the seat's half belongs to root")
def test_a_run_makes_all_of_it_says_nothing_secret_and_the_next_has_nothing_to_do(desk: Desk) -> None:
    counts, printed = desk.run("--diff", "-vvvv")
    assert (counts["failed"], counts["changed"]) == ("0", "2"), printed
    assert len(desk.lines()) >= 4 + 2 * 2 + 1
    assert [line for line in desk.lines() if line in printed] == []
    # One module process that looks, one that installs; none for the class.
    assert printed.count("EXEC /bin/sh") == printed.count("Using module file") == printed.count("seat_certificate.py") == 2
    for options in (["--check", "-vvvv"], ["-vvvv"]):
        counts, printed = desk.run(*options)
        assert (counts["failed"], counts["changed"], printed.count("Using module file")) == ("0", "0", 1), printed


def test_seats_without_their_secrets_stop_a_run_with_what_to_do(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.variables["class_secrets_seats_exist"] = True
    counts, printed = desk.run()
    told = f"Seats of class class exist, but {desk.folder} lacks id_ed25519, ca.key, secret. Copy that folder from the machine"
    assert counts["failed"] == "1" and told in printed
    assert not desk.folder.exists()
