"""What seat_evidence says is wrong with a seat: parsers by what programs print, and the rest by this machine's own files and processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.common import cgroup, processes, tcp_listener
from ansible_collections.classroom.gpu.plugins.module_utils.seat import health as seat_health


class Module:
    """Answers each program with what it is told to, by the first of its words that is known."""

    def __init__(self, **answers: str | tuple[int, str, str]) -> None:
        self.answers = {name.replace("_", "-"): answer for name, answer in answers.items()}
        self.ran: list[list[str]] = []

    def run_command(self, command: list[str], **_: object) -> tuple[int, str, str]:
        self.ran.append(command)
        answer = next((self.answers[word] for word in command if word in self.answers), (127, "", "not found"))
        return (0, answer, "") if isinstance(answer, str) else answer


@pytest.mark.parametrize(
    ("sources", "hosts"),
    [
        ("deb http://deb.example.org/debian bookworm main\n", ["deb.example.org"]),
        ("deb [signed-by=/k] https://a.example:8443/x /\n# deb http://old.example/ x main\n", ["a.example"]),
        ("Types: deb\nURIs: http://eu-west-1.ec2.archive.ubuntu.com/ubuntu http://security.ubuntu.com/ubuntu\n",
         ["eu-west-1.ec2.archive.ubuntu.com", "security.ubuntu.com"]),
        ("deb http://198.19.0.1:8080/apt/good /\ndeb file:///srv/apt ./\ndeb http://localhost/ x main\n", []),
        ("", []),
    ],
)  # fmt: skip
def test_the_names_that_a_seat_needs_are_those_of_its_sources(sources: str, hosts: list[str]) -> None:
    assert seat_health.hosts_of(sources) == hosts


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "apt/sources.list").write_text("deb http://deb.example.org/debian bookworm main\n")
    return tmp_path


@pytest.mark.parametrize(
    ("resolver", "answers", "said"),
    [
        ("nameserver 127.0.0.53\n", {"getent": "192.0.2.1 STREAM\n"}, ""),
        ("nameserver 192.0.2.53\n", {"getent": (124, "", "")}, "its name servers 192.0.2.53 do not answer"),
        ("", {"getent": (2, "", "")}, "/etc/resolv.conf names no server"),
        (None, {"getent": (2, "", "")}, "/etc/resolv.conf names no server"),
        ("", {"getent": (2, "", ""), "apt-config": 'Acquire::http::Proxy "http://proxy.example:3128";\n'}, ""),
        ("", {"getent": (2, "", ""), "apt-config": 'Acquire::http::Timeout "20";\n'}, "names no server"),
    ],
)
def test_that_no_name_resolves_is_told(etc: Path, resolver: str | None, answers: dict, said: str) -> None:
    if resolver is not None:
        (etc / "resolv.conf").write_text(resolver)
    found = seat_health.names(Module(**{name.replace("-", "_"): answer for name, answer in answers.items()}), etc)
    assert len(found) == bool(said) and said in "".join(found)
    assert not found or "No name resolves on the seat (deb.example.org)" in found[0] and "type '" in found[0]


AUDIT = """The following packages are only half configured, probably due to problems
configuring them the first time.  The configuration should be retried using
dpkg --configure <package> or the configure menu option in dselect:
 broken               A package whose script fails

