"""What goes with what: instance types, GPUs, systems, drivers, CUDA, cuDNN, frameworks, Python, and whether they can still be obtained.

Data only; verdict.py compares. Each table names its source; "memory" marks what was not looked up. Versions are text as people write
them, driver branches are whole numbers. Collected 2026-11.
"""

from __future__ import annotations

from typing import NamedTuple

from ansible_collections.classroom.gpu.plugins.module_utils.gpu import models as gpu_models


class Family(NamedTuple):
    """A family of EC2 types with GPUs. device: PCI id, None for AMD's; oldest, newest: driver branches, beyond the GPU's own limits."""

    device: int | None
    sizes: str
    oldest: int = 0
    newest: int | None = None
    sold: bool = True
    machine: str = "x86_64"


ONE_TO_SIXTEEN = "xlarge 2xlarge 4xlarge 8xlarge 16xlarge"
UP_TO_48 = f"{ONE_TO_SIXTEEN} 12xlarge 24xlarge 48xlarge"

# Families, sizes and what is still offered: DescribeInstanceTypes and DescribeInstanceTypeOfferings of 2026-09-30, as moto carries them.
# In order of the price of the smallest machine that is whole. Branches: "595 does not work with P3, P3dn and G6f", "G7 needs 595",
# awslabs/amazon-eks-ami, doc/usage/g7-ami.md.
FAMILIES = {
    "g4dn": Family(0x1EB8, f"{ONE_TO_SIXTEEN} 12xlarge metal"),
    "g6": Family(0x27B8, UP_TO_48),
    "g5": Family(0x2237, UP_TO_48),
    "g6e": Family(0x26B9, UP_TO_48),
    "g7": Family(0x2C31, "2xlarge 4xlarge 8xlarge 12xlarge 24xlarge 48xlarge", oldest=595),
    "g7e": Family(0x2BB5, "2xlarge 4xlarge 8xlarge 12xlarge 24xlarge 48xlarge"),
    "gr6": Family(0x27B8, "4xlarge 8xlarge"),
    "g6f": Family(0x27B8, "large xlarge 2xlarge 4xlarge", newest=580),
    "gr6f": Family(0x27B8, "4xlarge", newest=580),
    "p5": Family(0x2330, "4xlarge 48xlarge"),
    "p4d": Family(0x20B0, "24xlarge"),
    "p4de": Family(0x20B2, "24xlarge"),
    "p3dn": Family(0x1DB5, "24xlarge", newest=580),
    "p5e": Family(0x2335, "48xlarge"),
    "p5en": Family(0x2335, "48xlarge"),
    "p6-b200": Family(0x2901, "48xlarge"),
    "p6-b300": Family(0x3182, "48xlarge"),
    "g5g": Family(0x1EB4, f"{ONE_TO_SIXTEEN} metal", machine="arm64"),
    "g4ad": Family(None, ONE_TO_SIXTEEN, sold=False),
    "g3": Family(0x13F2, "4xlarge 8xlarge 16xlarge", sold=False),
    "g3s": Family(0x13F2, "xlarge", sold=False),
    "p3": Family(0x1DB1, "2xlarge 8xlarge 16xlarge", newest=580, sold=False),
    "p2": Family(0x102D, "xlarge 8xlarge 16xlarge", sold=False),
}


class System(NamedTuple):
    """An operating system. kernel: what its EC2 image runs; drivers: branches it can be given; repository: its name at NVIDIA's."""

    kernel: str
    drivers: tuple[int, ...]
    repository: str


# Kernels: DLAMI release notes of 2026-10 (Ubuntu), packages.debian.org (Debian). Branches: NVIDIA's supported drivers of 2026-09-09, and
# packages.ubuntu.com for Ubuntu's own; Debian's own 535 and 550.
SYSTEMS = {
    "Ubuntu 22.04": System("6.8", (535, 570, 580, 595), "ubuntu2204"),
    "Ubuntu 24.04": System("7.0", (535, 570, 580, 595), "ubuntu2404"),
    "Debian 12": System("6.1", (535, 570, 580, 595), "debian12"),
    "Debian 13": System("6.12", (550, 580, 595), "debian13"),
}

# The newest kernel that a driver branch builds against, where there is an end. NVIDIA's release notes of 384 and 470; memory.
LAST_KERNELS = {384: "4.14", 390: "6.4", 470: "6.8"}


class Cuda(NamedTuple):
    """A CUDA version. driver: the oldest branch for it; first, last: compute capabilities; systems: those that NVIDIA packages it for."""

    driver: int
    first: str
    last: str
    systems: tuple[str, ...]


