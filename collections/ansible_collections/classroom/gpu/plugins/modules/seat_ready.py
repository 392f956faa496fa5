#!/usr/bin/python
"""Wait until a seat answers and has booted, keep the ways into it, name it, and tell what system it is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: seat_ready
short_description: Wait until a seat answers and has booted, keep the ways into it, name it, and tell what system it is
description:
  - Waits until the seat answers over its connection, and then until cloud-init, where the image has it, has finished the first boot.
    What cloud-init could get over is no failure.
  - A seat that refuses is not waited for. It is unreachable, and its message says what keeps each account from coming in. Before that, its
    Jupyter is tried, in which a student may use sudo.
  - Keeps two ways in. One is an account that no student uses, with a key and a rule of sudo's that belong to root; the other is the account
    of the cloud's image.
  - Gives the machine its name. That is its static name, its pretty one and the one that it runs under.
  - Returns as facts what C(distribution) of M(ansible.builtin.setup) tells, which is all that this project's roles ask of a seat.
author: GPU Classroom
options:
  hostname:
    description: What the machine is to be called. Unless told, it keeps its name.
    type: str
  timeout:
    description: Seconds until a seat that does not answer is given up, if it may be booting. It is unreachable then.
    type: int
    default: 300
  launched:
    description: When the machine was launched or started, in ISO 8601. One that has long booted answers at once or not at all.
    type: str
    default: ""
  ways:
    description: Who is to come in over SSH, and become root. Unless told, nothing of that is looked at.
    type: dict
    suboptions:
      account:
        description: The account of our own. It is a system account without a password, and has a home of root's.
        type: str
        required: true
      user:
        description: The account that the cloud's image made.
        type: str
        required: true
      key:
        description: The public key of both.
        type: str
        required: true
  jupyter:
    description: The seat's Jupyter, by which O(ways) are put back if SSH lets nobody in. Unless told, and in check mode, it is left alone.
    type: dict
    suboptions:
      url:
        description: Its address, with a slash at the end.
        type: str
        required: true
      class_dir:
        description: The class's folder on the controller, with C(ca.crt) and C(secret).
        type: path
        required: true
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

- name: Keep the ways into it, too
  classroom.gpu.seat_ready:
    ways: {account: classroom, user: ubuntu, key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI...}
"""

RETURN = r"""
mended:
  description: What of the ways in was, or would be, put right.
  returned: always
  type: list
  elements: str
  sample: ["/etc/sudoers.d/zz-classroom: content"]
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
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.seat import way_in

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


def keep_ways(module: AnsibleModule) -> list[str]:
    """Keep the ways in, and return what was not as it is to be."""
    try:
        return way_in.keep(way_in.Ways(**module.params["ways"]), module.check_mode) if module.params["ways"] else []
    except way_in.NoWayIn as error:
        module.fail_json(msg=f"The way into the seat: {error}.")


ARGUMENTS = {
    "hostname": {"type": "str"},
    "timeout": {"type": "int", "default": 300},
    "patience": {"type": "int", "default": 600},
    "ways": {
        "type": "dict",
        # A public key is no secret, whatever its name says.
        "options": {name: {"type": "str", "required": True, "no_log": False} for name in ("account", "user", "key")},
    },
    # The action plugin of this name alone reads these.
    "launched": {"type": "str", "default": ""},
    "jupyter": {"type": "dict", "options": {"url": {"type": "str", "required": True}, "class_dir": {"type": "path", "required": True}}},
}


@path_errors.told
def main() -> None:
    """Wait, keep the ways in, name, and tell."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wait_for_boot(module, module.params["patience"])
    mended = keep_ways(module)
    name, found = module.params["hostname"], names()
    renamed = bool(name) and found != (name, name)
    if renamed and not module.check_mode:
        rename(module, name)
    facts = DistributionFactCollector().collect(module)
    before = [*dict.fromkeys(found)] if renamed else []
    diff = {"before": "".join(f"{line}\n" for line in before), "after": "".join(f"{line}\n" for line in [*[name][:renamed], *mended])}
    told = {f"ansible_{key}": value for key, value in facts.items()}
    module.exit_json(changed=renamed or bool(mended), mended=mended, diff=diff, ansible_facts=told)


if __name__ == "__main__":
    main()
