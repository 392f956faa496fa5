"""The stand-in packages of the APT mirror: names, versions, dependencies and conflicts as the real ones have them.

Sources of names and versions: NVIDIA's "Driver Installation Guide" and "CUDA Installation Guide for Linux" on docs.nvidia.com, and
packages.ubuntu.com. What is inside the packages is in package_contents.
"""

from __future__ import annotations

from dataclasses import dataclass

from rehearsal.mirrors import package_contents as contents
from rehearsal.mirrors.package_contents import Contents

DRIVERS = ("580.126.09", "580.173.02", "595.91.07")
TOOLKITS = {  # release: versions of cuda-toolkit, cuda-nvcc and cuda-cudart in it
    "12.9": ("12.9.1", "12.9.86", "12.9.79"),
    "13.0": ("13.0.2", "13.0.88", "13.0.96"),
}
CUDNNS = ("9.20.0.48", "9.28.0.42")
CUDNN_CUDA = {"12": 12090, "13": 13000}  # CUDA's major version: the runtime that cuDNN was built with, as it says itself
UBUNTU_KERNELS = ("6.14.0-1018-aws", "6.17.0-1010-aws")
NO_SUFFIX = 590  # from this branch on Ubuntu packages of NVIDIA's repository do not carry their branch in their name
NOTHING = Contents()


@dataclass(frozen=True)
class Package:
    """One package. one_of: a virtual name that only one installed package can have; conflicts: names; maker: whose package is meant."""

    name: str
    version: str
    what: str
    depends: str = ""
    contents: Contents = NOTHING
    one_of: str = ""
    conflicts: str = ""
    maker: str = "NVIDIA"

    @property
    def file_name(self) -> str:
        return f"{self.name}_{self.version}_amd64.deb"

    @property
    def control(self) -> str:
        """The control file, as deb-control(5) has it; fields without a value are left out."""
        others = self.one_of or self.conflicts
        fields = {
            "Package": self.name,
            "Version": self.version,
            "Architecture": "amd64",
            "Maintainer": "GPU Classroom <classroom@example.org>",
            "Installed-Size": "20",
            "Depends": self.depends,
            "Provides": self.one_of,
            "Conflicts": others,
            "Replaces": others,
            "Section": "multiverse/devel",
            "Priority": "optional",
            "Description": f"Stand-in for {self.maker}'s {self.name}: {self.what}",
        }
        lines = [f"{name}: {value}" for name, value in fields.items() if value]
        return "\n".join([*lines, f" Made by GPU Classroom's rehearsal; holds nothing of {self.maker}'s.", ""])


def debian() -> list[Package]:
    """What NVIDIA's repository for Debian 12 holds."""
    return [*(package for version in DRIVERS for package in debian_driver(version)), *pinning(), *toolkits(), *cudnns()]


def ubuntu() -> list[Package]:
    """What NVIDIA's repositories for Ubuntu 22.04 and 24.04 hold."""
    return [*(package for version in DRIVERS for package in ubuntu_driver(version)), *pinning(), *toolkits(), *cudnns()]


def ubuntu_archive() -> list[Package]:
    """What Ubuntu's own archive holds for EC2: server drivers with a prebuilt module for each kernel."""
    kernels = [package for kernel in UBUNTU_KERNELS for package in ubuntu_kernel(kernel)]
    return [*kernels, *newest_ubuntu_kernel(), *(package for version in DRIVERS for package in ubuntu_server(version))]


