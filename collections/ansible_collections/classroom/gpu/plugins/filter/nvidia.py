"""Which packages of which source are the NVIDIA driver that is asked for, or one sentence that says why there is none."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import packages as gpu_packages

DOCUMENTATION = """
name: nvidia_driver_plan
short_description: The packages, pins and source of an NVIDIA driver for a machine
"""


def nvidia_driver_plan(found: dict, system: dict, settings: dict) -> dict:
    """Return what apt_set and nvidia_kernel_module need to know.

    found: what gpu_info returned; system: the machine's ansible_facts; settings: source, branch, version, repository and fingerprint.
    """
    try:
        return gpu_packages.plan(found, system, settings)
    except gpu_packages.Refused as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filters' names."""

    def filters(self) -> dict:
        """Return them by name."""
        return {"nvidia_driver_plan": nvidia_driver_plan, "nvidia_repository": gpu_packages.repository}
