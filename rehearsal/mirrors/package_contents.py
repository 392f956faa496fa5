"""What is inside the stand-in packages: as little as a role can tell from the real ones, and nothing of NVIDIA's.

What a program, library or daemon answers is what the real one answers on a machine without a GPU (seen with Debian's driver 535).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import dedent

LIBRARIES = "usr/lib/x86_64-linux-gnu"
INCLUDES = "usr/include/x86_64-linux-gnu"
STAND_IN = "Stand-in of GPU Classroom's rehearsal"
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE and cudaErrorNoDevice
NVML_DRIVER_NOT_LOADED = 9  # NVML_ERROR_DRIVER_NOT_LOADED
DRIVER_CUDA = {"580": 13000, "595": 13020}  # the newest CUDA that a driver branch runs, as libcuda says it


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
class Contents:
    """files: path without the leading slash to text (executable if it starts with #!), bytes, link or C; scripts: maintainer scripts."""

    files: Mapping[str, str | bytes | Link | Compiled] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, other: Contents) -> Contents:
        return Contents({**self.files, **other.files}, {**self.scripts, **other.scripts})


def shell(*lines: str) -> str:
    """A shell script that ends at the first failure."""
    return "".join(f"{line}\n" for line in ("#!/bin/sh", "set -e", *lines))


def text(lines: str) -> str:
    """A text that is indented like the code around it."""
    return dedent(lines).lstrip()


def shared(name: str, major: str, version: str, code: str) -> Contents:
    """A shared library under its full version, and the link that programs ask for."""
    soname = f"{name}.so.{major}"
    files = {f"{LIBRARIES}/{name}.so.{version}": Compiled(code, soname), f"{LIBRARIES}/{soname}": Link(f"{name}.so.{version}")}
    return Contents(files, {"triggers": "activate-noawait ldconfig\n"})


# The driver.


def module_source(version: str, is_open: bool) -> Contents:
    """A module that DKMS builds in a second, where the real driver has five. modinfo tells open from proprietary by the licence."""
    folder, build = f"usr/src/nvidia-{version}", "${dkms_tree}/${PACKAGE_NAME}/${PACKAGE_VERSION}/build"
    configuration = text(f"""
        PACKAGE_NAME="nvidia"
        PACKAGE_VERSION="{version}"
        AUTOINSTALL="yes"
        MAKE[0]="make -C ${{kernel_source_dir}} M={build} modules"
        CLEAN="make -C ${{kernel_source_dir}} M={build} clean"
        BUILT_MODULE_NAME[0]="nvidia"
        DEST_MODULE_LOCATION[0]="/kernel/drivers/video"
    """)
    code = text(f"""
        /* {STAND_IN}: finds no GPU, as the real module does where there is none. */
        #include <linux/errno.h>
        #include <linux/init.h>
        #include <linux/module.h>
        static int __init nvidia_init(void) {{ printk(KERN_ERR "NVRM: No NVIDIA GPU found.\\n"); return -ENODEV; }}
        module_init(nvidia_init);
        MODULE_DESCRIPTION("{STAND_IN}");
        MODULE_LICENSE("{"Dual MIT/GPL" if is_open else "NVIDIA"}");
        MODULE_VERSION("{version}");
    """)
    return Contents({f"{folder}/Makefile": "obj-m := nvidia.o\n", f"{folder}/dkms.conf": configuration, f"{folder}/nvidia.c": code})


def dkms(version: str) -> Contents:
    """Maintainer scripts as Debian's dh_dkms writes them: register, build and install for the installed kernels; forget before removal."""
    module = f"-m nvidia -v {version}"
    prerm = shell(
        'case "$1" in remove|upgrade|deconfigure)',
        "  [ -x /usr/sbin/dkms ] || exit 0",
        f'  [ -z "$(dkms status {module})" ] || dkms remove {module} --all ;;',
        "esac",
    )
    postinst = shell(f'[ "$1" != configure ] || /usr/lib/dkms/common.postinst nvidia {version} /usr/share/nvidia "" "$2"')
    return Contents(scripts={"postinst": postinst, "prerm": prerm})


def prebuilt_module(version: str, kernel: str, flavour: str) -> Contents:
    """A module file with the section that modinfo reads, and nothing that a kernel could load."""
    facts = (f"version={version}", "license=Dual MIT/GPL", f"description={STAND_IN}", "name=nvidia", f"vermagic={kernel} SMP mod_unload")
    code = "".join(f'__attribute__((section(".modinfo"))) const char fact{n}[] = "{fact}";\n' for n, fact in enumerate(facts))
    path = f"lib/modules/{kernel}/kernel/nvidia-{flavour}-open/nvidia.ko"
    after = shell(f"[ ! -d /lib/modules/{kernel} ] || depmod -a {kernel}")
    return Contents({path: Compiled(code)}, {"postinst": after, "postrm": after})