def debian_driver(upstream: str) -> list[Package]:
    """The driver's packages of one version."""
    version, same = f"{upstream}-1", f"(= {upstream}-1)"
    firmware = f"dkms, firmware-nvidia-gsp {same}"
    compute = (
        f"libcuda1 {same}, libnvidia-ml1 {same}, nvidia-persistenced {same}, nvidia-modprobe {same}, "
        f"nvidia-kernel-dkms {same} | nvidia-kernel-open-dkms {same}"
    )
    closed, opened = "nvidia-kernel-dkms", "nvidia-kernel-open-dkms"
    modules = {name: contents.module_source(upstream, name == opened) | contents.dkms(upstream) for name in (closed, opened)}
    return [
        Package("nvidia-driver-cuda", version, "compute part of the driver", compute, contents.nvidia_smi(upstream)),
        Package(opened, version, "open kernel modules", firmware, modules[opened], conflicts=closed),
        Package(closed, version, "proprietary kernel modules", firmware, modules[closed], conflicts=opened),
        Package("firmware-nvidia-gsp", version, "firmware of the GPU's system processor", "", contents.firmware(upstream)),
        Package("libcuda1", version, "CUDA driver library", "libc6", contents.libcuda(upstream)),
        Package("libnvidia-ml1", version, "management library", "libc6", contents.libnvidia_ml(upstream)),
        Package("nvidia-persistenced", version, "daemon that keeps the driver loaded", "", contents.persistence_daemon()),
        Package("nvidia-modprobe", version, "loader of the kernel modules", "kmod", contents.nvidia_modprobe()),
        Package("nvidia-driver", version, "the driver with its graphics", f"nvidia-driver-cuda {same}, xserver-xorg-core"),
        Package("nvidia-open", version, "the driver with open modules", f"{opened} {same}, nvidia-driver {same}"),
        Package("cuda-drivers", version, "the driver with proprietary modules", f"{closed} {same}, nvidia-driver {same}"),
    ]


def ubuntu_driver(upstream: str) -> list[Package]:
    """The driver's packages of one version: libnvidia-compute-580, but libnvidia-compute from 590 on. Only one branch can be installed."""
    branch = upstream.split(".")[0]
    b, version = (f"-{branch}", f"{upstream}-0ubuntu1") if int(branch) < NO_SUFFIX else ("", f"{upstream}-1ubuntu1")
    same, suffixed = f"(= {version})", sorted({one.split(".")[0] for one in DRIVERS if int(one.split(".")[0]) < NO_SUFFIX})

    def part(base: str, what: str, depends: str = "", contents: Contents = NOTHING) -> Package:
        others = "" if b else ", ".join(f"{base}-{branch}" for branch in suffixed)
        return Package(f"{base}{b}", version, what, depends, contents, one_of=base if b else "", conflicts=others)

    def modules(flavour: str, what: str) -> list[Package]:
        dkms, source = f"nvidia-dkms{b}{flavour}", f"nvidia-kernel-source{b}{flavour}"
        depends = f"dkms, nvidia-kernel-common{b} {same}, {source} {same}"
        inside = contents.module_source(upstream, bool(flavour))
        return [
            Package(dkms, version, f"{what} kernel modules, by DKMS", depends, contents.dkms(upstream), one_of="nvidia-dkms-kernel"),
            Package(source, version, f"source of the {what} kernel modules", "", inside, one_of="nvidia-kernel-source-any"),
        ]

    common, graphics = f"nvidia-firmware{b} {same}, nvidia-modprobe", f"nvidia-dkms{b} {same}, nvidia-utils{b} {same}, xserver-xorg-core"
    return [
        *modules("-open", "open"),
        *modules("", "proprietary"),
        part("nvidia-kernel-common", "files that all kernel modules share", common),
        part("nvidia-firmware", "firmware of the GPU's system processor", "", contents.firmware(upstream)),
        part("libnvidia-compute", "libraries for computing", "libc6", contents.libcuda(upstream) | contents.libnvidia_ml(upstream)),
        part("nvidia-utils", "nvidia-smi", f"libnvidia-compute{b} {same}", contents.nvidia_smi(upstream)),
        part("nvidia-compute-utils", "persistence daemon", f"libnvidia-compute{b} {same}", contents.persistence_daemon()),
        part("nvidia-driver", "the driver with its graphics", graphics),
        Package("nvidia-modprobe", version, "loader of the kernel modules", "kmod", contents.nvidia_modprobe()),
        Package("cuda-drivers", version, "the driver with proprietary modules", f"nvidia-driver{b} {same}"),
    ]


