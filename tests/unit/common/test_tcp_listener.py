"""Who holds a port, in a /proc made for it and in the machine's own, and what a service says about that."""

import os
import socket

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.common import tcp_listener
from ansible_collections.classroom.gpu.plugins.module_utils.common.tcp_listener import Holder
from ansible_collections.classroom.gpu.plugins.modules import boot_service

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ROW = "   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 {inode} 1 0 100 0 0 10 0\n"


def row(port=8888, state="0A", inode=77, address="00000000"):
    return ROW.format(address=address, port=port, state=state, inode=inode)


@pytest.mark.parametrize(
    ("rows", "inodes"),
    [
        ([], set()),
        ([row()], {"77"}),
        ([row(address="0" * 32)], {"77"}),  # as /proc/net/tcp6 writes it
        ([row(), row(inode=78, address="0100007F")], {"77", "78"}),
        ([row(port=8889)], set()),
        ([row(state="01")], set()),  # a connection, not a listener
    ],
)
def test_sockets_that_listen(rows, inodes):
    assert tcp_listener.listening(HEAD + "".join(rows), 8888) == inodes


def process(proc, pid, inode, command=b"python3\0-m\0http.server\0"):
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "fd/3").symlink_to(f"socket:[{inode}]")
    (proc / str(pid) / "fd/0").symlink_to("/dev/null")
    (proc / str(pid) / "cmdline").write_bytes(command)
    (proc / str(pid) / "cgroup").write_text("0::/user.slice\n")


def test_the_process_with_that_socket_is_named(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(HEAD + row())
    process(tmp_path, 9, 76)
    process(tmp_path, 10, 77, b"python3\0" + b"x" * 200)
    found = tcp_listener.holder(8888, tmp_path)
    assert (found.pid, found.groups, len(found.command)) == (10, ("/user.slice",), tcp_listener.LONGEST)
    assert tcp_listener.holder(8889, tmp_path) is None


def test_the_machines_own_ports_can_be_read():
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = tcp_listener.holder(server.getsockname()[1])
    assert found.pid == os.getpid()


OTHER = Holder(10, "ubuntu", "python3 -m http.server 8888", ("/user.slice",))
OWN = Holder(11, "ubuntu", "jupyter-lab", ("/system.slice/jupyter.service",))
SENTENCE = (
    "jupyter.service cannot start: process 10 of ubuntu (python3 -m http.server 8888) listens on its port 8888."
    " End it ('sudo kill 10' on the seat), and run this again."
)


@pytest.mark.parametrize(("holder", "says"), [(None, ""), (OWN, ""), (OTHER, SENTENCE)])
def test_only_another_process_is_in_the_way(holder, says):
    assert boot_service.obstacle("jupyter.service", 8888, "/system.slice/jupyter.service", holder) == says


def test_a_service_that_does_not_run_has_no_process_of_its_own():
    assert boot_service.obstacle("jupyter.service", 8888, "", OWN).startswith("jupyter.service cannot start: process 11")
