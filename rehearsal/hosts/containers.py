"""Hosts of the rehearsal: an instance is a container that runs systemd and sshd, with a network namespace and a firewall of its own.

The order at each boot is `podman init` (makes the namespaces), cable, firewall, `podman start`: rules hold from the first packet.
A restart makes new namespaces, so it is a stop and a boot, never `podman restart`.
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal import API_PORT
from rehearsal.hosts import disks, firewall, image, network, privilege
from rehearsal.hosts.disks import DiskError, Disks
from rehearsal.hosts.firewall import Rule
from rehearsal.hosts.network import Network, NetworkError

__all__ = ["HostError", "HostSpec", "Hosts", "Rule", "sweep"]

FOLDER = network.STATE / "hosts"
LABEL = image.LABEL
STOP_SECONDS = 20
PODMAN_SECONDS = 120
# What systemd and sshd want beyond podman's default: reboot(2) only ends the container's own PID 1 and tells reboot from
# poweroff by its signal; sshd and sudo write to the audit log; ping needs raw sockets.
CAPABILITIES = ("SYS_BOOT", "AUDIT_WRITE", "NET_RAW")
# A container whose init ends by reboot(2) exits with 128 + SIGHUP for a restart and 128 + SIGINT for a power-off: pid_namespaces(7).
EXITS = {"129": "reboot", "130": "poweroff"}
# Where the name servers of this machine are written, the plain file first; the others hold those behind a stub on loopback.
RESOLVERS = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf")


class HostError(Exception):
    """A host cannot do what was asked; the text says why."""


@dataclass(frozen=True)
class HostSpec:
    """What an instance is at its launch. hostname: short name; authorized_keys: OpenSSH lines; user_data: as the guest reads it."""

    instance_id: str
    private_ip: str
    hostname: str
    authorized_keys: str
    user_data: bytes


@dataclass
class _Host:
    """A host as this process believes it to be. up: nobody here asked it to stop."""

    spec: HostSpec
    lock: threading.RLock = field(default_factory=threading.RLock)
    up: bool = False
    pid: int = 0
    public_ip: str | None = None
    monitor: int | None = None

    def await_cleanup(self) -> None:
        """Wait until conmon of the boot before has ended: the `podman container cleanup` that it runs last would take apart the next.

        monitor: a pidfd of that conmon, readable once it has ended.
        """
        if self.monitor is not None:
            select.select([self.monitor], [], [], STOP_SECONDS)
            os.close(self.monitor)
            self.monitor = None

    @property
    def name(self) -> str:
        return f"rehearsal-{self.spec.instance_id}"

    @property
    def folder(self) -> Path:
        return FOLDER / self.spec.instance_id


class Hosts:
    """All hosts of one cloud. Calls block; calls for different instances run side by side, those for one instance in turn."""

    def __init__(self, net: Network, on_exit: Callable[[str, str], None]) -> None:
        """on_exit(instance_id, "reboot" | "poweroff" | "crash") is called, in a thread of its own, for exits nobody asked for here."""
        self._network = net
        self._image = image.tag()  # decided once: a running cloud does not change with the files that it was made of
        self._opening = threading.Lock()
        self._opened: Disks | None = None
        self._on_exit = on_exit
        self._hosts: dict[str, _Host] = {}
        self._closed = threading.Event()
        self._events: subprocess.Popen | None = None
        self._watcher = threading.Thread(target=self._watch, name="host events", daemon=True)
        self._watcher.start()

    @property
    def _disks(self) -> Disks:
        """The cloud's disks. The first use asks podman for the image's layers."""
        with self._opening:
            if self._opened is None:
                self._opened = Disks(_layers(self._image))
            return self._opened

    def claim(self, instance_id: str, snapshot: str | None) -> None:
        """Note which disk a host will have, a snapshot's or the seat image's; until it is destroyed that snapshot is kept."""
        self._disks.claim(instance_id, snapshot)

    def create(self, spec: HostSpec, public_ip: str | None, rules: tuple[Rule, ...]) -> None:
        """Make a host, whose disk was claimed, and boot it. Raises HostError, and then nothing of it is left."""
        host = self._hosts.setdefault(spec.instance_id, _Host(spec))
        with host.lock:
            try:
                _write_seed(host)
                root = _checked(self._disks.mount, spec.instance_id)
                _podman("create", *_options(host), "--rootfs", str(root), "/sbin/init")
                self._boot(host, public_ip, rules)
            except HostError:
                self.destroy(spec.instance_id)
                raise

    def start(self, instance_id: str, public_ip: str | None, rules: tuple[Rule, ...]) -> None:
        """Boot a host that is stopped or has ended by itself. Raises HostError."""
        host = self._host(instance_id)
        with host.lock:
            self._boot(host, public_ip, rules)

    def stop(self, instance_id: str) -> None:
        """Shut a host down as the power button does, after STOP_SECONDS hard. Raises HostError."""
        host = self._host(instance_id)
        with host.lock:
            self._down(host)
            _podman("stop", "--time", str(STOP_SECONDS), host.name)

    def reboot(self, instance_id: str, public_ip: str | None, rules: tuple[Rule, ...]) -> None:
        """Stop and boot a host. Raises HostError."""
        with self._host(instance_id).lock:
            self.stop(instance_id)
            self.start(instance_id, public_ip, rules)

    def freeze(self, instance_id: str, snapshot: str) -> None:
        """Make a snapshot of a stopped host's disk. Raises HostError."""
        host = self._host(instance_id)
        with host.lock:
            host.await_cleanup()
            _checked(self._disks.freeze, instance_id, snapshot)

    def copy(self, instance_id: str, snapshot: str) -> None:
        """Make a snapshot of the disk of a host that runs on. Raises HostError."""
        self._host(instance_id)
        _checked(self._disks.copy, instance_id, snapshot)

    def delete(self, snapshot: str) -> None:
        """Delete a snapshot, as soon as no host needs it. Raises HostError."""
        _checked(self._disks.delete, snapshot)

    def destroy(self, instance_id: str) -> None:
        """End a host and forget it; one that does not exist is no error. Raises HostError if something of it cannot be removed."""
        host = self._hosts.get(instance_id)
        if host is None:
            _checked(self._disks.remove, instance_id)
            return
        with host.lock:
            self._down(host)
            _podman("rm", "--force", "--time", "0", "--ignore", host.name)
            host.await_cleanup()
            _checked(self._network.unwire, instance_id)
            _checked(self._disks.remove, instance_id)
            shutil.rmtree(host.folder, ignore_errors=True)
            self._hosts.pop(instance_id, None)

    def set_rules(self, instance_id: str, public_ip: str | None, rules: tuple[Rule, ...]) -> None:
        """Replace the firewall, and the public address if it is another, of a running host. Raises HostError."""
        host = self._host(instance_id)
        with host.lock:
            if host.up:
                self._open(host, public_ip, rules)

    def reachable(self, instance_id: str) -> bool:
        """Tell whether sshd greets on the private address. Asked inside the host's namespace, where no security group is in between."""
        host = self._hosts.get(instance_id)
        if host is None or not host.up:
            return False
        script = f"exec 3<>/dev/tcp/{host.spec.private_ip}/22 && head -c 4 <&3"
        command = ["nsenter", "--target", str(host.pid), "--net", "timeout", "3", "bash", "-c", script]
        return subprocess.run(command, capture_output=True).stdout == b"SSH-"

    def close(self) -> None:
        """Stop watching; hosts stay as they are."""
        self._closed.set()
        if self._events is not None:
            self._events.kill()
        self._watcher.join(5)

    def _host(self, instance_id: str) -> _Host:
        try:
            return self._hosts[instance_id]
        except KeyError:
            raise HostError(f"there is no host {instance_id}") from None

    def _boot(self, host: _Host, public_ip: str | None, rules: tuple[Rule, ...]) -> None:
        """One boot: namespaces, cable, firewall, and only then the first process. A boot that fails leaves the host stopped."""
        try:
            host.await_cleanup()
            self._init(host)
            self._open(host, public_ip, rules)
            host.up = True
            _podman("start", host.name)
            if int((host.folder / "pid").read_text()) != host.pid:
                raise HostError(f"{host.name} was taken apart between its cable and its first process: start it again")
        except HostError:
            self._down(host)
            with suppress(HostError):
                _podman("stop", "--time", "0", host.name)
            raise

    def _init(self, host: _Host) -> None:
        """Make the namespaces of a boot and what a boot brings: boot id, name servers, cable, files of its own."""
        (host.folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        (host.folder / "seed" / "resolv.conf").write_text(resolver())
        _podman("init", host.name)
        host.pid = int((host.folder / "pid").read_text())
        try:
            host.monitor = os.pidfd_open(int((host.folder / "monitor").read_text()))
        except ProcessLookupError:
            raise HostError(f"{host.name} ended before its first process") from None
        _checked(self._network.wire, host.pid, host.spec.instance_id, host.spec.private_ip)
        _release_mounts(host.pid)

    def _open(self, host: _Host, public_ip: str | None, rules: tuple[Rule, ...]) -> None:
        """Load the firewall and lead the public address to the host."""
        try:
            api = f"{self._network.gateway}:{API_PORT}"
            text = firewall.host_table(self._network.cidr, api, host.spec.private_ip, public_ip, rules)
        except ValueError as error:
            raise HostError(str(error)) from error
        _checked(network.inside, host.pid, ["nft", "-f", "-"], text)
        if host.public_ip not in (None, public_ip):
            _checked(self._network.unroute, host.public_ip)
        if public_ip:
            _checked(self._network.route, public_ip, host.spec.private_ip)
        host.public_ip = public_ip

    def _down(self, host: _Host) -> None:
        """Note that a host is not up any more and take its public address out of the routes."""
        host.up = False
        if host.public_ip:
            _checked(self._network.unroute, host.public_ip)
        host.public_ip = None

    def _watch(self) -> None:
        """Follow podman's events until close(); when that command ends by itself, look at all hosts and follow again."""
        # setpriv: the command must not outlive a server that was killed.
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "podman",
            "events",
            "--filter",
            "event=died",
            "--filter",
            f"label={LABEL}",
            "--format",
            "{{.Name}}",
        ]
        while not self._closed.is_set():
            self._events = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self._look_at(list(self._hosts))
            for line in self._events.stdout:
                self._look_at([line.strip().removeprefix("rehearsal-")])
            self._events.wait()
            self._closed.wait(1)

    def _look_at(self, instance_ids: Iterable[str]) -> None:
        """See in threads, so that a host that is busy does not hold up the others, whether hosts have ended by themselves."""
        for instance_id in instance_ids:
            threading.Thread(target=self._exited, args=(instance_id,), daemon=True).start()

    def _exited(self, instance_id: str) -> None:
        """Report a host that is believed up but has ended; an event of an earlier boot finds it running and is ignored."""
        host = self._hosts.get(instance_id)
        if host is None:
            return
        with host.lock:
            if not host.up:
                return
            status, code = _podman("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", host.name).split()
            if status in ("running", "initialized", "created"):
                return
            self._down(host)
        self._on_exit(instance_id, EXITS.get(code, "crash"))