def ubuntu_server(upstream: str) -> list[Package]:
    """A server driver of Ubuntu's archive: a module for each kernel, and what computes with it."""
    s, version = f"{upstream.split('.')[0]}-server", f"{upstream}-0ubuntu0.24.04.1"
    same = f"(= {version})"

    def part(base: str, what: str, depends: str = "", contents: Contents = NOTHING) -> Package:
        return Package(f"{base}-{s}", version, what, depends, contents, one_of=base, maker="Ubuntu")

    def whole(name: str, its_version: str, what: str, depends: str, contents: Contents = NOTHING) -> Package:
        return Package(name, its_version, what, depends, contents, maker="Ubuntu")

    def modules(kernel: str) -> Package:
        depends = f"linux-image-{kernel}, nvidia-kernel-common-{s} (>= {upstream})"
        inside = contents.prebuilt_module(upstream, kernel, s)
        return whole(f"{prebuilt}-{kernel}", prebuilt_version(kernel, upstream), "prebuilt modules of one kernel", depends, inside)

    prebuilt, newest = f"linux-modules-nvidia-{s}-open", UBUNTU_KERNELS[-1]
    its_version = prebuilt_version(newest, upstream)
    headless = f"libnvidia-compute-{s} {same}, nvidia-compute-utils-{s} {same}, nvidia-kernel-common-{s} {same}"
    return [
        *map(modules, UBUNTU_KERNELS),
        whole(f"{prebuilt}-aws", its_version, "prebuilt modules of the newest kernel", f"{prebuilt}-{newest} (= {its_version})"),
        whole(f"nvidia-headless-no-dkms-{s}-open", version, "the driver without graphics and modules", headless),
        part("nvidia-kernel-common", "files that all kernel modules share", f"nvidia-firmware-{s} {same}"),
        part("nvidia-firmware", "firmware of the GPU's system processor", "", contents.firmware(upstream)),
        part("libnvidia-compute", "libraries for computing", "libc6", contents.libcuda(upstream) | contents.libnvidia_ml(upstream)),
        part("nvidia-utils", "nvidia-smi", f"libnvidia-compute-{s} {same}", contents.nvidia_smi(upstream)),
        part("nvidia-compute-utils", "persistence daemon", f"libnvidia-compute-{s} {same}", contents.persistence_daemon()),
    ]


def ubuntu_kernel(kernel: str) -> list[Package]:
    """A kernel of Ubuntu's for EC2, by name only: nothing of it could boot."""
    image, headers = contents.kernel_image(kernel), contents.kernel_headers(kernel)
    return [
        Package(f"linux-image-{kernel}", kernel_version(kernel), "kernel image", "kmod", image, maker="Ubuntu"),
        Package(f"linux-headers-{kernel}", kernel_version(kernel), "kernel headers", "", headers, maker="Ubuntu"),
    ]


def newest_ubuntu_kernel() -> list[Package]:
    """The packages that follow the newest kernel for EC2."""
    kernel = UBUNTU_KERNELS[-1]
    version = kernel.removesuffix("-aws").replace("-", ".")
    both = f"linux-image-aws (= {version}), linux-headers-aws (= {version})"
    return [
        Package("linux-image-aws", version, "newest kernel for EC2", f"linux-image-{kernel}", maker="Ubuntu"),
        Package("linux-headers-aws", version, "headers of the newest kernel for EC2", f"linux-headers-{kernel}", maker="Ubuntu"),
        Package("linux-aws", version, "newest kernel for EC2 with headers", both, maker="Ubuntu"),
    ]