"""
BROKEN_SOURCE = "E: Malformed entry 1 in list file /etc/apt/sources.list (Suite)\nE: The list of sources could not be read.\n"
GOOD, EMPTY, BAD = "Package: vim\nVersion: 9\n", "", "\0\1\2 damaged"


@pytest.mark.parametrize(
    ("answers", "listed", "said"),
    [
        ({"dpkg": "", "apt_get": "MetaKey: main\n"}, GOOD, []),
        ({"dpkg": "", "apt_get": ""}, EMPTY, []),
        ({"dpkg": AUDIT, "apt_get": ""}, GOOD, ["Packages are half installed (broken): run site.yml, which repairs it"]),
        (
            {"dpkg": "", "apt_get": (100, "", BROKEN_SOURCE)},
            GOOD,
            ["Malformed entry 1 in list file /etc/apt/sources.list (Suite)): correct"],
        ),
        ({"dpkg": "", "apt_get": ""}, BAD, ["debian_Packages is damaged): type 'sudo rm -r /var/lib/apt/lists/* && sudo"]),
        ({"dpkg": "", "apt_get": (124, "", "")}, GOOD, []),  # a busy machine
    ],
)
def test_packages_that_are_half_there_and_lists_that_cannot_be_read_are_named(
    tmp_path: Path, etc: Path, answers: dict, listed: str, said: list[str]
) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/debian_Packages").write_text(listed)
    os.utime(tmp_path / "lists", (0, 0))  # before the sources were touched
    found = seat_health.packages(Module(**answers), tmp_path / "lock", tmp_path / "lists", etc)
    assert [part in sentence for part, sentence in zip(said, found, strict=True)] == [True] * len(said)


def test_apt_is_asked_only_where_a_source_is_new_to_it(tmp_path: Path, etc: Path) -> None:
    (tmp_path / "lists").mkdir()
    until = time.time() + 100
    os.utime(tmp_path / "lists", (until, until))
    asked = Module(dpkg="", apt_get=(100, "", BROKEN_SOURCE))
    assert seat_health.packages(asked, tmp_path / "lock", tmp_path / "lists", etc) == []
    assert [command[2] for command in asked.ran] == ["dpkg"]


def test_what_is_being_installed_just_now_is_no_trouble(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    hold = [
        sys.executable,
        "-c",
        "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()",
    ]
    with subprocess.Popen([*hold, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"\n"
        assert seat_health.packages(Module(dpkg=AUDIT), lock, tmp_path) == []
        other.communicate(b"\n")
    assert len(seat_health.packages(Module(dpkg=AUDIT), lock, tmp_path)) == 1


class Disk:
    """What statvfs says of a disk."""

    def __init__(self, free_mib: int = 1000, files: int = 100000, flags: int = 0) -> None:
        self.f_bavail, self.f_frsize, self.f_flag, self.f_files, self.f_favail = free_mib << 8, 4096, flags, 1 << 20, files


@pytest.mark.parametrize(
    ("disk", "said"),
    [
        (Disk(), ""),
        (Disk(flags=os.ST_RDONLY), "is read-only, as one with errors is"),
        (Disk(free_mib=3), "is full (3 MiB are free)"),
        (Disk(files=0), "has room for no more files"),
    ],
)
def test_a_disk_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Disk, said: str) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    (tmp_path / "below").mkdir()
    found = seat_health.disks([str(tmp_path), str(tmp_path / "below"), str(tmp_path / "nowhere")])
    assert len(found) == bool(said) and said in "".join(found)


def test_this_machines_disks_can_be_written_to(tmp_path: Path) -> None:
    assert seat_health.disks([str(tmp_path)]) == []


def test_failed_units_count_where_they_are_ours() -> None:
    listing = (
        "autostop.service loaded failed failed Stop\njupyter-reserve.timer loaded failed failed x\nsnapd.service loaded failed failed y\n"
    )
    told, warned = seat_health.services(Module(systemctl=listing))
    assert "autostop.service, jupyter-reserve.timer failed: run site.yml" in told[0]
    assert warned == ["snapd.service failed: none of it is the class's. 'systemctl status snapd.service' on the seat says why."]
    assert seat_health.services(Module(systemctl="")) == ([], [])


# --- processes ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def process() -> Iterator[subprocess.Popen]:
    with subprocess.Popen(["sleep", "1000"]) as started:
        yield started
        started.kill()


def test_a_stopped_process_is_told_from_one_that_sleeps_and_goes_on(process: subprocess.Popen) -> None:
    pid = str(process.pid)
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    assert processes.state(pid) == processes.STOPPED
    processes.go_on(pid)
    os.waitid(os.P_PID, process.pid, os.WCONTINUED)
    assert processes.state(pid) != processes.STOPPED
    assert processes.state("0") == processes.state("") == ""


GROUP = "/system.slice/jupyter.service"
SHOWN = "MainPID=10\nControlGroup={}\nFreezerState={}\nSubState=running\n"
SERVER, KERNEL, EDITOR = "python\0/opt/jupyter/bin/jupyter-lab\0", "python\0-m\0ipykernel_launcher\0", "vim\0a.py\0"


def seat_processes(proc: Path, **states: str) -> Path:
    """Make a /proc with a server, a kernel and a terminal's editor, of one control group."""
    for pid, name, command in (("10", "server", SERVER), ("11", "kernel", KERNEL), ("12", "editor", EDITOR)):
        (proc / pid).mkdir()
        (proc / pid / "stat").write_text(f"{pid} (a (strange) name) {states.get(name, 'S')} 1 1\n")
        (proc / pid / "cgroup").write_text(f"0::{GROUP}\n")
        (proc / pid / "cmdline").write_text(command)
    return proc


