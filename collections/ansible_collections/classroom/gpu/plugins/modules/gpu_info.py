#!/usr/bin/python
"""Tell which GPUs a machine has, and how far its driver is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Tell which GPUs a machine has, and how far its driver is
description:
  - Reads GPUs from sysfs, and for every installed kernel whether the driver's module is there. Works without a GPU, and changes nothing.
  - A container runs a kernel that is none of its own (RV(kernel_is_ours=false)). Then only the installed kernels count.
author: GPU Classroom
options:
  wanted:
    description: The driver's version that is wanted, as a glob. Empty where any will do.
    type: str
    default: ""
attributes:
  check_mode:
    description: Only reads.
    support: full
"""

EXAMPLES = r"""
- name: Look at the GPUs and their driver
  classroom.gpu.gpu_info:
    wanted: "580.*"
"""

RETURN = r"""
gpus:
  description: NVIDIA's GPUs, each with address, device, model, architecture, capability, and whether the table of models knows it.
  returned: always
  type: list
  elements: dict
kernels:
  description: Installed kernels, each with version, running, next_boot, has_headers, and module with name, version and open.
  returned: always
  type: list
  elements: dict
running:
  description: The running kernel.
  returned: always
  type: str
next_boot:
  description: The kernel that boots next; empty where none is installed.
  returned: always
  type: str
kernel_is_ours:
  description: Whether the running kernel is one of the installed ones.
  returned: always
  type: bool
driver:
  description: Versions of the driver. What is V(wanted), the V(installed) libraries', and the V(loaded) module's.
  returned: always
  type: dict
nouveau:
  description: Whether the kernel's own driver is V(loaded) or V(blacklisted).
  returned: always
  type: dict
secure_boot:
  description: V(enabled), V(disabled) or V(unsupported).
  returned: always
  type: str
toolkits:
  description: Versions of the installed CUDA toolkits.
  returned: always
  type: list
  elements: str
cudnn:
  description: Version of the installed cuDNN, as the library tells it; empty where there is none.
  returned: always
  type: str
sources:
  description: APT's sources with uris, suites, components and signed_by.
  returned: always
  type: list
  elements: dict
reboot_due:
  description: Whether only a reboot brings the GPU's driver up.
  returned: always
  type: bool
reason:
  description: Why.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import probe as gpu_probe


@path_errors.told
def main() -> None:
    """Read, and return what was read."""
    module = AnsibleModule(argument_spec={"wanted": {"type": "str", "default": ""}}, supports_check_mode=True)
    layers, strange = gpu_probe.report(module, module.params["wanted"])
    for sentence in strange:
        module.warn(sentence)
    module.exit_json(changed=False, **layers)


if __name__ == "__main__":
    main()
