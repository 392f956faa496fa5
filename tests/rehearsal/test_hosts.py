"""Real hosts, without the API: what a boot, a firewall, a reboot and an end look like from outside.

Needs root and no running cloud: python -m rehearsal.hosts.privilege .venv/bin/python -m pytest tests/rehearsal/test_hosts.py
"""

import os
import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rehearsal import API_PORT
from rehearsal.hosts import disks, image, privilege
from rehearsal.hosts.containers import Hosts, HostSpec, Rule, sweep
from rehearsal.hosts.firewall import ORGANISER, STRANGER
from rehearsal.hosts.network import Network

FIRST, SECOND = "i-00000000000000a01", "i-00000000000000b02"
PRIVATE = {FIRST: "172.31.0.4", SECOND: "172.31.16.5"}
PUBLIC = {FIRST: "198.18.7.1", SECOND: "198.18.7.2"}
ADMIN = (Rule("tcp", 22, 22, (f"{ORGANISER}/32",)),)
NETWORK = Network()


def output(*command: str) -> str:
    """Run a command of the machine and return what it prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def traces() -> dict[str, str]:
    """Return what a cloud changes on a machine."""
    return {
        "links": output("ip", "-oneline", "link", "show", "type", "veth") + output("ip", "-oneline", "link", "show", "type", "bridge"),
        "routes": output("ip", "route", "show", "table", "all", "type", "unicast") + output("ip", "route", "show", "type", "unreachable"),
        "addresses": output("ip", "-oneline", "address", "show", "dev", "lo"),
        "rules": output("nft", "list", "tables"),
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "containers": output("podman", "ps", "--all", "--quiet", "--filter", f"label={image.LABEL}"),
        "mounts": "\n".join(
            line for line in Path("/proc/mounts").read_text().splitlines() if "overlay-containers" in line or f" {disks.FOLDER}/" in line
        ),
        "disks": sorted(path.name for path in disks.FOLDER.glob("*")),
    }


class TellsAddress(BaseHTTPRequestHandler):
    """Stands for the instance metadata, which knows a host by the address that it asks from."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.client_address[0].encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Cloud:
    """Two hosts, the keyboard of their organiser, and what stands for their metadata."""

    def __init__(self, folder: Path) -> None:
        self.key = folder / "key"
        output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        self.exits: queue.Queue[tuple[str, str]] = queue.Queue()
        self.hosts = Hosts(NETWORK, lambda *what: self.exits.put(what))
        self.metadata = ThreadingHTTPServer((NETWORK.gateway, API_PORT), TellsAddress)
        threading.Thread(target=self.metadata.serve_forever, daemon=True).start()

    def create(self, instance_id: str) -> None:
        name = "ip-" + PRIVATE[instance_id].replace(".", "-")
        key, script = self.key.with_suffix(".pub").read_text(), b"#!/bin/sh\necho once >> /root/user-data\n"
        self.hosts.claim(instance_id, None)
        self.hosts.create(HostSpec(instance_id, PRIVATE[instance_id], name, key, script), PUBLIC[instance_id], ADMIN)

    def close(self) -> None:
        self.metadata.shutdown()
        self.metadata.server_close()
        self.hosts.close()

    def answers(self, instance_id: str) -> None:
        """Wait until sshd greets; a minute at most."""
        deadline = time.monotonic() + 60
        while not self.hosts.reachable(instance_id):
            assert time.monotonic() < deadline, f"{instance_id} does not answer"
            time.sleep(0.1)

    def ssh(self, instance_id: str, command: str, source: str = ORGANISER) -> subprocess.CompletedProcess[str]:
        options = ["BatchMode=yes", "ConnectTimeout=2", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        flags = [part for option in options for part in ("-o", option)]
        target = ["-b", source, "-i", str(self.key), f"ubuntu@{PUBLIC[instance_id]}", command]
        return subprocess.run(["ssh", *flags, *target], capture_output=True, text=True, timeout=30)

    def says(self, instance_id: str, command: str) -> str:
        done = self.ssh(instance_id, command)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    if os.geteuid() != 0 or not privilege.has_cgroup2():
        pytest.skip("needs root and cgroup2: start it with python -m rehearsal.hosts.privilege")
    if "rehearsal0" in output("ip", "link", "show"):
        pytest.skip("a cloud is running on this machine: python -m rehearsal down")
    image.ensure()
    before = traces()
    NETWORK.up()
    made = Cloud(tmp_path_factory.mktemp("cloud"))
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(made.create, PRIVATE))
        list(map(made.answers, PRIVATE))
        yield made
    finally:
        made.close()
        sweep()
        NETWORK.down()
    assert traces() == before


def test_key_pair_logs_in_at_the_public_address(cloud: Cloud) -> None:
    assert cloud.says(FIRST, "hostname") == "ip-172-31-0-4"
    assert PUBLIC[FIRST] not in cloud.says(FIRST, "ip -oneline address")
    assert cloud.says(FIRST, "sudo id -u") == "0"