ALL = tuple(SYSTEMS)
# Drivers: docs.nvidia.com/deploy/cuda-compatibility (9.0: 384.81, 12.x: 525.60, 13.x: 580.65). Capabilities: release notes of the
# toolkits (9.0 is before Turing, 12.8 brought Blackwell, 13.0 ended Volta). Systems: the folders of
# developer.download.nvidia.com/compute/cuda/repos; 9.0 was packaged for Ubuntu 16.04 and 17.04. What Debian 13 lacks of 12: memory.
CUDA = {
    "9.0": Cuda(384, "3.0", "7.0", ()),
    "12.3": Cuda(525, "5.0", "9.0", ("Ubuntu 22.04", "Debian 12")),
    "12.5": Cuda(525, "5.0", "9.0", ("Ubuntu 22.04", "Ubuntu 24.04", "Debian 12")),
    "12.8": Cuda(525, "5.0", "12.0", ("Ubuntu 22.04", "Ubuntu 24.04", "Debian 12")),
    "12.9": Cuda(525, "5.0", "12.1", ("Ubuntu 22.04", "Ubuntu 24.04", "Debian 12")),
    "13.0": Cuda(580, "7.5", "12.1", ALL),
    "13.2": Cuda(580, "7.5", "12.1", ALL),
}


class Cudnn(NamedTuple):
    """A cuDNN version, with the compute capabilities that it knows. driver: the oldest branch; packaged: for a system of today."""

    driver: int
    first: str
    last: str
    packaged: bool = True


# docs.nvidia.com/deeplearning/sdk/cudnn-support-matrix of 9.17 (7.5 to Blackwell) and 9.10 (5.0 to Blackwell), cudnn_760 for 7 (Kepler to
# Volta, driver 384.111); 8.9 and 9.3 ended with Hopper (memory). A version counts as the newest of these that is not newer than it.
CUDNN = {
    "7.0": Cudnn(384, "3.0", "7.0", packaged=False),
    "8.9": Cudnn(525, "5.0", "9.0"),
    "9.3": Cudnn(525, "5.0", "9.0"),
    "9.10": Cudnn(525, "5.0", "12.1"),
    "9.11": Cudnn(525, "7.5", "12.1"),
}


class Framework(NamedTuple):
    """A framework's wheels. pythons: first and last; first, last: compute capabilities that it has kernels for; cuda: major version."""

    pythons: tuple[str, str]
    first: str
    last: str
    cuda: str


# github.com/tensorflow/docs, site/en/install/source.md (Python, CUDA, cuDNN); PyPI's metadata of torch. TensorFlow up to 2.20 has no
# kernels for Blackwell; that 2.21 has none either, and where the ranges of capabilities begin, is memory.
FRAMEWORKS = {
    ("tensorflow", "1.5"): Framework(("3.3", "3.6"), "3.0", "7.0", "9"),
    ("tensorflow", "2.16"): Framework(("3.9", "3.12"), "6.0", "9.0", "12"),
    ("tensorflow", "2.17"): Framework(("3.9", "3.12"), "6.0", "9.0", "12"),
    ("tensorflow", "2.18"): Framework(("3.9", "3.12"), "6.0", "9.0", "12"),
    ("tensorflow", "2.19"): Framework(("3.9", "3.12"), "6.0", "9.0", "12"),
    ("tensorflow", "2.20"): Framework(("3.9", "3.13"), "6.0", "9.0", "12"),
    ("tensorflow", "2.21"): Framework(("3.10", "3.13"), "6.0", "9.0", "12"),
    ("pytorch", "2.8"): Framework(("3.9", "3.13"), "7.0", "12.0", "12"),
    ("pytorch", "2.10"): Framework(("3.10", "3.14"), "7.0", "12.0", "12"),
    ("pytorch", "2.11"): Framework(("3.10", "3.14"), "7.5", "12.1", "13"),
    ("pytorch", "2.14"): Framework(("3.10", "3.14"), "7.5", "12.1", "13"),
    ("pytorch", "2.15"): Framework(("3.10", "3.14"), "7.5", "12.1", "13"),
}

# Python versions that conda-forge still builds: conda-forge.org/news and its global pinning; 3.5 had its last build in 2018 (memory).
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def gpu(family: Family) -> gpu_models.Model | None:
    """Return the NVIDIA GPU of a family; AMD's is none of them."""
    return None if family.device is None else gpu_models.MODELS[family.device]


def instance_types() -> list[str]:
    """Return every instance type of the table that EC2 still sells, cheapest family first."""
    return [f"{name}.{size}" for name, family in FAMILIES.items() if family.sold for size in family.sizes.split()]