def sweep() -> list[str]:
    """Remove every host, cable and route, by label and name, whoever made them. Returns what was removed; raises HostError."""
    names = _podman("ps", "--all", "--filter", f"label={LABEL}", "--format", "{{.Names}}").split()
    if names:
        _podman("rm", "--force", "--time", "0", "--ignore", *names)
    removed = [f"host {name}" for name in names] + [f"process {pid}" for pid in _end_lost()]
    removed += [f"link {link}" for link in _checked(network.remove_links)]
    removed += [f"route {route}" for route in _checked(network.remove_routes)]
    removed += [f"mount {mount}" for mount in _checked(disks.sweep)]
    shutil.rmtree(FOLDER, ignore_errors=True)
    return removed


def _layers(tag: str) -> list[Path]:
    """Return the folders of the seat image's layers, the topmost first.

    A container that never starts tells them, and keeps the image from being removed as long as hosts lie on it.
    """
    name = "rehearsal-image"
    _podman("create", "--pull", "never", "--name", name, "--replace", "--label", LABEL, tag, "/bin/true")
    data = json.loads(_podman("inspect", "--format", "{{json .GraphDriver.Data}}", name)) or {}
    # Only the overlay driver of podman's has layers; others have, or make, one folder.
    return [Path(path) for path in (data.get("LowerDir") or _podman("mount", name).strip()).split(":")]


