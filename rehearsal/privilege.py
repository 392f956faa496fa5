"""Become root, and see cgroups as podman needs them, once for a whole command."""

import os
import sys
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
# What sudo would drop and the build or a download needs.
KEPT = "CLASSROOM,PYTHONPATH,http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY,SSL_CERT_FILE"
# A private mount namespace in which only cgroup2 is mounted: crun refuses the mix of v1 and v2 that some machines have.
CGROUP2_ONLY = 'umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'


def become(argv: list[str]) -> None:
    """Return as root with cgroup2 in place; otherwise start `python -m rehearsal ARGV` again so that it is, and never return.

    argv: the arguments after `python -m rehearsal`.
    """
    command = [sys.executable, "-m", "rehearsal", *argv]
    if os.geteuid() != 0:
        print("The rehearsal's bridge and containers need root: sudo may ask for your password.", file=sys.stderr, flush=True)
        _exec(["sudo", f"--preserve-env={KEPT}", "--", *command])
    if not has_cgroup2():
        _exec(["unshare", "--mount", "--propagation", "private", "sh", "-c", CGROUP2_ONLY, "sh", *command])


def has_cgroup2() -> bool:
    """Tell whether /sys/fs/cgroup is cgroup2 and nothing else."""
    return (CGROUPS / "cgroup.controllers").exists()


def can_raise_limits() -> bool:
    """Tell whether this process has CAP_SYS_RESOURCE (bit 24 in linux/capability.h)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> 24 & 1)


def _exec(command: list[str]) -> None:
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        sys.exit(f"{command[0]} is missing: install it, or run this command as root")
