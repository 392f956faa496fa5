"""The edges of gpu.py: what asks this machine's programs."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import cudnn
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import facts as gpu_facts


def modinfo(module: AnsibleModule, kernel: str) -> str:
    """Return what modinfo knows of the driver's module for a kernel."""
    return module.run_command([module.get_bin_path("modinfo", required=True), "-k", kernel, *gpu_facts.MODULES])[1]


def libraries(module: AnsibleModule) -> str:
    """Return the version of the installed libraries of the driver."""
    query = ["dpkg-query", "--show", "--showformat=${Package}\\t${Version}\\t${db:Status-Status}\\n", *gpu_facts.LIBRARIES]
    return gpu_facts.library_version(module.run_command(query)[1])


def cudnn_version() -> str:
    """Return the version of the installed cuDNN, as the library tells it."""
    found = sorted(Path("/usr/lib").glob("*-linux-gnu/libcudnn.so.?*"), key=lambda path: len(path.name))
    return cudnn.library_version(str(found[0])) if found else ""


def facts(module: AnsibleModule, wanted: str = "") -> dict:
    """Return all that gpu_info tells about GPUs, kernels and driver. wanted: the driver's version, as a glob."""
    running = os.uname().release
    kernels = gpu_facts.kernels(lambda kernel: modinfo(module, kernel), running)
    found = {
        "gpus": gpu_facts.gpus(),
        "kernels": kernels,
        "running": running,
        "next_boot": next((kernel["version"] for kernel in kernels if kernel["next_boot"]), ""),
        "kernel_is_ours": any(kernel["running"] for kernel in kernels),
        "driver": {"wanted": wanted, "installed": libraries(module), "loaded": gpu_facts.loaded_version()},
        "nouveau": gpu_facts.nouveau(),
        "secure_boot": gpu_facts.secure_boot(),
        "toolkits": gpu_facts.toolkits(),
        "cudnn": cudnn_version(),
    }
    return found | {"reason": gpu_facts.reboot_reason(found)}


def report(module: AnsibleModule, wanted: str = "") -> tuple[dict, list[str]]:
    """Return what gpu_info returns, and a sentence for every GPU that this project does not know."""
    found = facts(module, wanted)
    what = "The GPU {device} at {address} is not in this project's table: taken for one of the architecture {architecture}"
    strange = [f"{what.format(**device)}, like those with numbers near it." for device in found["gpus"] if not device["known"]]
    return found | {"reboot_due": bool(found["reason"]), "sources": gpu_facts.sources()}, strange
