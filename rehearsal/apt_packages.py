"""The stand-in packages of the APT mirror: names, versions, dependencies and conflicts of the real ones, and as little inside as a role can tell.

Nothing here is NVIDIA's. What a program or library answers is what the real one answers on a machine without a GPU. Names and versions:
docs.nvidia.com, "Driver Installation Guide" and "CUDA Installation Guide for Linux"; Ubuntu's from packages.ubuntu.com.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from textwrap import dedent

DRIVERS = ("580.126.09", "580.173.02", "595.91.07")
TOOLKITS = {  # release: versions of cuda-toolkit, cuda-nvcc and cuda-cudart in it
    "12.9": ("12.9.1", "12.9.86", "12.9.79"),
    "13.0": ("13.0.2", "13.0.88", "13.0.96"),
}
CUDNNS = ("9.20.0.48", "9.28.0.42")
CUDNN_CUDA = {"12": 12090, "13": 13000}  # CUDA's major version: the runtime that cuDNN was built with, as it says itself
DRIVER_CUDA = {"580": 13000, "595": 13020}  # the newest CUDA that a driver branch runs, as libcuda says it
UBUNTU_KERNELS = ("6.14.0-1018-aws", "6.17.0-1010-aws")
LIBRARIES = "usr/lib/x86_64-linux-gnu"
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE and cudaErrorNoDevice
NVML_DRIVER_NOT_LOADED = 9


@dataclass(frozen=True)
class Link:
    """A symbolic link to `target`."""

    target: str


@dataclass(frozen=True)
class Compiled:
    """C that the mirror compiles. soname: of a shared library; empty for an object file."""

    source: str
    soname: str = ""


@dataclass(frozen=True)
class Package:
    """One package. files: path without the leading slash to text (executable if it starts with #!), link or C; scripts: maintainer scripts."""

    name: str
    version: str
    what: str
    depends: str = ""
    files: Mapping[str, str | bytes | Link | Compiled] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    maker: str = "NVIDIA"

    @property
    def file_name(self) -> str:
        return f"{self.name}_{self.version}_amd64.deb"

    @property
    def control(self) -> str:
        """The control file: deb822, as deb-control(5) has it."""
        lines = {"Package": self.name, "Version": self.version, "Architecture": "amd64", "Section": "multiverse/devel", "Priority": "optional"}
        lines |= {"Maintainer": "GPU Classroom <classroom@example.org>", "Depends": self.depends, **self.fields}
        lines["Description"] = (
            f"Stand-in for {self.maker}'s {self.name}: {self.what}\n Made by GPU Classroom's rehearsal; holds nothing of {self.maker}'s."
        )
        return "".join(f"{key}: {value}\n" for key, value in lines.items() if value)


def debian() -> list[Package]:
    """What NVIDIA's repository for Debian 12 holds."""
    drivers = [package for version in DRIVERS for package in debian_driver(version, f"{version}-1")]
    return drivers + pinning() + toolkits() + cudnns()


def ubuntu() -> list[Package]:
    """What NVIDIA's repositories for Ubuntu 22.04 and 24.04 hold: names carry the branch up to 580, none from 590 on."""
    drivers = [package for version in DRIVERS for package in ubuntu_driver(version)]
    return drivers + pinning() + toolkits() + cudnns()


def ubuntu_archive() -> list[Package]:
    """What Ubuntu's own archive holds for EC2: the server drivers with a prebuilt module for each kernel."""
    kernels = [package for kernel in UBUNTU_KERNELS for package in ubuntu_kernel(kernel)] + ubuntu_kernel_metas()
    return kernels + [package for version in DRIVERS for package in ubuntu_server(version)]


def debian_driver(upstream: str, version: str) -> list[Package]:
    """The driver's packages of one version."""
    same = f"(= {version})"
    module, daemon = module_source(upstream), persistence_daemon()
    firmware = {f"lib/firmware/nvidia/{upstream}/gsp_tu10x.bin": "stand-in\n"}
    headless = f"nvidia-kernel-dkms {same} | nvidia-kernel-open-dkms {same}"
    needs = f"libcuda1 {same}, libnvidia-ml1 {same}, nvidia-persistenced {same}, nvidia-modprobe {same}, {headless}"

    def dkms(name: str, other: str, files: Mapping[str, str], what: str) -> Package:
        needs = f"dkms, firmware-nvidia-gsp {same}"
        return Package(name, version, what, needs, files, dkms_scripts(upstream), {"Conflicts": other, "Replaces": other})

    return [
        Package("nvidia-driver-cuda", version, "compute part of the driver", needs, {"usr/bin/nvidia-smi": nvidia_smi(upstream)}),
        dkms("nvidia-kernel-open-dkms", "nvidia-kernel-dkms", module | module_license("Dual MIT/GPL", upstream), "open kernel modules"),
        dkms("nvidia-kernel-dkms", "nvidia-kernel-open-dkms", module | module_license("NVIDIA", upstream), "proprietary kernel modules"),
        Package("firmware-nvidia-gsp", version, "firmware of the GPU's system processor", files=firmware),
        Package("libcuda1", version, "CUDA driver library", "libc6", libcuda(upstream), LDCONFIG),
        Package("libnvidia-ml1", version, "management library", "libc6", libnvidia_ml(upstream), LDCONFIG),
        Package("nvidia-persistenced", version, "daemon that keeps the driver loaded", "", daemon, daemon_scripts()),
        Package("nvidia-modprobe", version, "loader of the kernel modules", "kmod", {"usr/bin/nvidia-modprobe": NVIDIA_MODPROBE}),
        Package("nvidia-driver", version, "the driver with its graphics", f"nvidia-driver-cuda {same}, xserver-xorg-core"),
        Package("nvidia-open", version, "the driver with open modules", f"nvidia-kernel-open-dkms {same}, nvidia-driver {same}"),
        Package("cuda-drivers", version, "the driver with proprietary modules", f"nvidia-kernel-dkms {same}, nvidia-driver {same}"),
    ]


def ubuntu_driver(upstream: str) -> list[Package]:
    """The driver's packages of one version under the names of its branch: libnvidia-compute-580, but libnvidia-compute from 590 on."""
    branch = upstream.split(".")[0]
    suffix, version = (f"-{branch}", f"{upstream}-0ubuntu1") if int(branch) < 590 else ("", f"{upstream}-1ubuntu1")
    same = f"(= {version})"

    def part(base: str, what: str, needs: str = "", files: Mapping | None = None, scripts: Mapping | None = None) -> Package:
        return Package(f"{base}{suffix}", version, what, needs, files or {}, scripts or {}, instead_of(base, suffix))

    def dkms(flavour: str, what: str) -> Package:
        needs = f"dkms, nvidia-kernel-common{suffix} {same}, nvidia-kernel-source{suffix}{flavour} {same}"
        only = {"Conflicts": "nvidia-dkms-kernel", "Provides": "nvidia-dkms-kernel", "Replaces": "nvidia-dkms-kernel"}
        return Package(f"nvidia-dkms{suffix}{flavour}", version, what, needs, {}, dkms_scripts(upstream), only)

    def source(flavour: str, license_: str) -> Package:
        only = {name: "nvidia-kernel-source-any" for name in ("Conflicts", "Provides", "Replaces")}
        files = module_source(upstream) | module_license(license_, upstream)
        return Package(f"nvidia-kernel-source{suffix}{flavour}", version, "source of the kernel modules", "", files, {}, only)

    firmware = {f"lib/firmware/nvidia/{upstream}/gsp_tu10x.bin": "stand-in\n"}
    libraries = libcuda(upstream) | libnvidia_ml(upstream)
    utils = f"libnvidia-compute{suffix} {same}"
    return [
        dkms("-open", "open kernel modules, by DKMS"),
        dkms("", "proprietary kernel modules, by DKMS"),
        source("-open", "Dual MIT/GPL"),
        source("", "NVIDIA"),
        part("nvidia-kernel-common", "files that all kernel modules share", f"nvidia-firmware{suffix} {same}, nvidia-modprobe (>= {branch})"),
        part("nvidia-firmware", "firmware of the GPU's system processor", "", firmware),
        part("libnvidia-compute", "libraries for computing", "libc6", libraries, LDCONFIG),
        part("nvidia-utils", "nvidia-smi", utils, {"usr/bin/nvidia-smi": nvidia_smi(upstream)}),
        part("nvidia-compute-utils", "persistence daemon", utils, persistence_daemon(), daemon_scripts()),
        Package("nvidia-modprobe", version, "loader of the kernel modules", "kmod", {"usr/bin/nvidia-modprobe": NVIDIA_MODPROBE}),
        part("nvidia-driver", "the driver with its graphics", f"nvidia-dkms{suffix} {same}, nvidia-utils{suffix} {same}, xserver-xorg-core"),
        Package("cuda-drivers", version, "the driver with proprietary modules", f"nvidia-driver{suffix} {same}"),
    ]


def ubuntu_server(upstream: str) -> list[Package]:
    """A server driver of Ubuntu's archive: modules built and signed for each kernel, and what computes with them."""
    name, version = f"{upstream.split('.')[0]}-server", f"{upstream}-0ubuntu0.24.04.1"
    same, only = f"(= {version})", instead_of

    def part(base: str, what: str, needs: str = "", files: Mapping | None = None, scripts: Mapping | None = None) -> Package:
        return Package(f"{base}-{name}", version, what, needs, files or {}, scripts or {}, only(base, f"-{name}"), "Ubuntu")

    def modules(kernel: str) -> Package:
        needs = f"linux-image-{kernel}, nvidia-kernel-common-{name} (>= {upstream})"
        scripts = {"postinst": shell(f"depmod -a {kernel}"), "postrm": shell(f"[ ! -d /lib/modules/{kernel} ] || depmod -a {kernel}")}
        files = {f"lib/modules/{kernel}/kernel/nvidia-{name}-open/nvidia.ko": prebuilt_module(upstream, kernel)}
        return Package(f"linux-modules-nvidia-{name}-open-{kernel}", archive_version(kernel, upstream), "prebuilt modules of one kernel", needs, files, scripts, {}, "Ubuntu")

    newest = UBUNTU_KERNELS[-1]
    meta = Package(
        f"linux-modules-nvidia-{name}-open-aws", archive_version(newest, upstream), "prebuilt modules of the newest kernel",
        f"linux-modules-nvidia-{name}-open-{newest} (= {archive_version(newest, upstream)})", maker="Ubuntu",
    )  # fmt: skip
    headless = f"libnvidia-compute-{name} {same}, nvidia-compute-utils-{name} {same}, nvidia-kernel-common-{name} {same}"
    return [
        *map(modules, UBUNTU_KERNELS),
        meta,
        Package(f"nvidia-headless-no-dkms-{name}-open", version, "the driver without graphics and modules", headless, maker="Ubuntu"),
        part("nvidia-kernel-common", "files that all kernel modules share", f"nvidia-firmware-{name} {same}"),
        part("nvidia-firmware", "firmware of the GPU's system processor", "", {f"lib/firmware/nvidia/{upstream}/gsp_tu10x.bin": "stand-in\n"}),
        part("libnvidia-compute", "libraries for computing", "libc6", libcuda(upstream) | libnvidia_ml(upstream), LDCONFIG),
        part("nvidia-utils", "nvidia-smi", f"libnvidia-compute-{name} {same}", {"usr/bin/nvidia-smi": nvidia_smi(upstream)}),
        part("nvidia-compute-utils", "persistence daemon", f"libnvidia-compute-{name} {same}", persistence_daemon(), daemon_scripts()),
    ]


def ubuntu_kernel(kernel: str) -> list[Package]:
    """A kernel of Ubuntu's for EC2, by name only: nothing of it could boot."""
    version = kernel_version(kernel)
    files = {f"boot/vmlinuz-{kernel}": "stand-in\n", f"lib/modules/{kernel}/modules.order": "", f"lib/modules/{kernel}/modules.builtin": ""}
    return [
        Package(f"linux-image-{kernel}", version, "kernel image", "kmod", files, {"postinst": shell(f"depmod -a {kernel}")}, {}, "Ubuntu"),
        Package(f"linux-headers-{kernel}", version, "kernel headers", "", {f"usr/src/linux-headers-{kernel}/Makefile": "# stand-in\n"}, maker="Ubuntu"),
    ]


def ubuntu_kernel_metas() -> list[Package]:
    """The packages that follow the newest kernel for EC2."""
    newest = UBUNTU_KERNELS[-1]
    version = ".".join(newest.removesuffix("-aws").split("-"))
    image, headers = f"linux-image-{newest}", f"linux-headers-{newest}"
    return [
        Package("linux-image-aws", version, "newest kernel for EC2", image, maker="Ubuntu"),
        Package("linux-headers-aws", version, "headers of the newest kernel for EC2", headers, maker="Ubuntu"),
        Package("linux-aws", version, "newest kernel for EC2 with headers", f"linux-image-aws (= {version}), linux-headers-aws (= {version})", maker="Ubuntu"),
    ]


def kernel_version(kernel: str) -> str:
    """The version of a kernel's packages: 6.14.0-1018-aws is 6.14.0-1018.18."""
    base = kernel.removesuffix("-aws")
    return f"{base}.{int(base.rsplit('-', 1)[1]) - 1000}"


def archive_version(kernel: str, upstream: str) -> str:
    """Ubuntu versions prebuilt modules by their kernel; the stand-ins add the driver, so that a newer driver is a newer package."""
    return f"{kernel_version(kernel)}+{upstream}"


def pinning() -> list[Package]:
    """NVIDIA's packages that keep a machine on a branch, or on one version."""
    names = dict.fromkeys([version.split(".")[0] for version in DRIVERS] + list(DRIVERS))
    only = {"Conflicts": "nvidia-driver-pinning", "Provides": "nvidia-driver-pinning"}
    return [
        Package(f"nvidia-driver-pinning-{name}", f"{name}-1", f"keeps the driver at {name}", "", pin(name), {}, only) for name in names
    ]


def pin(name: str) -> dict[str, str]:
    """The preferences file of a pinning package; `580` and `580.126.09` both become a prefix of versions."""
    path = f"etc/apt/preferences.d/nvidia-driver-pinning-{name}"
    separator = "-" if "." in name else "."
    packages = "*nvidia* libcuda1* cuda-drivers*"
    return {path: f"Package: {packages}\nPin: version {name}{separator}*\nPin-Priority: 1001\n"}


def toolkits() -> list[Package]:
    """CUDA toolkits side by side, and the package `cuda`, which drags a driver along."""
    found = [package for release in TOOLKITS for package in toolkit(release)]
    newest = list(TOOLKITS)[-1]
    name, version = f"cuda-toolkit-{newest.replace('.', '-')}", f"{TOOLKITS[newest][0]}-1"
    return [*found, Package("cuda", version, "toolkit and driver", f"{name} (>= {version}), cuda-drivers (>= 580.65.06)")]


def toolkit(release: str) -> list[Package]:
    """One release of the toolkit, in /usr/local/cuda-X.Y. Priorities of the link /usr/local/cuda: 129 for 12.9, as NVIDIA has it."""
    full, nvcc_, cudart = TOOLKITS[release]
    dashed, major, place = release.replace(".", "-"), release.split(".")[0], f"usr/local/cuda-{release}"
    number = int(major) * 1000 + int(release.split(".")[1]) * 10
    library = Compiled(
        f"int cudaRuntimeGetVersion(int *version) {{ *version = {number}; return 0; }}\n"
        f"int cudaGetDeviceCount(int *count) {{ *count = 0; return {NO_DEVICE}; }}\n",
        f"libcudart.so.{major}",
    )
    needs = f"cuda-nvcc-{dashed} (>= {nvcc_}), cuda-cudart-{dashed} (>= {cudart}), cuda-toolkit-{dashed}-config-common (>= {full})"
    return [
        Package(f"cuda-toolkit-{dashed}", f"{full}-1", "CUDA toolkit", needs),
        Package(f"cuda-nvcc-{dashed}", f"{nvcc_}-1", "compiler", "", {f"{place}/bin/nvcc": nvcc(release, nvcc_)}),
        Package(
            f"cuda-cudart-{dashed}", f"{cudart}-1", "runtime library", f"libc6, cuda-toolkit-{dashed}-config-common",
            {f"{place}/targets/x86_64-linux/lib/libcudart.so.{major}": library, f"{place}/lib64": Link("targets/x86_64-linux/lib")}, LDCONFIG,
        ),
        Package(
            f"cuda-toolkit-{dashed}-config-common", f"{full}-1", "links to this release", "",
            {f"{place}/version.json": f'{{"cuda": {{"name": "CUDA SDK", "version": "{full}"}}}}\n'}, alternatives(release),
        ),
    ]  # fmt: skip


def cudnns() -> list[Package]:
    """cuDNN for each major version of CUDA; the two cannot be installed together."""
    return [package for version in CUDNNS for major in CUDNN_CUDA for package in cudnn(version, major)]


def cudnn(upstream: str, cuda: str) -> list[Package]:
    """One version of cuDNN: library, what programs are built with, and the package that brings both."""
    version, end = f"{upstream}-1", f"cuda-{cuda}"
    same = f"(= {version})"
    major, minor, patch, _ = upstream.split(".")
    number = int(major) * 10000 + int(minor) * 100 + int(patch)
    header = f"#define CUDNN_MAJOR {major}\n#define CUDNN_MINOR {minor}\n#define CUDNN_PATCHLEVEL {patch}\n"
    code = f"unsigned long cudnnGetVersion(void) {{ return {number}; }}\nunsigned long cudnnGetCudartVersion(void) {{ return {CUDNN_CUDA[cuda]}; }}\n"
    library = f"libcudnn.so.{major}.{minor}.{patch}"
    includes = "usr/include/x86_64-linux-gnu"

    def part(base: str, what: str, needs: str, files: Mapping | None = None, scripts: Mapping | None = None) -> Package:
        others = ", ".join(f"{base}-cuda-{other}" for other in CUDNN_CUDA if other != cuda)
        return Package(f"{base}-{end}", version, what, needs, files or {}, scripts or {}, {"Conflicts": others, "Replaces": others})

    return [
        part(f"cudnn{major}", "cuDNN", f"libcudnn{major}-{end} {same}, libcudnn{major}-dev-{end} {same}"),
        part(
            f"libcudnn{major}", "library", "libc6",
            {f"{LIBRARIES}/{library}": Compiled(code, f"libcudnn.so.{major}"), f"{LIBRARIES}/libcudnn.so.{major}": Link(library)}, LDCONFIG,
        ),
        part(
            f"libcudnn{major}-dev", "for building programs", f"libcudnn{major}-{end} {same}, libcudnn{major}-headers-{end} {same}",
            {f"{LIBRARIES}/libcudnn.so": Link(f"libcudnn.so.{major}")},
        ),
        part(
            f"libcudnn{major}-headers", "headers", "",
            {f"{includes}/cudnn_version_v{major}.h": header, f"{includes}/cudnn_version.h": Link(f"cudnn_version_v{major}.h")},
        ),
    ]  # fmt: skip


def keyring(base: str, public_key: bytes) -> Package:
    """NVIDIA's own way to add a repository: a list whose Signed-By differs from anybody else's. base: the repository's address."""
    system = base.rstrip("/").split("/")[-2]
    return Package(
        "cuda-keyring", "1.1-1", "key and list of the repository", "",
        {
            "usr/share/keyrings/cuda-archive-keyring.gpg": public_key,
            f"etc/apt/sources.list.d/cuda-{system}-x86_64.list": f"deb [signed-by=/usr/share/keyrings/cuda-archive-keyring.gpg] {base} /\n",
            "etc/apt/preferences.d/cuda-repository-pin-600": "Package: nsight-compute\nPin: origin *ubuntu.com*\nPin-Priority: -1\n",
        },
    )  # fmt: skip


# What is in the packages.


def shell(*lines: str) -> str:
    """A shell script that ends at the first failure."""
    return "".join(f"{line}\n" for line in ("#!/bin/sh", "set -e", *lines))


def text(script: str) -> str:
    return dedent(script).lstrip()


def instead_of(base: str, suffix: str) -> dict[str, str]:
    """Packages with a branch in their name stand for the one without, and only one of all branches can be installed."""
    return {name: base for name in ("Conflicts", "Provides", "Replaces")} if suffix else {}


LDCONFIG = {"triggers": "activate-noawait ldconfig\n"}


def module_source(version: str) -> dict[str, str]:
    """A module that DKMS builds in a second; its configuration as NVIDIA's has it, but one module instead of five."""
    folder = f"usr/src/nvidia-{version}"
    build = "${dkms_tree}/${PACKAGE_NAME}/${PACKAGE_VERSION}/build"
    return {
        f"{folder}/Makefile": "obj-m := nvidia.o\n",
        f"{folder}/dkms.conf": text(f"""
            PACKAGE_NAME="nvidia"
            PACKAGE_VERSION="{version}"
            AUTOINSTALL="yes"
            MAKE[0]="make -C ${{kernel_source_dir}} M={build} modules"
            CLEAN="make -C ${{kernel_source_dir}} M={build} clean"
            BUILT_MODULE_NAME[0]="nvidia"
            DEST_MODULE_LOCATION[0]="/kernel/drivers/video"
        """),
    }


def module_license(license_: str, version: str) -> dict[str, str]:
    """The module's only source file. Open and proprietary modules differ by their licence, as modinfo tells the real ones apart."""
    code = text(f"""
        /* Stand-in of GPU Classroom's rehearsal: finds no GPU, as the real module does where there is none. */
        #include <linux/errno.h>
        #include <linux/init.h>
        #include <linux/module.h>
        static int __init nvidia_init(void) {{ printk(KERN_ERR "NVRM: No NVIDIA GPU found.\\n"); return -ENODEV; }}
        module_init(nvidia_init);
        MODULE_DESCRIPTION("Stand-in of GPU Classroom's rehearsal");
        MODULE_LICENSE("{license_}");
        MODULE_VERSION("{version}");
    """)
    return {f"usr/src/nvidia-{version}/nvidia.c": code}


def prebuilt_module(version: str, kernel: str) -> Compiled:
    """An object file with the section that modinfo reads, and nothing that a kernel could load."""
    facts = [f"version={version}", "license=Dual MIT/GPL", "description=Stand-in of GPU Classroom's rehearsal", "name=nvidia", f"vermagic={kernel} SMP mod_unload modversions"]
    lines = (
        f'__attribute__((section(".modinfo"))) const char fact_{number}[] = "{fact}";\n' for number, fact in enumerate(facts)
    )
    return Compiled("".join(lines))


def dkms_scripts(version: str) -> dict[str, str]:
    """Maintainer scripts as Debian's dh_dkms writes them: register, build and install for the installed kernels; forget before removal."""
    return {
        "postinst": shell(f'if [ "$1" = configure ]; then /usr/lib/dkms/common.postinst nvidia {version} /usr/share/nvidia "" "$2"; fi'),
        "prerm": shell(
            'case "$1" in remove|upgrade|deconfigure)',
            f'  if [ -x /usr/sbin/dkms ] && [ -n "$(dkms status -m nvidia -v {version})" ]; then dkms remove -m nvidia -v {version} --all; fi ;;',
            "esac",
        ),
    }


def library(name: str, major: str, version: str, code: str) -> dict[str, Compiled | Link]:
    """A shared library under its full version and the link that programs ask for."""
    soname = f"{name}.so.{major}"
    return {f"{LIBRARIES}/{name}.so.{version}": Compiled(code, soname), f"{LIBRARIES}/{soname}": Link(f"{name}.so.{version}")}


def libcuda(version: str) -> dict[str, Compiled | Link]:
    """The two calls that tell a driver's version without a GPU."""
    cuda = DRIVER_CUDA[version.split(".")[0]]
    code = (
        f"int cuInit(unsigned flags) {{ return {NO_DEVICE}; }}\n"
        f"int cuDriverGetVersion(int *version) {{ *version = {cuda}; return 0; }}\n"
    )
    return library("libcuda", "1", version, code)


def libnvidia_ml(version: str) -> dict[str, Compiled | Link]:
    return library("libnvidia-ml", "1", version, f"int nvmlInit_v2(void) {{ return {NVML_DRIVER_NOT_LOADED}; }}\n")


def nvidia_smi(version: str) -> str:
    """nvidia-smi without a GPU: the real texts and exit codes for a module that is missing, of another version, or idle."""
    return text(f"""
        #!/bin/sh
        # Stand-in of GPU Classroom's rehearsal.
        if [ ! -e /proc/driver/nvidia/version ]; then
          echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running."
          echo
          exit 9
        fi
        if ! grep -q ' {version} ' /proc/driver/nvidia/version; then
          echo "Failed to initialize NVML: Driver/library version mismatch"
          echo "NVML library version: {version.rsplit(".", 1)[0]}"
          exit 18
        fi
        echo "No devices were found"
        exit 6
    """)


NVIDIA_MODPROBE = shell("# Stand-in of GPU Classroom's rehearsal.", "exec modprobe nvidia")


def persistence_daemon() -> dict[str, str]:
    """The daemon, which without a GPU fails as the real one does."""
    daemon = text("""
        #!/bin/sh
        # Stand-in of GPU Classroom's rehearsal.
        if [ ! -e /dev/nvidiactl ]; then
          echo "Failed to query NVIDIA devices. Please ensure that the NVIDIA device files (/dev/nvidia*) exist, and that user 0 has read and write permissions for those files." >&2
          exit 1
        fi
        exec sleep infinity
    """)
    unit = text("""
        [Unit]
        Description=NVIDIA Persistence Daemon
        Wants=syslog.target
        [Service]
        ExecStart=/usr/bin/nvidia-persistenced
        [Install]
        WantedBy=multi-user.target
    """)
    return {"usr/bin/nvidia-persistenced": daemon, "lib/systemd/system/nvidia-persistenced.service": unit}


def daemon_scripts() -> dict[str, str]:
    """Maintainer scripts as Debian's dh_installsystemd writes them: enabled and started, whether or not a GPU is there."""
    unit = "nvidia-persistenced.service"
    running = "[ ! -d /run/systemd/system ] ||"
    return {
        "postinst": shell(
            f'if [ "$1" = configure ]; then',
            f"  deb-systemd-helper unmask {unit} >/dev/null || true",
            f"  if deb-systemd-helper --quiet was-enabled {unit}; then deb-systemd-helper enable {unit} >/dev/null; fi",
            f"  {running} systemctl --system daemon-reload >/dev/null || true",
            f"  {running} deb-systemd-invoke start {unit} >/dev/null || true",
            "fi",
        ),
        "prerm": shell(f'if [ "$1" = remove ]; then {running} deb-systemd-invoke stop {unit} >/dev/null || true; fi'),
        "postrm": shell(
            f'if [ "$1" = purge ]; then deb-systemd-helper purge {unit} >/dev/null || true; fi',
            f"{running} systemctl --system daemon-reload >/dev/null || true",
        ),
    }


def alternatives(release: str) -> dict[str, str]:
    """/usr/local/cuda and /usr/local/cuda-12 as alternatives."""
    place, major = f"/usr/local/cuda-{release}", release.split(".")[0]
    links, priority = ("cuda", f"cuda-{major}"), release.replace(".", "")
    return {
        "postinst": shell(*(f"update-alternatives --install /usr/local/{name} {name} {place} {priority}" for name in links)),
        "prerm": shell('[ "$1" != upgrade ] || exit 0', *(f"update-alternatives --remove {name} {place}" for name in links)),
    }


def nvcc(release: str, version: str) -> str:
    """A compiler that says its version and accepts a kernel; what it writes finds no GPU, as a real program would.

    Like the real one it stops without a host compiler, and without the source.
    """
    return text(f"""
        #!/bin/sh
        # Stand-in of GPU Classroom's rehearsal.
        output=a.out source=
        while [ $# -gt 0 ]; do
          case "$1" in
            --version|-V)
              echo "nvcc: NVIDIA (R) Cuda compiler driver"
              echo "Copyright (c) 2005-2025 NVIDIA Corporation (stand-in of GPU Classroom's rehearsal)"
              echo "Cuda compilation tools, release {release}, V{version}"
              exit 0 ;;
            -o) output=$2; shift ;;
            *.cu) source=$1 ;;
          esac
          shift
        done
        [ -n "$source" ] || {{ echo "nvcc fatal   : No input files specified; use option --help for more information" >&2; exit 1; }}
        [ -r "$source" ] || {{ echo "nvcc fatal   : Don't know what to do with '$source'" >&2; exit 1; }}
        command -v g++ >/dev/null || {{ echo "nvcc fatal   : Failed to preprocess host compiler properties." >&2; exit 1; }}
        grep -q __global__ "$source" || {{ echo "$source: error: this stand-in compiles only what holds a __global__ function" >&2; exit 2; }}
        printf '#!/bin/sh\\necho "no CUDA-capable device is detected" >&2\\nexit 1\\n' >"$output"
        chmod 755 "$output"
    """)


def unique(packages: Iterable[Package]) -> dict[str, Package]:
    """Packages by file name."""
    return {package.file_name: package for package in packages}
