"""A seat on loopback: the seat image's own sshd, sudo and PAM, in a mount namespace. Nothing of this machine is written to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from rehearsal.hosts import image
from tests.support.machine import ROOT, output

MADE = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$2"; mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
for place in /dev /proc "$3"; do mkdir -p "$2/root$place"; mount --rbind "$place" "$2/root$place"; done
exec chroot "$2/root" sh -ec '
useradd --create-home --shell /bin/bash ubuntu
install -d -o ubuntu -m 700 /home/ubuntu/.ssh
install -o ubuntu -m 600 "$1/id_ed25519.pub" /home/ubuntu/.ssh/authorized_keys
echo "ubuntu ALL=(ALL) NOPASSWD:ALL" >/etc/sudoers.d/90-cloud-init-users
chmod 440 /etc/sudoers /etc/sudoers.d/90-cloud-init-users
ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
mkdir -p /run/sshd
rm /usr/bin/cloud-init  # its work is done above: nothing boots here
echo ready
exec sleep infinity
' sh "$4"
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Seat:
    """One seat, with the log-in that a cloud's image gives it, and a class's folder that fits it."""

    def __init__(self, folder: Path, name: str = "s01") -> None:
        self.folder, self.name, self.port = folder, name, free_port()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "id_ed25519"], check=True)
        self.key = (folder / "id_ed25519.pub").read_text().strip()
        (folder / "disk").mkdir()
        self.image = image.ensure()
        lower = output("podman", "image", "mount", self.image).strip()
        command = ["unshare", "--mount", "sh", "-c", MADE, "sh", lower, str(folder / "disk"), str(folder.parent), str(folder)]
        self.space = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd="/")
        assert self.space.stdout.readline() == "ready\n"
        self.sshd: subprocess.Popen | None = None
        self.serve()
        self.write_inventory()

    def command(self, *words: str) -> list[str]:
        return ["nsenter", f"--mount=/proc/{self.space.pid}/ns/mnt", "chroot", str(self.folder / "disk/root"), *words]

    def do(self, script: str) -> str:
        """Run a script on the seat as root, and return what it printed."""
        done = subprocess.run(self.command("sh", "-ec", script), capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def serve(self) -> None:
        """Start SSH's server, and wait until it listens."""
        words = ("/usr/sbin/sshd", "-D", "-p", str(self.port), "-o", "ListenAddress=127.0.0.1", "-o", "PidFile=none")
        self.sshd = subprocess.Popen(self.command(*words), stderr=subprocess.DEVNULL, cwd="/", start_new_session=True)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("sshd does not listen")

    def write_inventory(self) -> None:
        """Reach it as a class's seat is reached: by the project's own group_vars."""
        variables = self.folder / "group_vars"
        variables.mkdir()
        (variables / "seats.yml").symlink_to(ROOT / "group_vars/seats.yml")
        known = {"classroom_user": "ubuntu", "base_account": "classroom", "classroom_dir": str(self.folder)}
        here = {"ansible_host": "127.0.0.1", "ansible_port": self.port, "ec2_instance_id": "i-0123456789abcdef0"}
        (self.folder / "hosts.yml").write_text(json.dumps({"seats": {"hosts": {self.name: here}, "vars": known}}))

    def ansible(
        self, module: str = "classroom.gpu.seat_evidence", patience: int = 60, **arguments: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a module there as root, as the playbooks do. patience: seconds for a connection, and two more for sudo."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_", "CLASSROOM"))}
        program = str(Path(sys.executable).with_name("ansible"))
        command = [program, "-i", str(self.folder / "hosts.yml"), "seats", "--become", "-m", module, "-a", json.dumps(arguments)]
        command += ["--timeout", str(patience)]
        own = {
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_HOME": str(self.folder / "ansible"),
        }
        own |= {"ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=2s", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        return subprocess.run(command, cwd=self.folder, env=clean | own, capture_output=True, text=True, check=False, timeout=300)

    def stop(self, number: int) -> None:
        """Send SSH's server a signal: the one that listens, and those of its connections."""
        os.killpg(self.sshd.pid, number)

    def end(self) -> None:
        """End what was started; the namespace goes with its last process."""
        for process in (self.sshd, self.space):
            process.kill()
            process.wait()
        output("podman", "image", "unmount", self.image)
