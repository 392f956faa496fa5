"""Become root, and see cgroups as podman needs them, once for a whole command."""

import os
import shlex
import sys
from pathlib import Path
from typing import NoReturn

CGROUPS = Path("/sys/fs/cgroup")
# What sudo would drop and the build or a download needs.
KEPT = "CLASSROOM,PYTHONPATH,http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY,SSL_CERT_FILE"
# A private mount namespace in which only cgroup2 is mounted: crun refuses the mix of v1 and v2 that some machines have.
CGROUP2_ONLY = 'umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'


def become(argv: list[str]) -> None:
    """Return as root with cgroup2 in place; otherwise start `python -m rehearsal ARGV` again so that it is, and never return."""
    if prefix():
        # -B: root must not leave compiled files in the checkout of a user.
        enter([sys.executable, "-B", "-m", "rehearsal", *argv])


def enter(command: list[str]) -> NoReturn:
    """Become a command that runs as root with cgroup2 in place."""
    full = [*prefix(), *command]
    if full[0] == "sudo":
        print("The rehearsal's bridge and containers need root: sudo may ask for your password.", file=sys.stderr, flush=True)
    try:
        os.execvp(full[0], full)
    except FileNotFoundError:
        sys.exit(f"{full[0]} is missing: install it, or type this as root: {shlex.join(command)}")


def prefix() -> list[str]:
    """Return what must stand before a command: sudo where the user is not root, a namespace where cgroups are mixed."""
    root = [] if os.geteuid() == 0 else ["sudo", f"--preserve-env={KEPT}", "--"]
    namespace = [] if has_cgroup2() else ["unshare", "--mount", "--propagation", "private", "sh", "-c", CGROUP2_ONLY, "sh"]
    return root + namespace


def has_cgroup2() -> bool:
    """Tell whether /sys/fs/cgroup is cgroup2 and nothing else."""
    return (CGROUPS / "cgroup.controllers").exists()


def can_raise_limits() -> bool:
    """Tell whether this process has CAP_SYS_RESOURCE (bit 24 in linux/capability.h)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> 24 & 1)


if __name__ == "__main__":
    # For tests of hosts: python -m rehearsal.hosts.privilege COMMAND
    enter(sys.argv[1:])
