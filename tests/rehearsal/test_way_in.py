"""The ways into a seat: whatever a student closes, one stays open and puts the other right; a seat without ours is named with its cause."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.plugin_utils import by_jupyter

from tests.support.bare_seat import Seat

OLD = "2026-01-01T00:00:00+00:00"
# What a student can do to all who log in, and to the image's account.
STUDENT = """
: >/home/ubuntu/.ssh/authorized_keys
usermod --shell /bin/zsh-that-is-not-there ubuntu
rm /etc/sudoers.d/90-cloud-init-users
printf 'echo hello\\nexit\\n' >/home/ubuntu/.bashrc
printf 'PYTHONHOME=/nope\\nPYTHONPATH=/nope\\nPATH=/nope\\nLD_PRELOAD=/nope.so\\n' >/etc/environment
chmod 777 /home/ubuntu
chage --expiredate 0 ubuntu
"""
# What can happen to ours.
OURS = """
: >/var/lib/classroom/.ssh/authorized_keys
usermod --shell /usr/sbin/nologin classroom
rm /etc/sudoers.d/zz-classroom
chmod 777 /var/lib/classroom
echo 'ubuntu ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/90-cloud-init-users
"""
IMAGE = "rm --force --recursive /home/ubuntu/.bashrc; : >/etc/environment"


@pytest.fixture(scope="module")
def seat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seat]:
    folder = tmp_path_factory.mktemp("seat")
    for above in (folder, *folder.parents[:2]):
        above.chmod(0o755)
    one = Seat(folder)
    yield one
    one.end()


def ways(seat: Seat) -> dict[str, str]:
    return {"account": "classroom", "user": "ubuntu", "key": seat.key}


def ready(seat: Seat) -> list[str]:
    """Run what comes first to a seat, and return what it mended."""
    done = seat.ansible("classroom.gpu.seat_ready", ways=ways(seat), launched=OLD)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout[done.stdout.index("{") :])
    assert told["changed"] == bool(told["mended"])
    return told["mended"]


def test_a_seat_of_before_gets_our_way_by_the_images_account_and_nothing_is_done_twice(seat: Seat) -> None:
    assert ready(seat)[0] == "account classroom: made"
    assert ready(seat) == []
    assert "parsed OK" in seat.do("visudo --check")


def test_what_a_student_closes_keeps_nobody_out_and_is_put_right(seat: Seat) -> None:
    seat.do(STUDENT)
    assert ready(seat) == [
        "account ubuntu: shell",
        "/home/ubuntu: owner and mode",
        "/home/ubuntu/.ssh/authorized_keys: the class's key",
        "account ubuntu: expired",
    ]


def test_our_own_way_is_put_right_by_the_images_account(seat: Seat) -> None:
    seat.do(IMAGE)
    seat.do(OURS)
    assert ready(seat) == [
        "account classroom: home and shell",
        "/var/lib/classroom: owner and mode",
        "/var/lib/classroom/.ssh/authorized_keys: content",
        "/etc/sudoers.d/zz-classroom: content",
    ]
    assert ready(seat) == []


def test_a_key_of_somebody_elses_stays(seat: Seat) -> None:
    seat.do("echo 'ssh-rsa AAAAother other' >/home/ubuntu/.ssh/authorized_keys")
    ready(seat)
    assert seat.do("cat /home/ubuntu/.ssh/authorized_keys").splitlines() == ["ssh-rsa AAAAother other", seat.key]


# On a seat that never had our account: how the image's is closed, and the cause that is named.
CLOSED = {
    "emptied keys": (": >/home/ubuntu/.ssh/authorized_keys", "as classroom and as ubuntu, the class's key is not taken"),
    "a shell that is not there": ("usermod --shell /bin/nope ubuntu", "as classroom and as ubuntu, the class's key is not taken"),
    "nologin": ("usermod --shell /usr/sbin/nologin ubuntu", "as ubuntu, the login shell lets nobody in ('This account is currently not"),
    "a .bashrc that ends": (
        "printf 'echo hello\\nexit\\n' >/home/ubuntu/.bashrc",
        "ends before anything runs, as a .bashrc with an exit does ('hello')",
    ),
    "a .bashrc that waits": ("echo 'sleep 60' >/home/ubuntu/.bashrc", "as ubuntu, the login shell, or sudo, hangs"),
    "no rule of sudo's": ("rm /etc/sudoers.d/90-cloud-init-users", "as ubuntu, the account may not become root ('"),
    "an account that has ended": ("chage --expiredate 0 ubuntu", "as ubuntu, the account has expired ('Your account has expired"),
    "open sudoers": ("chmod 666 /etc/sudoers", "as ubuntu, the account may not become root ('sudo: "),
}
HANGS = CLOSED["a .bashrc that waits"]
WHOLE = """
chmod 440 /etc/sudoers; chage --expiredate -1 ubuntu; usermod --shell /bin/bash ubuntu; rm --force /home/ubuntu/.bashrc
echo 'ubuntu ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/90-cloud-init-users
"""


OURS_GONE = """
! id classroom >/dev/null 2>&1 || userdel --force classroom
getent group classroom >/dev/null || groupadd --system classroom
rm --force --recursive /var/lib/classroom /etc/sudoers.d/zz-classroom
"""


@pytest.fixture
def before(seat: Seat) -> Iterator[Seat]:
    """The seat without our account, of which a group is left, and whole again afterwards."""
    seat.do(f"{OURS_GONE}\necho '{seat.key}' >/home/ubuntu/.ssh/authorized_keys\n{WHOLE}")
    yield seat
    seat.do(WHOLE)


@pytest.mark.parametrize("name", CLOSED)
def test_a_seat_that_lets_nobody_in_is_named_with_the_cause(before: Seat, name: str) -> None:
    script, cause = CLOSED[name]
    before.do(script)
    done = before.ansible(patience=10 if cause in HANGS else 60, paths=[])
    assert done.returncode == 4 and "s01 lets nobody in: " in done.stdout and cause in done.stdout, done.stdout + done.stderr


def test_a_server_that_hangs_is_named_although_an_earlier_run_has_a_connection(before: Seat) -> None:
    assert before.ansible(paths=[]).returncode == 0
    before.stop(signal.SIGSTOP)
    try:
        done = before.ansible(patience=2, paths=[])
    finally:
        before.stop(signal.SIGCONT)
    assert done.returncode == 4 and "SSH's server on it hangs" in done.stdout, done.stdout


def test_the_interpreter_and_what_it_starts_hear_nothing_of_a_students_settings(seat: Seat) -> None:
    seat.do("printf 'PYTHONHOME=/nope\\nPYTHONPATH=/nope\\nPERL5OPT=-Mnope\\nOWN=kept\\nPATH=/nope\\n' >/etc/environment")
    seat.do("echo 'Defaults env_file=/etc/environment' >/etc/sudoers.d/50-environment; chmod 440 /etc/sudoers.d/50-environment")
    done = seat.ansible("ansible.builtin.command", argv=["/usr/bin/env"])
    seat.do(IMAGE)
    assert done.returncode == 0, done.stdout
    assert not re.search("^(PYTHONHOME|PYTHONPATH|PERL5OPT)=", done.stdout, re.MULTILINE)
    assert "OWN=kept" in done.stdout and "PATH=/usr/local/sbin:" in done.stdout and "PYTHONNOUSERSITE=1" in done.stdout


@pytest.mark.parametrize("broken", [False, True])
def test_jupyters_cell_puts_both_ways_back_and_says_what_it_did(before: Seat, broken: bool, tmp_path: Path) -> None:
    """As root without systemd, whose part only notes what it is asked for."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sudo").write_text('#!/bin/sh\nshift; exec "$@"\n')
    (tools / "systemd-run").write_text('#!/bin/sh\nwhile [ "$1" != /usr/bin/python3 ]; do shift; done; exec "$@"\n')
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    before.do(": >/home/ubuntu/.ssh/authorized_keys")
    before.do("echo Nonsense yes >>/etc/ssh/sshd_config" if broken else "true")
    program = by_jupyter.program(ways(before))
    cell = tmp_path / "cell.py"
    cell.write_text(by_jupyter.cell(program))
    said = before.do(f"PATH={tools}:$PATH /usr/bin/python3 {cell}").strip()
    if broken:
        before.do("sed -i /Nonsense/d /etc/ssh/sshd_config")
        with pytest.raises(by_jupyter.NoHelp, match=r"refuses its own settings \('/etc/ssh/sshd_config: line \d+: .*Nonsense") as told:
            by_jupyter.mended(said.splitlines())
        assert told.value.fix == "correct that line, then type `sudo systemctl restart ssh`"
        return
    assert "account classroom: made" in by_jupyter.mended(said.splitlines())
    assert (tmp_path / "asked").read_text().splitlines() == ["unmask ssh.service ssh.socket", "restart ssh"]
    assert ready(before) == []


def test_no_secret_is_in_the_cell(seat: Seat) -> None:
    private = (seat.folder / "id_ed25519").read_text().splitlines()[1]
    assert private not in by_jupyter.program(ways(seat)) and seat.key in by_jupyter.program(ways(seat))
