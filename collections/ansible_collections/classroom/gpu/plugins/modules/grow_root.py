#!/usr/bin/python
"""Let the file system have all of a disk that became larger."""

from __future__ import annotations

DOCUMENTATION = """
module: grow_root
short_description: Let the file system have all of a disk that became larger
description:
  - Grows the partition with growpart, which the images of Debian and Ubuntu for EC2 bring, and ext4 or XFS on it, while both are in use.
  - Changes nothing where there is nothing to gain, or no disk below, as in a container.
options:
  path: {description: Where the file system is mounted, type: path, default: /}
  disk_gib: {description: "Size in GiB that the disk is to have by now; the kernel may need a moment to see it", type: int, default: 0}
  timeout: {description: Seconds to wait for that, type: int, default: 60}
author: [GPU Classroom]
"""

RETURN = """
gib: {description: Size of the file system in GiB, type: float, returned: success}
msg: {description: What was found or done, type: str, returned: success}
"""

EXAMPLES = """
- name: Grow partition and file system
  classroom.gpu.grow_root:
    disk_gib: 150
"""

import os
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors

GIB = 2**30
BLOCKS = Path("/sys/class/block")
SECTOR = 512  # of sysfs, whatever the disk's is
GROW = {"ext4": ("resize2fs", "{device}"), "xfs": ("xfs_growfs", "{path}")}
# growpart wants a folder for its drafts, and the disk may be full: that is why it grows.
ENGLISH = {"LC_ALL": "C", "TMPDIR": "/run"}


class Refused(Exception):
    """Why the file system cannot grow."""


def size_of(path: str) -> int:
    """Return the bytes that a mounted file system has."""
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize


def place(device: str) -> tuple[str, str]:
    """Return the disk of a block device, and the number of the partition that the device is; empty if it is the whole disk."""
    here = (BLOCKS / Path(device).resolve().name).resolve()
    number = here / "partition"
    return (here.parent.name, number.read_text(encoding="ascii").strip()) if number.exists() else (here.name, "")


def wait_for(disk: str, gib: int, seconds: int) -> None:
    """Wait until the kernel sees the size of a disk. Raises Refused."""
    until = time.monotonic() + seconds
    while (seen := int((BLOCKS / disk / "size").read_text(encoding="ascii")) * SECTOR) < gib * GIB:
        if time.monotonic() > until:
            raise Refused(f"/dev/{disk} has {seen / GIB:.0f} GiB and not yet {gib}: run the same command again, or restart the seat.")
        time.sleep(1)  # sysfs does not tell when a size changes: so ask again


def grow_partition(module: AnsibleModule, disk: str, number: str) -> bool:
    """Let a partition have the rest of its disk; tell whether there was any."""
    command = [module.get_bin_path("growpart") or "", f"/dev/{disk}", number]
    if not command[0]:
        raise Refused("The seat has no growpart: `sudo apt-get install cloud-guest-utils` there, and run the same command again.")
    dry = module.run_command([command[0], "--dry-run", *command[1:]], environ_update=ENGLISH)
    if dry[0] == 1 and "NOCHANGE" in dry[1]:  # man growpart: 1 if there is nothing to grow, 2 for errors
        return False
    done = dry if module.check_mode else module.run_command(command, environ_update=ENGLISH)
    if done[0] != 0:
        raise Refused(f"growpart /dev/{disk} {number}: {(done[2] or done[1]).strip()}")
    return True


def grow_files(module: AnsibleModule, command: list[str], path: str) -> None:
    """Let a file system have the rest of its partition. Raises Refused."""
    code, stdout, stderr = module.run_command(command, environ_update=ENGLISH)
    words = (stderr or stdout).strip()
    if code:
        raise Refused(path_errors.of_words(words, path) or f"{' '.join(command)}: {' '.join(words.split())}.")


def run(module: AnsibleModule) -> dict:
    """Grow what can be grown. Raises Refused."""
    path, before = module.params["path"], size_of(module.params["path"])
    find = ["findmnt", "--noheadings", "--output", "SOURCE,FSTYPE", "--target", path]
    device, kind = module.run_command(find, check_rc=True, environ_update=ENGLISH)[1].split()[:2]
    if not device.startswith("/dev/"):
        return {"changed": False, "msg": f"{path} is {kind} without a disk of its own: nothing can grow."}
    if kind not in GROW:
        raise Refused(f"{path} is {kind}, which this does not know how to grow: it knows {' and '.join(GROW)}.")
    disk, number = place(device)
    wait_for(disk, module.params["disk_gib"], module.params["timeout"])
    changed = bool(number) and grow_partition(module, disk, number)
    if module.check_mode:
        return {"changed": changed, "msg": f"{path} has {before / GIB:.1f} GiB{', and would have more' if changed else ''}."}
    grow_files(module, [part.format(device=device, path=path) for part in GROW[kind]], path)
    after = size_of(path)
    return {"changed": changed or after != before, "msg": f"{path} had {before / GIB:.1f} GiB, and has {after / GIB:.1f} GiB."}


@path_errors.told
def main() -> None:
    """Grow, or say why not."""
    spec = {
        "path": {"type": "path", "default": "/"},
        "disk_gib": {"type": "int", "default": 0},
        "timeout": {"type": "int", "default": 60},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    try:
        done = run(module)
    except Refused as refused:
        module.fail_json(msg=str(refused))
    module.exit_json(gib=round(size_of(module.params["path"]) / GIB, 1), **done)


if __name__ == "__main__":
    main()