@pytest.mark.parametrize(
    ("states", "freezer", "counts", "warns"),
    [
        ({}, "running", "", ""),
        ({"server": "T"}, "running", "jupyter.service's process 10 is stopped: run site.yml", ""),
        ({}, "frozen", "jupyter.service is frozen: run site.yml", ""),
        ({"kernel": "T"}, "running", "", "A kernel of the student's is stopped (11), and is left so: 'kill -CONT 11'"),
        ({"editor": "T"}, "running", "", ""),  # Ctrl-Z
        ({"server": "t"}, "", "", ""),  # a debugger
    ],
)
def test_what_is_stopped_counts_where_it_is_the_server(tmp_path: Path, states: dict, freezer: str, counts: str, warns: str) -> None:
    module = Module(systemctl=SHOWN.format(GROUP, freezer))
    unit, told, warned = seat_health.service(module, "jupyter.service", seat_processes(tmp_path, **states))
    assert unit["ControlGroup"] == GROUP
    for said, found in ((counts, told), (warns, warned)):
        assert len(found) == bool(said) and said in "".join(found)


def test_a_machine_without_the_service_has_no_trouble_with_it(tmp_path: Path) -> None:
    assert seat_health.service(Module(), "jupyter.service", tmp_path)[1:] == ([], [])


# --- the port -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("\t\ttcp dport 8888 drop", True),
        ("tcp dport 8888 counter packets 3 bytes 180 reject with icmp port-unreachable", True),
        ("tcp dport { 22, 8000-9000 } drop", True),
        ("-A INPUT -p tcp -m tcp --dport 8888 -j DROP", True),
        ("-A INPUT -p tcp -m multiport --dports 80,8800:8900 -j REJECT --reject-with icmp-port-unreachable", True),
        ("ip saddr { 198.19.0.1 } tcp dport 8888-8888 accept", False),
        ("tcp dport 22 drop", False),
        ("tcp sport 8888 drop", False),
        ("type filter hook input priority filter; policy drop;", False),
    ],
)
def test_a_rule_that_shuts_the_port_is_found(rule: str, found: bool) -> None:
    assert seat_health.rules(f"table inet x {{\n{rule}\n}}\n", 8888) == ([" ".join(rule.split())] if found else [])


def test_a_rule_that_shuts_the_seat_out_itself_is_told_from_others() -> None:
    shuts = ["tcp dport 8888 drop", "-A INPUT -p tcp -m tcp --dport 8888 -j DROP"]
    others = [
        'iifname "eth0" tcp dport 8888 drop',
        "-A INPUT -i eth0 -p tcp --dport 8888 -j DROP",
        "ip saddr 192.0.2.1 tcp dport 8888 drop",
    ]
    assert seat_health.everywhere([*shuts, *others]) == shuts


def test_a_seat_without_a_firewall_of_its_own_has_no_rules() -> None:
    assert seat_health.firewall(Module(), 8888) == []
    assert seat_health.firewall(Module(nft="tcp dport 8888 drop\n", iptables_save="-A INPUT -p tcp --dport 8888 -j DROP\n"), 8888) == [
        "tcp dport 8888 drop",
        "-A INPUT -p tcp --dport 8888 -j DROP",
    ]


def test_who_listens_on_the_port_is_the_service_or_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        inside, told = seat_health.door(Module(), port, "/no.service")
        assert inside == {"listens": True, "answers": True, "rules": []}
        assert f"Not Jupyter but process {os.getpid()} of " in told[0] and f"end it ('sudo kill {os.getpid()}' on the seat)" in told[0]
        own = tcp_listener.holder(port).groups[0]
        assert seat_health.door(Module(), port, own)[1] == []
    assert seat_health.door(Module(), port, own) == ({"listens": False, "answers": False, "rules": []}, [])


def test_the_members_of_a_group_are_told_in_order(tmp_path: Path) -> None:
    seat_processes(tmp_path)
    assert cgroup.members(GROUP, tmp_path) == ["10", "11", "12"]


def test_what_kernels_run_first_is_found(tmp_path: Path) -> None:
    profile = tmp_path / ".ipython/profile_default"
    (profile / "startup").mkdir(parents=True)
    for name in ("startup/README", "startup/00-a.py", "startup/b.ipy", "ipython_config.py", "history.sqlite"):
        (profile / name).touch()
    assert seat_health.startup(tmp_path) == [str(profile / name) for name in ("startup/00-a.py", "startup/b.ipy", "ipython_config.py")]
    assert seat_health.startup(tmp_path / "nobody") == []