def firmware(version: str) -> Contents:
    return Contents({f"lib/firmware/nvidia/{version}/gsp_tu10x.bin": f"{STAND_IN}\n"})


def libcuda(version: str) -> Contents:
    """The two calls that tell a driver's version without a GPU."""
    cuda = DRIVER_CUDA[version.split(".")[0]]
    code = text(f"""
        int cuInit(unsigned flags) {{ return {NO_DEVICE}; }}
        int cuDriverGetVersion(int *version) {{ *version = {cuda}; return 0; }}
    """)
    return shared("libcuda", "1", version, code)


def libnvidia_ml(version: str) -> Contents:
    return shared("libnvidia-ml", "1", version, f"int nvmlInit_v2(void) {{ return {NVML_DRIVER_NOT_LOADED}; }}\n")


def nvidia_smi(version: str) -> Contents:
    """nvidia-smi's own texts and exit codes where the module is missing, of another version, or without a GPU."""
    failed = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    script = text(f"""
        #!/bin/sh
        # {STAND_IN}.
        if [ ! -e /proc/driver/nvidia/version ]; then
          echo "{failed} Make sure that the latest NVIDIA driver is installed and running."
          echo
          exit 9
        fi
        if ! grep -q ' {version} ' /proc/driver/nvidia/version; then
          echo "Failed to initialize NVML: Driver/library version mismatch"
          echo "NVML library version: {version.rpartition(".")[0]}"
          exit 18
        fi
        echo "No devices were found"
        exit 6
    """)
    return Contents({"usr/bin/nvidia-smi": script})


def nvidia_modprobe() -> Contents:
    return Contents({"usr/bin/nvidia-modprobe": shell(f"# {STAND_IN}.", "exec modprobe nvidia")})


def persistence_daemon() -> Contents:
    """The daemon, which without a GPU fails as the real one does, and is enabled and started all the same (dh_installsystemd)."""
    name = "nvidia-persistenced.service"
    failed = "Failed to query NVIDIA devices. Please ensure that the NVIDIA device files (/dev/nvidia*) exist."
    daemon = shell(f"# {STAND_IN}.", f'[ -e /dev/nvidiactl ] || {{ echo "{failed}" >&2; exit 1; }}', "exec sleep infinity")
    unit = text("""
        [Unit]
        Description=NVIDIA Persistence Daemon
        [Service]
        ExecStart=/usr/bin/nvidia-persistenced
        [Install]
        WantedBy=multi-user.target
    """)
    systemd = "[ ! -d /run/systemd/system ] || {} || true"
    scripts = {
        "postinst": shell(
            '[ "$1" = configure ] || exit 0',
            f"! deb-systemd-helper --quiet was-enabled {name} || deb-systemd-helper enable {name}",
            systemd.format("systemctl daemon-reload"),
            systemd.format(f"deb-systemd-invoke start {name}"),
        ),
        "prerm": shell('[ "$1" = remove ] || exit 0', systemd.format(f"deb-systemd-invoke stop {name}")),
        "postrm": shell(f'[ "$1" != purge ] || deb-systemd-helper purge {name}', systemd.format("systemctl daemon-reload")),
    }
    return Contents({"usr/bin/nvidia-persistenced": daemon, f"lib/systemd/system/{name}": unit}, scripts)


def pin(name: str) -> Contents:
    """The preferences of a pinning package. name: a branch or a version; without .pref APT takes its .09 for an unknown ending."""
    pattern = f"{name}-*" if "." in name else f"{name}.*"
    lines = f"Package: *nvidia* libcuda1* cuda-drivers*\nPin: version {pattern}\nPin-Priority: 1001\n"
    return Contents({f"etc/apt/preferences.d/nvidia-driver-pinning-{name}.pref": lines})


# Ubuntu's kernels.


def kernel_image(kernel: str) -> Contents:
    folder = f"lib/modules/{kernel}"
    files = {f"boot/vmlinuz-{kernel}": f"{STAND_IN}\n", f"{folder}/modules.order": "", f"{folder}/modules.builtin": ""}
    return Contents(files, {"postinst": shell(f"depmod -a {kernel}"), "postrm": shell(f'[ "$1" = upgrade ] || rm -rf /{folder}')})


def kernel_headers(kernel: str) -> Contents:
    return Contents({f"usr/src/linux-headers-{kernel}/Makefile": f"# {STAND_IN}\n"})


