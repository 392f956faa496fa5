#!/usr/bin/python
"""Keep a file that takes up room on a disk, to be deleted when the disk is full."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reserve_file
short_description: Keep a file that takes up room on a disk, to be deleted when the disk is full
description:
  - Allocates the file where it is gone or smaller than asked for, and only root can read it. It holds nothing.
  - Where the disk has no room for it, a warning says so, and the next run tries again.
author: GPU Classroom
options:
  path:
    description: The file.
    type: path
    required: true
  size_mib:
    description: Its size in MiB; at 0 there is no file.
    type: int
    required: true
  spare_mib:
    description: What whoever deletes the file takes for full. Twice as much has to stay free beside the file.
    type: int
    required: true
  said:
    description: A message that the disk was full, which is deleted as soon as the reserve is there again.
    type: path
    required: true
attributes:
  check_mode:
    description: Says what would be done, and does nothing.
    support: full
"""

EXAMPLES = r"""
- name: Keep some room for the day when the disk is full
  classroom.gpu.reserve_file:
    path: /home/.reserve
    size_mib: 512
    spare_mib: 64
    said: /etc/motd.d/50-disk-full
"""

RETURN = r"""
free_mib:
  description: What a user may still write to this disk, in MiB, before this run did anything.
  returned: always
  type: int
"""

import os
from contextlib import suppress
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors

MIB = 1 << 20


def allocated(path: Path) -> int:
    """Return how many bytes of the disk a file takes; none where there is no file."""
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


def intact(path: Path, size: int) -> bool:
    """Tell whether the reserve is what it should be: there with all its blocks, or not there where it is of no size."""
    return allocated(path) >= size and os.path.lexists(path) == (size > 0)


def free(folder: Path) -> int:
    """Return how many bytes a user may still write to the disk that a folder lies on."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def lacking(path: Path, size: int, spare: int) -> int:
    """Return how many bytes the disk lacks for the reserve and twice the spare room beside it."""
    return max(size - allocated(path) + 2 * spare - free(path.parent), 0)


def allocate(path: Path, size: int) -> None:
    """Make the file, or complete it. One that was cut short by a kill is completed by the next run."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(handle, 0o600)
        os.fchown(handle, 0, 0)
        os.posix_fallocate(handle, 0, size)
    finally:
        os.close(handle)


def bring(path: Path, size: int, said: Path) -> None:
    """Make the reserve what it should be, and take back the message that it was spent."""
    if size:
        allocate(path, size)
    else:
        path.unlink()
    with suppress(FileNotFoundError):
        said.unlink()


@path_errors.told
def main() -> None:
    """Look at the reserve, and make it where there is room."""
    arguments = {name: {"type": "int", "required": True} for name in ("size_mib", "spare_mib")}
    arguments |= {name: {"type": "path", "required": True} for name in ("path", "said")}
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    path, said = Path(module.params["path"]), Path(module.params["said"])
    size, spare = module.params["size_mib"] * MIB, module.params["spare_mib"] * MIB
    try:
        found = {"free_mib": free(path.parent) // MIB}
        if intact(path, size):
            module.exit_json(changed=False, **found)
        if size and (lack := lacking(path, size, spare)):
            full = f"The disk is full: {found['free_mib']} MiB are left, and its reserve {path} lacks {lack // MIB + 1} MiB"
            module.warn(f"{full}. Delete something below {path.parent}, and run this again.")
            module.exit_json(changed=False, **found)
        if said.exists():
            module.warn(f"The disk had been full and its reserve {path} was spent: it is there again.")
        if not module.check_mode:
            bring(path, size, said)
    except OSError as error:
        module.fail_json(msg=f"The reserve {path} cannot be made: {path_errors.sentence(error.errno, path)}")
    module.exit_json(changed=True, **found)


if __name__ == "__main__":
    main()
