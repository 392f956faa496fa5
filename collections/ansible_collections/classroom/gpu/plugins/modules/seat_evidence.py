#!/usr/bin/python
"""Read what a proof of a seat depends on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: seat_evidence
short_description: Read what a proof of a seat depends on
description:
  - Tells in one call which boot of the seat this is, when some files of it were last touched, and what M(classroom.gpu.gpu_info) tells.
  - Changes nothing. Where any of it differs from what a proof was made on, M(classroom.gpu.seat_proof) proves the seat anew.
author: GPU Classroom
options:
  paths:
    description: Files and folders whose time of change tells that something was done to the seat. One that is not there is no evidence.
    type: list
    elements: path
    required: true
attributes:
  check_mode:
    description: Only reads.
    support: full
"""

EXAMPLES = r"""
- name: Read what the proof depends on
  classroom.gpu.seat_evidence:
    paths: [/run/jupyter/started, /var/lib/dpkg/status]
"""

RETURN = r"""
boot_id:
  description: The kernel's name for this boot.
  returned: always
  type: str
evidence:
  description: Each path that is there, and when it was last changed, in seconds since 1970, in the order of O(paths).
  returned: always
  type: list
  elements: str
  sample: ["/var/lib/dpkg/status 1795132800.123456789"]
layers:
  description: What M(classroom.gpu.gpu_info) returns.
  returned: always
  type: dict
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils import causes, gpu_probe

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BILLION = 10**9


def evidence(paths: list[str]) -> list[str]:
    """Return a line for each path that is there, as `stat --format='%n %.9Y'` writes it."""
    lines = []
    for path in paths:
        try:
            touched = Path(path).lstat().st_mtime_ns
        except OSError:  # not there, or not to be seen: nothing to go by
            continue
        lines.append(f"{path} {touched // BILLION}.{touched % BILLION:09}")
    return lines


@causes.told
def main() -> None:
    """Read, and return what was read."""
    paths = {"type": "list", "elements": "path", "required": True}
    module = AnsibleModule(argument_spec={"paths": paths}, supports_check_mode=True)
    layers, strange = gpu_probe.report(module)
    for sentence in strange:
        module.warn(sentence)
    boot_id = BOOT_ID.read_text(encoding="utf-8").strip()
    module.exit_json(changed=False, boot_id=boot_id, evidence=evidence(module.params["paths"]), layers=layers)


if __name__ == "__main__":
    main()
