#!/usr/bin/python
"""Read what a proof of a seat depends on, and what is wrong with the seat."""

from __future__ import annotations

DOCUMENTATION = r"""
module: seat_evidence
short_description: Read what a proof of a seat depends on, and what is wrong with the seat
description:
  - Tells in one call which boot of the seat this is, when some files of it were last touched, and what M(classroom.gpu.gpu_info) tells.
  - Tells as well what harms a student and no role looks after, a sentence each, and what the seat itself says of its service's port.
  - Changes nothing. Where any of it differs from what a proof was made on, M(classroom.gpu.seat_proof) proves the seat anew.
author: GPU Classroom
options:
  paths:
    description:
      - Files and folders whose time of change (of content, owner or mode) tells that something was done to the seat. One that is not there
        is no evidence. A glob stands for all that it matches, C(**) for all that lies below.
    type: list
    elements: path
    required: true
  service:
    description: The service that students use. It is looked at, and what harms a student is told, only where it is named.
    type: str
    default: ""
  port:
    description: The TCP port that it listens on.
    type: int
    default: 8888
  user:
    description: The student's user, whose files each kernel runs first.
    type: str
    default: ubuntu
  folders:
    description: Folders whose disks have to be written to.
    type: list
    elements: path
    default: [/, /home, /tmp, /var]
attributes:
  check_mode:
    description: Only reads.
    support: full
"""

EXAMPLES = r"""
- name: Read what the proof depends on
  classroom.gpu.seat_evidence:
    paths: [/run/jupyter/started, /var/lib/dpkg/status, /etc/jupyter/**]
    service: jupyter.service
"""

RETURN = r"""
boot_id:
  description: The kernel's name for this boot.
  returned: always
  type: str
evidence:
  description: Each path that is there, and when it or its owner or mode was last changed, in seconds since 1970, in the order of O(paths).
  returned: always
  type: list
  elements: str
  sample: ["/var/lib/dpkg/status 1795132800.123456789"]
layers:
  description: What M(classroom.gpu.gpu_info) returns.
  returned: always
  type: dict
now:
  description: The seat's clock, in seconds since 1970.
  returned: always
  type: float
troubles:
  description: What is wrong with the seat, a sentence each with what to type.
  returned: always
  type: list
  elements: str
inside:
  description:
    - What the seat itself says of the port. C(listens), whether a process does; C(answers), whether a connection comes about on the seat;
      C(rules), those of the seat's firewall that shut it; and C(startup), the files of the student's that each kernel runs first.
  returned: always
  type: dict
"""

import glob
import pwd
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import probe as gpu_probe
from ansible_collections.classroom.gpu.plugins.module_utils.seat import health as seat_health

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BILLION = 10**9
ARGUMENTS = {
    "paths": {"type": "list", "elements": "path", "required": True},
    "service": {"type": "str", "default": ""},
    "port": {"type": "int", "default": 8888},
    "user": {"type": "str", "default": "ubuntu"},
    "folders": {"type": "list", "elements": "path", "default": ["/", "/home", "/tmp", "/var"]},
}


def evidence(paths: list[str]) -> list[str]:
    """Return a line for each path that is there, as `stat --format='%n %.9Z'` writes it: content, owner and mode count."""
    lines = []
    for path in (found for pattern in paths for found in (sorted(glob.glob(pattern, recursive=True)) if "*" in pattern else [pattern])):
        try:
            touched = Path(path).lstat().st_ctime_ns
        except OSError:  # not there, or not to be seen: nothing to go by
            continue
        lines.append(f"{path} {touched // BILLION}.{touched % BILLION:09}")
    return lines


def home(user: str) -> Path:
    """Return a user's home, or a folder that is nobody's."""
    try:
        return Path(pwd.getpwnam(user).pw_dir)
    except KeyError:
        return Path("/nonexistent")


def looked(module: AnsibleModule) -> tuple[dict, list[str], list[str]]:
    """Return what the seat says of its port, what is wrong with the seat, and what only deserves a warning."""
    params = module.params
    unit, stopped, waiting = seat_health.service(module, params["service"])
    inside, other = seat_health.door(module, params["port"], unit["ControlGroup"])
    failed, others = seat_health.services(module)
    found = [*seat_health.disks(params["folders"]), *stopped, *other, *failed, *seat_health.packages(module), *seat_health.names(module)]
    return inside | {"startup": seat_health.startup(home(params["user"]))}, found, [*waiting, *others]


@path_errors.told
def main() -> None:
    """Read, and return what was read."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    layers, strange = gpu_probe.report(module)
    inside, found, warnings = looked(module) if module.params["service"] else ({}, [], [])
    for sentence in [*strange, *warnings]:
        module.warn(sentence)
    read = {"boot_id": BOOT_ID.read_text(encoding="utf-8").strip(), "evidence": evidence(module.params["paths"]), "layers": layers}
    module.exit_json(changed=False, **read, now=time.time(), troubles=found, inside=inside)


if __name__ == "__main__":
    main()