def kernel_version(kernel: str) -> str:
    """The version of a kernel's packages: 6.14.0-1018-aws is 6.14.0-1018.18."""
    base = kernel.removesuffix("-aws")
    return f"{base}.{int(base.rsplit('-', 1)[1]) - 1000}"


def prebuilt_version(kernel: str, upstream: str) -> str:
    """Ubuntu versions prebuilt modules by their kernel; the stand-ins add the driver, so that a newer driver is a newer package."""
    return f"{kernel_version(kernel)}+{upstream}"


def pinning() -> list[Package]:
    """NVIDIA's packages that keep a machine on a branch, or on one version."""
    names = dict.fromkeys([*(version.split(".")[0] for version in DRIVERS), *DRIVERS])
    what, virtual = "keeps the driver at {}", "nvidia-driver-pinning"
    return [Package(f"{virtual}-{name}", f"{name}-1", what.format(name), "", contents.pin(name), one_of=virtual) for name in names]


def toolkits() -> list[Package]:
    """CUDA toolkits side by side, and the package `cuda`, which drags a driver along."""
    release, version = [(release.replace(".", "-"), f"{versions[0]}-1") for release, versions in TOOLKITS.items()][-1]
    cuda = Package("cuda", version, "toolkit and driver", f"cuda-toolkit-{release} (>= {version}), cuda-drivers (>= 580.65.06)")
    return [*(package for release in TOOLKITS for package in toolkit(release)), cuda]


def toolkit(release: str) -> list[Package]:
    """One release of the toolkit, in /usr/local/cuda-X.Y."""
    full, nvcc, cudart = TOOLKITS[release]
    end = release.replace(".", "-")
    common = f"cuda-toolkit-{end}-config-common"
    depends = f"cuda-nvcc-{end} (>= {nvcc}), cuda-cudart-{end} (>= {cudart}), {common} (>= {full})"
    return [
        Package(f"cuda-toolkit-{end}", f"{full}-1", "CUDA toolkit", depends),
        Package(f"cuda-nvcc-{end}", f"{nvcc}-1", "compiler", "", contents.nvcc(release, nvcc)),
        Package(f"cuda-cudart-{end}", f"{cudart}-1", "runtime library", f"libc6, {common}", contents.libcudart(release)),
        Package(common, f"{full}-1", "links to this release", "", contents.toolkit_links(release, full)),
    ]


def cudnns() -> list[Package]:
    """cuDNN for each major version of CUDA; the two cannot be installed together."""
    return [package for version in CUDNNS for cuda in CUDNN_CUDA for package in cudnn(version, cuda)]


def cudnn(upstream: str, cuda: str) -> list[Package]:
    """One version of cuDNN: library, what programs are built with, and the package that brings both."""
    same, other = f"(= {upstream}-1)", next(major for major in CUDNN_CUDA if major != cuda)

    def part(base: str, what: str, depends: str, contents: Contents = NOTHING) -> Package:
        return Package(f"{base}-cuda-{cuda}", f"{upstream}-1", what, depends, contents, conflicts=f"{base}-cuda-{other}")

    lib, dev, headers = (f"{base}-cuda-{cuda} {same}" for base in ("libcudnn9", "libcudnn9-dev", "libcudnn9-headers"))
    return [
        part("cudnn9", "cuDNN", f"{lib}, {dev}"),
        part("libcudnn9", "library", "libc6", contents.libcudnn(upstream, CUDNN_CUDA[cuda])),
        part("libcudnn9-dev", "what programs are built with", f"{lib}, {headers}", contents.cudnn_link()),
        part("libcudnn9-headers", "headers", "", contents.cudnn_headers(upstream)),
    ]


def keyring(address: str, public_key: bytes) -> Package:
    """NVIDIA's own way to add its repository, .../<system>/x86_64/: a list whose Signed-By differs from everybody else's."""
    return Package("cuda-keyring", "1.1-1", "key and list of the repository", "", contents.keyring(address, public_key))