def _end_lost() -> list[int]:
    """End the processes of hosts that podman itself has lost, as when it was killed between two steps; return their ids.

    conmon, podman's monitor, carries a host's name and is the parent of its first process. Those of another network namespace
    belong to a cloud that is not this machine's.
    """
    lost = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().split(b"\0")
            ours = command[0].endswith(b"conmon") and any(word.startswith(b"rehearsal-i-") for word in command)
            if ours and (path / "ns/net").readlink() == Path("/proc/self/ns/net").readlink():
                lost += [*map(int, (path / "task" / path.name / "children").read_text().split()), int(path.name)]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    for pid in lost:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return lost


def resolver() -> str:
    """Return a resolv.conf whose name servers a host can reach, by IPv4: those behind a stub, where the machine has one on loopback."""
    for path in map(Path, RESOLVERS):
        text = path.read_text() if path.exists() else ""
        lines = [line for line in text.splitlines() if re.match(r"(nameserver (?!127\.)\d+\.|search |options )", line)]
        if any(line.startswith("nameserver ") for line in lines):
            return "\n".join(lines) + "\n"
    return ""


def _write_seed(host: _Host) -> None:
    """Write what cloud-init reads at /seed. user-data may hold secrets, so it is for root alone."""
    seed = host.folder / "seed"
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    seed.mkdir(parents=True, exist_ok=True)
    keys = host.spec.authorized_keys.splitlines()
    about = {"instance-id": host.spec.instance_id, "local-hostname": host.spec.hostname, "public-keys": keys}
    (seed / "meta-data").write_text(json.dumps(about))
    (seed / "user-data").touch(mode=0o600)
    (seed / "user-data").write_bytes(host.spec.user_data)
    (host.folder / "boot_id").touch()


