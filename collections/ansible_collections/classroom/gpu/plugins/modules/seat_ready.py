#!/usr/bin/python
"""Wait until a seat answers and has booted, name it, and tell what system it is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: seat_ready
short_description: Wait until a seat answers and has booted, name it, and tell what system it is
description:
  - Waits until the seat answers over its connection, and then until cloud-init, where the image has it, has finished the first boot.
    What cloud-init could get over is no failure.
  - Gives the machine its name. That is its static name, its pretty one and the one that it runs under.
  - Returns as facts what C(distribution) of M(ansible.builtin.setup) tells, which is all that this project's roles ask of a seat.
author: GPU Classroom
options:
  hostname:
    description: What the machine is to be called. Unless told, it keeps its name.
    type: str
  timeout:
    description: Seconds until a seat that does not answer is given up. It is unreachable then.
    type: int
    default: 300
  patience:
    description: Seconds to wait for cloud-init.
    type: int
    default: 600
attributes:
  check_mode:
    description: Waits, and says whether the name would change.
    support: full
  diff_mode:
    description: Shows the name before and after.
    support: full
"""

EXAMPLES = r"""
- name: Wait until the seat is up, and name it
  classroom.gpu.seat_ready:
    hostname: "{{ inventory_hostname }}"
"""

RETURN = r"""
ansible_facts:
  description: The distribution's name, release and version.
  returned: always
  type: dict
  sample: {"ansible_distribution": "Debian", "ansible_distribution_major_version": "12", "ansible_distribution_release": "bookworm"}
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.facts.system.distribution import DistributionFactCollector
from ansible_collections.classroom.gpu.plugins.module_utils import causes

STATIC = Path("/etc/hostname")
# https://docs.cloud-init.io/en/latest/explanation/return_codes.html: 2 is a boot that finished, with errors that it could get over.
FINISHED = (0, 2)
OVER = 124  # timeout(1)


def wait_for_boot(module: AnsibleModule, patience: int) -> None:
    """Wait for the end of the first boot, and fail where it failed or does not come."""
    cloud_init = module.get_bin_path("cloud-init")
    if not cloud_init:
        return
    code, stdout, stderr = module.run_command(["timeout", str(patience), cloud_init, "status", "--wait"])
    if code == OVER:
        module.fail_json(msg=f"cloud-init is not done after {patience} s: look into /var/log/cloud-init-output.log on the seat.", rc=code)
    if code not in FINISHED:
        said = " ".join(f"{stdout} {stderr}".split())
        where = "look into /var/log/cloud-init-output.log on the seat"
        module.fail_json(msg=f"cloud-init failed at the seat's first boot ({said}): {where}.", rc=code)


def names() -> tuple[str, str]:
    """Return the name that the machine boots with, and the one that it runs under."""
    static = STATIC.read_text(encoding="utf-8").strip() if STATIC.is_file() else ""
    return static, os.uname().nodename


def rename(module: AnsibleModule, name: str) -> None:
    """Give the machine its name; the static one first, or NetworkManager complains of the other."""
    for kinds in (["--pretty", "--static"], ["--transient"]):
        module.run_command(["hostnamectl", *kinds, "set-hostname", name], check_rc=True)


@causes.told
def main() -> None:
    """Wait, name, and tell."""
    module = AnsibleModule(
        argument_spec={
            "hostname": {"type": "str"},
            "timeout": {"type": "int", "default": 300},
            "patience": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    wait_for_boot(module, module.params["patience"])
    name, found = module.params["hostname"], names()
    changed = bool(name) and found != (name, name)
    if changed and not module.check_mode:
        rename(module, name)
    facts = DistributionFactCollector().collect(module)
    before = "\n".join(dict.fromkeys(found))
    diff = {"before": f"{before}\n", "after": f"{name}\n"} if changed else {"before": "", "after": ""}
    module.exit_json(changed=changed, diff=diff, ansible_facts={f"ansible_{key}": value for key, value in facts.items()})


if __name__ == "__main__":
    main()
