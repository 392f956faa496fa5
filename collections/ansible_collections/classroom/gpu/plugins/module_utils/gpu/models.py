"""NVIDIA's GPUs that EC2 sells or sold, by PCI device id, and what a driver must be to work with them.

Device ids: README.md of github.com/NVIDIA/open-gpu-kernel-modules, release 595.45.04 ("Compatible GPUs"), and for older GPUs, which the
open modules do not drive, the PCI ID database (pci-ids.ucw.cz, vendor 10de). Compute capabilities: developer.nvidia.com/cuda-gpus and
developer.nvidia.com/cuda-legacy-gpus. Which instance type has which GPU: aws.amazon.com/ec2/instance-types.
"""

from __future__ import annotations

from typing import NamedTuple


class Architecture(NamedTuple):
    """What driver branches work with an architecture; newest: the last one, None where there is no end yet."""

    oldest: int
    newest: int | None
    open: bool  # The open kernel modules drive it.
    proprietary: bool


class Model(NamedTuple):
    """A GPU. capability: its compute capability, empty where it is not known."""

    name: str
    architecture: str
    capability: str


# Last branches: nvidia.com/en-us/drivers/unix/legacy-gpu for 390 and 470; the r590 release notes for 580. Modules: NVIDIA's Driver
# Installation Guide, "Kernel modules": open ones need Turing or newer, Blackwell needs open ones. First branches are those whose
# open-gpu-kernel-modules list, or release notes, name the architecture first.
ARCHITECTURES = {
    "Fermi": Architecture(256, 390, open=False, proprietary=True),
    "Kepler": Architecture(304, 470, open=False, proprietary=True),
    "Maxwell": Architecture(343, 580, open=False, proprietary=True),
    "Pascal": Architecture(367, 580, open=False, proprietary=True),
    "Volta": Architecture(384, 580, open=False, proprietary=True),
    "Turing": Architecture(410, None, open=True, proprietary=True),
    "Ampere": Architecture(450, None, open=True, proprietary=True),
    "Ada": Architecture(525, None, open=True, proprietary=True),
    "Hopper": Architecture(525, None, open=True, proprietary=True),
    "Blackwell": Architecture(570, None, open=True, proprietary=False),
}

MODELS = {
    0x06DE: Model("Tesla M2050", "Fermi", "2.0"),  # cg1
    0x118A: Model("GRID K520", "Kepler", "3.0"),  # g2
    0x102D: Model("Tesla K80", "Kepler", "3.7"),  # p2
    0x13F2: Model("Tesla M60", "Maxwell", "5.2"),  # g3, g3s
    0x1DB1: Model("Tesla V100-SXM2-16GB", "Volta", "7.0"),  # p3
    0x1DB4: Model("Tesla V100-PCIE-16GB", "Volta", "7.0"),
    0x1DB5: Model("Tesla V100-SXM2-32GB", "Volta", "7.0"),  # p3dn
    0x1DB6: Model("Tesla V100-PCIE-32GB", "Volta", "7.0"),
    0x1DB8: Model("Tesla V100-SXM3-32GB", "Volta", "7.0"),
    0x1DF5: Model("Tesla V100-SXM2-16GB", "Volta", "7.0"),
    0x1EB4: Model("T4G", "Turing", "7.5"),  # g5g
    0x1EB8: Model("Tesla T4", "Turing", "7.5"),  # g4dn
    0x20B0: Model("A100-SXM4-40GB", "Ampere", "8.0"),  # p4d
    0x20B2: Model("A100-SXM4-80GB", "Ampere", "8.0"),  # p4de
    0x20B5: Model("A100 80GB PCIe", "Ampere", "8.0"),
    0x20F1: Model("A100-PCIE-40GB", "Ampere", "8.0"),
    0x2237: Model("A10G", "Ampere", "8.6"),  # g5
    0x26B9: Model("L40S", "Ada", "8.9"),  # g6e
    0x27B8: Model("L4", "Ada", "8.9"),  # g6, gr6; a fraction of one: g6f, gr6f
    0x2330: Model("H100 80GB HBM3", "Hopper", "9.0"),  # p5
    0x2331: Model("H100 PCIe", "Hopper", "9.0"),
    0x2339: Model("H100", "Hopper", "9.0"),
    0x2335: Model("H200", "Hopper", "9.0"),  # p5e, p5en
    0x2342: Model("GH200", "Hopper", "9.0"),
    0x2348: Model("GH200 144G HBM3e", "Hopper", "9.0"),
    0x2901: Model("B200", "Blackwell", "10.0"),  # p6-b200
    0x2941: Model("GB200", "Blackwell", "10.0"),  # p6e-gb200
    0x3182: Model("B300 SXM6 AC", "Blackwell", "10.3"),  # p6-b300
    0x31C2: Model("GB300", "Blackwell", "10.3"),  # p6e-gb300
    0x2BB1: Model("RTX PRO 6000 Blackwell Workstation Edition", "Blackwell", "12.0"),
    0x2BB5: Model("RTX PRO 6000 Blackwell Server Edition", "Blackwell", "12.0"),  # g7e
    0x2C31: Model("RTX PRO 4500 Blackwell", "Blackwell", "12.0"),  # g7's Server Edition has an id that no public list names yet
}

# The first id of each architecture, for devices that are not in the table: NVIDIA numbers them by architecture, but for a few chips.
RANGES = (
    (0x2900, "Blackwell"),
    (0x2600, "Ada"),
    (0x2400, "Ampere"),
    (0x2300, "Hopper"),
    (0x2200, "Ampere"),
    (0x2100, "Turing"),
    (0x2080, "Ampere"),
    (0x1E00, "Turing"),
    (0x1D80, "Volta"),
    (0x1B00, "Pascal"),
    (0x1600, "Maxwell"),
    (0x15F0, "Pascal"),
    (0x1340, "Maxwell"),
    (0x1280, "Kepler"),
    (0x1200, "Fermi"),
    (0x1180, "Kepler"),
    (0x1040, "Fermi"),
    (0x0FC0, "Kepler"),
    (0x0000, "Fermi"),
)


def model(device: int) -> Model:
    """Return the GPU with a PCI device id; one that is not in the table gets its neighbours' architecture, and its id for a name."""
    if device in MODELS:
        return MODELS[device]
    return Model(f"device 0x{device:04x}", next(name for first, name in RANGES if device >= first), "")


def limits(architecture: str) -> Architecture:
    """Return what drives an architecture."""
    return ARCHITECTURES[architecture]