# CUDA and cuDNN.


def toolkit_links(release: str, version: str) -> Contents:
    """/usr/local/cuda and /usr/local/cuda-12 as alternatives; the newest release has the highest priority (129 for 12.9)."""
    place, major = f"/usr/local/cuda-{release}", release.split(".")[0]
    links, priority = ("cuda", f"cuda-{major}"), release.replace(".", "")
    scripts = {
        "postinst": shell(*(f"update-alternatives --install /usr/local/{name} {name} {place} {priority}" for name in links)),
        "prerm": shell('[ "$1" != upgrade ] || exit 0', *(f"update-alternatives --remove {name} {place}" for name in links)),
    }
    return Contents({f"{place[1:]}/version.json": f'{{"cuda": {{"name": "CUDA SDK", "version": "{version}"}}}}\n'}, scripts)


def libcudart(release: str) -> Contents:
    """The runtime library: its version, and no GPU."""
    major, minor = release.split(".")
    code = text(f"""
        int cudaRuntimeGetVersion(int *version) {{ *version = {int(major) * 1000 + int(minor) * 10}; return 0; }}
        int cudaGetDeviceCount(int *count) {{ *count = 0; return {NO_DEVICE}; }}
    """)
    place, soname = f"usr/local/cuda-{release}", f"libcudart.so.{major}"
    folder = "targets/x86_64-linux/lib"
    return Contents({f"{place}/{folder}/{soname}": Compiled(code, soname), f"{place}/lib64": Link(folder)})


def nvcc(release: str, version: str) -> Contents:
    """A compiler that says its version and accepts a kernel; what it writes finds no GPU, as a real program would.

    Like the real one it stops without a host compiler, and without the source.
    """
    script = text(f"""
        #!/bin/sh
        # {STAND_IN}.
        fatal() {{ echo "nvcc fatal   : $1" >&2; exit 1; }}
        output=a.out source=
        while [ $# -gt 0 ]; do
          case "$1" in
            --version|-V)
              echo "nvcc: NVIDIA (R) Cuda compiler driver"
              echo "{STAND_IN}"
              echo "Cuda compilation tools, release {release}, V{version}"
              exit 0 ;;
            -o|--output-file) output=$2; shift ;;
            *.cu) source=$1 ;;
          esac
          shift
        done
        [ -n "$source" ] || fatal "No input files specified; use option --help for more information"
        [ -r "$source" ] || fatal "Could not open input file '$source'"
        command -v g++ >/dev/null || fatal "Failed to preprocess host compiler properties."
        grep -q __global__ "$source" || fatal "this stand-in compiles only what holds a __global__ function"
        printf '#!/bin/sh\\necho "no CUDA-capable device is detected" >&2\\nexit 1\\n' >"$output"
        chmod 755 "$output"
    """)
    return Contents({f"usr/local/cuda-{release}/bin/nvcc": script})


def libcudnn(version: str, runtime: int) -> Contents:
    """The library: its own version (92800 is 9.28.0) and that of the CUDA runtime it was built with."""
    major, minor, patch, _ = version.split(".")
    code = text(f"""
        unsigned long cudnnGetVersion(void) {{ return {int(major) * 10000 + int(minor) * 100 + int(patch)}; }}
        unsigned long cudnnGetCudartVersion(void) {{ return {runtime}; }}
    """)
    return shared("libcudnn", major, f"{major}.{minor}.{patch}", code)


def cudnn_link() -> Contents:
    return Contents({f"{LIBRARIES}/libcudnn.so": Link("libcudnn.so.9")})


def cudnn_headers(version: str) -> Contents:
    numbers = zip(("MAJOR", "MINOR", "PATCHLEVEL"), version.split("."), strict=False)
    lines = "".join(f"#define CUDNN_{name} {number}\n" for name, number in numbers)
    return Contents({f"{INCLUDES}/cudnn_version_v9.h": lines, f"{INCLUDES}/cudnn_version.h": Link("cudnn_version_v9.h")})


def keyring(address: str, public_key: bytes) -> Contents:
    """A key in APT's binary form, a list that names it, and NVIDIA's own preferences."""
    key, system = "usr/share/keyrings/cuda-archive-keyring.gpg", address.rstrip("/").split("/")[-2]
    files = {
        key: public_key,
        f"etc/apt/sources.list.d/cuda-{system}-x86_64.list": f"deb [signed-by=/{key}] {address} /\n",
        "etc/apt/preferences.d/cuda-repository-pin-600": "Package: *\nPin: release l=NVIDIA CUDA\nPin-Priority: 600\n",
    }
    return Contents(files)
