"""The names that an NVIDIA driver's packages have, by distribution, source and branch, and which branches drive a GPU.

Names: NVIDIA's "Driver Installation Guide" (r590, "Recent updates": from 590 on Ubuntu's names lose the branch), packages.debian.org and
packages.ubuntu.com. Never the packages that bring X along (nvidia-driver, cuda-drivers, nvidia-open).
"""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.classroom.gpu.plugins.module_utils.gpu import facts as gpu_facts
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import models as gpu_models

UNSUFFIXED = 590  # the first branch whose packages have no branch in their names, in NVIDIA's repository for Ubuntu
SOURCES = {"Debian": ("nvidia", "debian"), "Ubuntu": ("ubuntu", "nvidia")}  # the first is the default
DEBIAN_BRANCHES = {"12": "535", "13": "550"}  # packages.debian.org/nvidia-kernel-dkms
COMPONENTS = {"nvidia": ("contrib",), "debian": ("contrib", "non-free", "non-free-firmware")}

# Every package with a part of the driver in it, whoever made it, but for what only shares the name (containers, fabric manager,
# Debian's version-less nvidia-support, nvidia-installer-cleanup and nvidia-kernel-common).
# fmt: off
PARTS = [
    "cuda-drivers*", "firmware-nvidia-gsp*", "libcuda1", "libcudadebugger1", "libnvidia-cfg1*", "libnvidia-common*",
    "libnvidia-compute*", "libnvidia-decode*", "libnvidia-encode*", "libnvidia-extra*", "libnvidia-fbc1*", "libnvidia-gl*",
    "libnvidia-gpucomp*", "libnvidia-ml1", "libnvidia-nvvm*", "libnvidia-pkcs11*", "libnvidia-ptxjitcompiler1",
    "linux-modules-nvidia-*", "linux-objects-nvidia-*", "linux-signatures-nvidia-*", "nvidia-alternative", "nvidia-compute-utils*",
    "nvidia-dkms*", "nvidia-driver", "nvidia-driver-[!p]*", "nvidia-driver-pinning-*", "nvidia-firmware*", "nvidia-headless-*",
    "nvidia-kernel-common-*", "nvidia-kernel-*dkms", "nvidia-kernel-source*", "nvidia-kernel-support", "nvidia-legacy-check",
    "nvidia-modprobe", "nvidia-open*", "nvidia-persistenced", "nvidia-smi", "nvidia-tesla-*", "nvidia-utils*",
]
# fmt: on
UNVERSIONED = ("nvidia-driver-pinning-*", "linux-modules-nvidia-*", "linux-objects-nvidia-*", "linux-signatures-nvidia-*")
UBUNTU_PARTS = ["nvidia-kernel-common"]  # Debian's package of that name is no part of the driver.
AWS_KERNELS = ["linux-aws*", "linux-image-aws*", "linux-headers-aws*"]


class Refused(Exception):
    """The driver that is asked for cannot be had, or cannot drive the GPU; the text says what can."""


def plan(found: dict, system: dict, settings: dict) -> dict:
    """Return packages, pins, purge, unpinned, version, source, choices, prebuilt and components; see the filter of this name."""
    distribution, branch = system["distribution"], number(settings["branch"])
    source = chosen_source(distribution, settings["source"])
    open_modules = kind(found["gpus"], branch)
    if source == "nvidia":
        names = from_nvidia(distribution, branch, open_modules)
    elif source == "ubuntu":
        names = from_ubuntu(branch, open_modules, flavours(found, "aws"))
    else:
        names = from_debian(branch, system["distribution_major_version"])
    headers = headers_of(found, distribution) if not names["prebuilt"] else []
    every = PARTS + (UBUNTU_PARTS if distribution == "Ubuntu" else [])
    return names | {
        "version": version(distribution, source, branch, settings["version"]),
        "pins": [name for name in every if source == "ubuntu" or name not in UNVERSIONED] + names["pins"],
        "purge": every,
        "unpinned": names["unpinned"] + headers,
        "source": repository(system, settings["repository"], settings["fingerprint"]) if source == "nvidia" else {},
        "components": components(found, system, source),
        "open": open_modules and source != "debian",  # whose branches are all older than the first GPU that needs open ones
    }


def number(branch: str) -> int:
    """Return a branch as a number."""
    if not str(branch).isdigit():
        raise Refused(f"'{branch}' is no driver branch: set nvidia_driver_branch to one such as 580")
    return int(branch)


def chosen_source(distribution: str, source: str) -> str:
    """Return the source, or the distribution's default for an empty one."""
    there = SOURCES.get(distribution)
    if there is None:
        raise Refused(f"The driver cannot be installed on {distribution}: choose an image of Debian or Ubuntu (classroom_image)")
    if source and source not in there:
        raise Refused(f"nvidia_driver_source {source} is not for {distribution}, which has {' and '.join(there)}")
    return source or there[0]


def version(distribution: str, source: str, branch: int, wanted: str) -> str:
    """Return the glob of package versions. Its end keeps Ubuntu's own packages, of the same names, out of NVIDIA's set."""
    if source != "nvidia" and wanted:
        where = f"{distribution}'s archive keeps only its newest of branch {branch}"
        raise Refused(f"{where}: leave nvidia_driver_version empty, or set nvidia_driver_source to nvidia")
    if wanted and wanted.split(".")[0] != str(branch):
        raise Refused(f"nvidia_driver_version {wanted} is not of branch {branch}: correct one of the two")
    if source == "ubuntu":
        return ""  # The branch is in the names, and modules have their kernel's version.
    if source == "debian":
        return f"{branch}.*"
    revision = "1" if distribution == "Debian" else "0ubuntu1" if branch < UNSUFFIXED else "1ubuntu1"
    return f"{wanted or f'{branch}.*'}-{revision}"


