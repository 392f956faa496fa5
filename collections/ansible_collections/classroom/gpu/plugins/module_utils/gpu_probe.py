"""The edges of gpu.py: what asks this machine's programs."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils import cudnn, gpu


def modinfo(module: AnsibleModule, kernel: str) -> str:
    """Return what modinfo knows of the driver's module for a kernel."""
    return module.run_command([module.get_bin_path("modinfo", required=True), "-k", kernel, *gpu.MODULES])[1]


def libraries(module: AnsibleModule) -> str:
    """Return the version of the installed libraries of the driver."""
    query = ["dpkg-query", "--show", "--showformat=${Package}\\t${Version}\\t${db:Status-Status}\\n", *gpu.LIBRARIES]
    return gpu.library_version(module.run_command(query)[1])


def cudnn_version() -> str:
    """Return the version of the installed cuDNN, as the library tells it."""
    found = sorted(Path("/usr/lib").glob("*-linux-gnu/libcudnn.so.?*"), key=lambda path: len(path.name))
    return cudnn.library_version(str(found[0])) if found else ""


def facts(module: AnsibleModule, wanted: str = "") -> dict:
    """Return all that gpu_info tells about GPUs, kernels and driver. wanted: the driver's version, as a glob."""
    running = os.uname().release
    kernels = gpu.kernels(lambda kernel: modinfo(module, kernel), running)
    found = {
        "gpus": gpu.gpus(),
        "kernels": kernels,
        "running": running,
        "next_boot": next((kernel["version"] for kernel in kernels if kernel["next_boot"]), ""),
        "kernel_is_ours": any(kernel["running"] for kernel in kernels),
        "driver": {"wanted": wanted, "installed": libraries(module), "loaded": gpu.loaded_version()},
        "nouveau": gpu.nouveau(),
        "secure_boot": gpu.secure_boot(),
        "toolkits": gpu.toolkits(),
        "cudnn": cudnn_version(),
    }
    return found | {"reason": gpu.reboot_reason(found)}


def report(module: AnsibleModule, wanted: str = "") -> tuple[dict, list[str]]:
    """Return what gpu_info returns, and a sentence for every GPU that this project does not know."""
    found = facts(module, wanted)
    what = "The GPU {device} at {address} is not in this project's table: taken for one of the architecture {architecture}"
    strange = [f"{what.format(**device)}, like those with numbers near it." for device in found["gpus"] if not device["known"]]
    return found | {"reboot_due": bool(found["reason"]), "sources": gpu.sources()}, strange