def test_stranger_is_kept_out(cloud: Cloud) -> None:
    assert "timed out" in cloud.ssh(FIRST, "true", STRANGER).stderr


def test_changed_rules_hold_at_once(cloud: Cloud) -> None:
    cloud.hosts.set_rules(FIRST, PUBLIC[FIRST], (Rule("tcp", 22, 22, (f"{STRANGER}/32",)),))
    assert "timed out" in cloud.ssh(FIRST, "true").stderr
    assert cloud.ssh(FIRST, "true", STRANGER).returncode == 0
    cloud.hosts.set_rules(FIRST, PUBLIC[FIRST], ADMIN)
    assert cloud.ssh(FIRST, "true").returncode == 0


@pytest.mark.parametrize("rule", [Rule("-1", None, None, ("0.0.0.0/0",)), Rule("tcp", 22, 22, (f"{PRIVATE[SECOND]}/32", "172.31.16.0/20"))])
def test_a_group_lets_its_members_in_by_private_address(cloud: Cloud, rule: Rule) -> None:
    probe = f"timeout 2 bash -c '< /dev/tcp/{PRIVATE[FIRST]}/22'"
    assert cloud.ssh(SECOND, probe).returncode != 0
    cloud.hosts.set_rules(FIRST, PUBLIC[FIRST], (*ADMIN, rule))
    assert cloud.ssh(SECOND, probe).returncode == 0
    cloud.hosts.set_rules(FIRST, PUBLIC[FIRST], ADMIN)


def test_a_host_is_seen_by_its_public_address(cloud: Cloud) -> None:
    cloud.hosts.set_rules(FIRST, PUBLIC[FIRST], (*ADMIN, Rule("tcp", 22, 22, (f"{PUBLIC[SECOND]}/32",))))
    for target, source in ((FIRST, SECOND), (FIRST, FIRST)):
        assert cloud.ssh(source, f"timeout 2 bash -c '< /dev/tcp/{PUBLIC[target]}/22'").returncode == 0
    cloud.hosts.set_rules(FIRST, PUBLIC[FIRST], ADMIN)


def test_reboot_and_poweroff_inside_are_told(cloud: Cloud) -> None:
    boot = cloud.says(FIRST, "cat /proc/sys/kernel/random/boot_id")
    cloud.ssh(FIRST, "sudo systemctl reboot")
    assert cloud.exits.get(timeout=20) == (FIRST, "reboot")
    cloud.hosts.start(FIRST, PUBLIC[FIRST], ADMIN)
    cloud.answers(FIRST)
    assert cloud.says(FIRST, "cat /proc/sys/kernel/random/boot_id") not in ("", boot)
    cloud.says(FIRST, "cloud-init status --wait")
    assert cloud.says(FIRST, "sudo cat /root/user-data") == "once"
    assert "timed out" in cloud.ssh(FIRST, "true", STRANGER).stderr
    cloud.ssh(FIRST, "sudo poweroff")
    assert cloud.exits.get(timeout=20) == (FIRST, "poweroff")
    assert PUBLIC[FIRST] not in output("ip", "route")
    cloud.hosts.start(FIRST, PUBLIC[FIRST], ADMIN)
    cloud.answers(FIRST)


@pytest.mark.parametrize("instance_id", PRIVATE)
def test_metadata_knows_a_host_by_its_private_address(cloud: Cloud, instance_id: str) -> None:
    assert cloud.says(instance_id, "curl -s http://169.254.169.254/") == PRIVATE[instance_id]


def test_a_stop_that_was_asked_for_is_not_told(cloud: Cloud) -> None:
    cloud.hosts.reboot(SECOND, PUBLIC[SECOND], ADMIN)
    cloud.answers(SECOND)
    cloud.hosts.stop(SECOND)
    assert not cloud.hosts.reachable(SECOND)
    cloud.hosts.start(SECOND, PUBLIC[SECOND], ADMIN)
    cloud.answers(SECOND)
    with pytest.raises(queue.Empty):
        cloud.exits.get(timeout=0.5)


def test_a_host_of_another_key_does_not_let_in(cloud: Cloud, tmp_path: Path) -> None:
    output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key"))
    own, cloud.key = cloud.key, tmp_path / "key"
    denied = cloud.ssh(SECOND, "true")
    cloud.key = own
    assert "Permission denied" in denied.stderr


def test_destroy_leaves_nothing_of_a_host(cloud: Cloud) -> None:
    cloud.hosts.destroy(SECOND)
    cloud.hosts.destroy(SECOND)
    assert SECOND not in output("podman", "ps", "--all", "--format", "{{.Names}}")
    assert SECOND[-7:] not in output("ip", "link")
    assert PUBLIC[SECOND] not in output("ip", "route")
    assert cloud.says(FIRST, "true") == ""