def kind(gpus: Iterable[dict], branch: int) -> bool:
    """Return whether the open kernel modules are to be installed, which they are without a GPU too. Raises Refused where none fit."""
    models = {gpu_["model"]: gpu_models.limits(gpu_["architecture"]) for gpu_ in gpus}
    names = {gpu_["model"]: f"{gpu_['model']} ({gpu_['architecture']})" for gpu_ in gpus}
    for model, limits in models.items():
        if limits.newest and limits.newest < branch:
            raise Refused(f"The GPU {names[model]} is driven by branch {limits.newest} at most, not {branch}: {way_out(limits.newest)}")
        if branch < limits.oldest:
            raise Refused(f"The GPU {names[model]} needs branch {limits.oldest} or newer, not {branch}: set nvidia_driver_branch")
    closed, opened = ([names[model] for model, limits in models.items() if not getattr(limits, what)] for what in ("open", "proprietary"))
    if closed and opened:
        raise Refused(f"No driver drives both {closed[0]}, which needs proprietary modules, and {opened[0]}, which needs open ones")
    return not closed


def way_out(newest: int) -> str:
    """Say what to do about a GPU whose last branch is `newest`."""
    carried = newest >= min(int(branch) for branch in DEBIAN_BRANCHES.values())
    if carried:
        return f"set nvidia_driver_branch to {newest}"
    return "no source of this role has that any more, so choose an instance type with a newer GPU, such as g4dn.xlarge"


def flavours(found: dict, default: str) -> list[str]:
    """Return the sorts of the installed kernels, or `default` where none is installed."""
    return list(dict.fromkeys(gpu_facts.flavour(kernel["version"]) for kernel in found["kernels"])) or [default]


def headers_of(found: dict, distribution: str) -> list[str]:
    """Return the meta packages that bring headers along with every new kernel, and what builds modules."""
    default = {"Debian": "cloud-amd64", "Ubuntu": "aws"}[distribution]
    return ["dkms", *(f"linux-headers-{flavour}" for flavour in flavours(found, default))]


def from_nvidia(distribution: str, branch: int, open_modules: bool) -> dict:
    """Return the headless packages in NVIDIA's repository. Debian's names never had a branch; from 590 on Ubuntu's have none either."""
    pinning = [f"nvidia-driver-pinning-{branch}"] if branch >= UNSUFFIXED else []
    choices = {"what": "driver branch", "pattern": r"nvidia-driver-pinning-(\d+)"}
    if distribution == "Debian":
        packages = ["nvidia-driver-cuda", "nvidia-kernel-open-dkms" if open_modules else "nvidia-kernel-dkms"]
    else:
        suffix = "" if branch >= UNSUFFIXED else f"-{branch}"
        parts = ("libnvidia-compute", "nvidia-utils", "nvidia-compute-utils")
        packages = [f"nvidia-dkms{suffix}{'-open' if open_modules else ''}", *(f"{part}{suffix}" for part in parts)]
    return {"packages": packages, "pins": [], "unpinned": pinning, "choices": choices, "prebuilt": ""}


def from_ubuntu(branch: int, open_modules: bool, kernels: list[str]) -> dict:
    """Return Ubuntu's server driver, with modules that Ubuntu built and signed for its kernels, and the kernels that they belong to."""
    name = f"{branch}-server"
    kind_ = f"{name}-open" if open_modules else name
    modules = [f"linux-modules-nvidia-{kind_}-{kernel}" for kernel in kernels]
    packages = [*modules, f"nvidia-headless-no-dkms-{kind_}", f"nvidia-utils-{name}"]
    choices = {"what": "driver branch", "pattern": r"nvidia-utils-(\d+)-server"}
    return {"packages": packages, "pins": AWS_KERNELS, "unpinned": [], "choices": choices, "prebuilt": f"linux-modules-nvidia-{kind_}-"}


def from_debian(branch: int, release: str) -> dict:
    """Return Debian's own packages, which are of one branch a release. Its proprietary modules drive all that its branches drive."""
    has = DEBIAN_BRANCHES.get(release)
    if str(branch) != has:
        offer = f"it has {has}: set nvidia_driver_branch to that, or" if has else "set"
        raise Refused(f"Debian {release} does not have driver branch {branch}; {offer} nvidia_driver_source to nvidia")
    packages = ["nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-ml1", "nvidia-persistenced", "nvidia-modprobe"]
    return {"packages": packages, "pins": [], "unpinned": [], "choices": {}, "prebuilt": ""}


def repository(system: dict, above: str, fingerprint: str) -> dict:
    """Return NVIDIA's repository for a system (its ansible_facts), as apt_set takes it. above: the address that has a folder a system."""
    release = system["distribution_major_version"] if system["distribution"] == "Debian" else system["distribution_version"]
    uri = f"{above.rstrip('/')}/{system['distribution'].lower()}{release.replace('.', '')}/x86_64/"
    key = {"key": f"{uri}3bf863cc.pub", "fingerprint": fingerprint}
    return {"name": "nvidia-cuda", "uri": uri, "suite": "/", **key}


def components(found: dict, system: dict, source: str) -> str:
    """Return the text of a source with the components of Debian that the driver needs, empty where they are there."""
    if system["distribution"] != "Debian":
        return ""
    return gpu_facts.components_text(found["sources"], system["distribution_release"], COMPONENTS[source])