def _options(host: _Host) -> list[str]:
    """Return the options of `podman create`."""
    # Containers show the boot id of the machine; a host that reboots must have a new one, or ansible.builtin.reboot waits in vain.
    mounts = [f"{host.folder}/seed:/seed:ro", f"{host.folder}/boot_id:/proc/sys/kernel/random/boot_id:ro"]
    return [
        "--name",
        host.name,
        "--label",
        LABEL,
        "--hostname",
        host.spec.hostname,
        "--network",
        "none",
        "--systemd",
        "always",
        "--pidfile",
        f"{host.folder}/pid",
        "--conmon-pidfile",
        f"{host.folder}/monitor",
        "--pids-limit",
        "-1",
        "--log-driver",
        "k8s-file",
        "--security-opt",
        "label=disable",
        *[part for mount in mounts for part in ("--volume", mount)],
        *_privileges(),
    ]


def _privileges() -> list[str]:
    """Return the fewest privileges with which systemd runs on this machine."""
    if privilege.can_raise_limits():
        return [f"--cap-add={capability}" for capability in CAPABILITIES]
    # Without CAP_SYS_RESOURCE crun cannot load a container's device rules nor raise its limits: all devices, limits as they are.
    return ["--privileged", "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=20000:20000"]


def _release_mounts(pid: int) -> None:
    """Take away what podman mounts over a systemd container's own files.

    On a machine /etc/hosts and /etc/hostname can be replaced, /tmp is on the disk and the journal outlives a reboot.
    """
    paths = ["/etc/hostname", "/etc/hosts", "/tmp", "/var/log/journal"]
    # With --pid, for umount reads /proc/self in the host.
    subprocess.run(["nsenter", "--target", str(pid), "--mount", "--pid", "umount", *paths], capture_output=True, timeout=10)


def _checked(function: Callable, *arguments: object) -> object:
    """Call a function of the network or the disks and raise its error as a HostError."""
    try:
        return function(*arguments)
    except (DiskError, NetworkError, OSError, subprocess.TimeoutExpired) as error:
        raise HostError(str(error)) from error


def _podman(*arguments: str) -> str:
    """Run podman and return what it prints; raises HostError with its last line."""
    try:
        result = subprocess.run(["podman", *arguments], capture_output=True, text=True, timeout=PODMAN_SECONDS)
    except FileNotFoundError:
        raise HostError("podman is missing; type: make setup") from None
    except subprocess.TimeoutExpired:
        raise HostError(f"podman {arguments[0]} {arguments[-1]}: no answer within {PODMAN_SECONDS} s") from None
    if result.returncode:
        raise HostError(f"podman {arguments[0]}: {(result.stderr.strip() or 'failed').splitlines()[-1]}")
    return result.stdout
