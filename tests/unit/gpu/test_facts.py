"""What a machine's files say about GPUs, kernels and the driver, on trees that are made here."""

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import facts as gpu_facts
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import models as gpu_models

PROC = "proc/driver/nvidia/version"
K55, K56 = "6.1.0-55-cloud-amd64", "6.1.0-56-cloud-amd64"


def write(root, files):
    """Put texts into files under `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def device(root, address, vendor="0x10de", number="0x1eb8", kind="0x030200"):
    """Put a PCI device into sysfs."""
    write(root / "sys/bus/pci/devices" / address, {"vendor": vendor + "\n", "device": number + "\n", "class": kind + "\n"})


@pytest.mark.parametrize(
    ("number", "model", "architecture", "capability", "known"),
    [
        ("0x102d", "Tesla K80", "Kepler", "3.7", True),
        ("0x118a", "GRID K520", "Kepler", "3.0", True),
        ("0x13f2", "Tesla M60", "Maxwell", "5.2", True),
        ("0x1db1", "Tesla V100-SXM2-16GB", "Volta", "7.0", True),
        ("0x1db5", "Tesla V100-SXM2-32GB", "Volta", "7.0", True),
        ("0x1eb8", "Tesla T4", "Turing", "7.5", True),
        ("0x1eb4", "T4G", "Turing", "7.5", True),
        ("0x2237", "A10G", "Ampere", "8.6", True),
        ("0x20b0", "A100-SXM4-40GB", "Ampere", "8.0", True),
        ("0x27b8", "L4", "Ada", "8.9", True),
        ("0x26b9", "L40S", "Ada", "8.9", True),
        ("0x2330", "H100 80GB HBM3", "Hopper", "9.0", True),
        ("0x2335", "H200", "Hopper", "9.0", True),
        ("0x2901", "B200", "Blackwell", "10.0", True),
        ("0x3182", "B300 SXM6 AC", "Blackwell", "10.3", True),
        ("0x2bb5", "RTX PRO 6000 Blackwell Server Edition", "Blackwell", "12.0", True),
        ("0x2c31", "RTX PRO 4500 Blackwell", "Blackwell", "12.0", True),
        ("0x2c3f", "device 0x2c3f", "Blackwell", "", False),
        ("0x2204", "device 0x2204", "Ampere", "", False),
        ("0x20f5", "device 0x20f5", "Ampere", "", False),
        ("0x1f02", "device 0x1f02", "Turing", "", False),
        ("0x1b38", "device 0x1b38", "Pascal", "", False),
        ("0x15f8", "device 0x15f8", "Pascal", "", False),
        ("0x1021", "device 0x1021", "Kepler", "", False),
        ("0x9999", "device 0x9999", "Blackwell", "", False),
    ],
)
def test_a_gpu_is_known_by_its_device_id(tmp_path, number, model, architecture, capability, known):
    device(tmp_path, "0000:00:1e.0", number=number)
    assert gpu_facts.gpus(tmp_path) == [
        {
            "address": "0000:00:1e.0",
            "device": number,
            "model": model,
            "architecture": architecture,
            "capability": capability,
            "known": known,
        }
    ]


@pytest.mark.parametrize(
    ("vendor", "kind", "count"),
    [
        ("0x10de", "0x030000", 1),
        ("0x10de", "0x030200", 1),
        ("0x10de", "0x040300", 0),  # the audio of a graphics card
        ("0x10de", "0x068000", 0),  # NVSwitch
        ("0x1d0f", "0x030000", 0),  # Amazon's own display
        ("0x1002", "0x030000", 0),  # AMD, as in g4ad
    ],
)
def test_only_displays_of_nvidia_are_gpus(tmp_path, vendor, kind, count):
    device(tmp_path, "0000:00:1e.0", vendor=vendor, kind=kind)
    assert len(gpu_facts.gpus(tmp_path)) == count


def test_no_pci_bus_is_no_gpu(tmp_path):
    assert gpu_facts.gpus(tmp_path) == []


def test_every_model_and_range_has_an_architecture_with_limits():
    names = {model.architecture for model in gpu_models.MODELS.values()} | {name for _, name in gpu_models.RANGES}
    assert names == set(gpu_models.ARCHITECTURES)
    assert [first for first, _ in gpu_models.RANGES] == sorted((first for first, _ in gpu_models.RANGES), reverse=True)


@pytest.mark.parametrize("number", gpu_models.MODELS)
def test_the_ranges_agree_with_the_table(number):
    assert next(name for first, name in gpu_models.RANGES if number >= first) == gpu_models.MODELS[number].architecture


def test_kernels_are_sorted_as_versions_and_need_image_and_modules(tmp_path):
    names = ["6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64", K55]
    write(tmp_path, {f"boot/vmlinuz-{name}": "" for name in [*names, "5.10.0-1-gone"]} | {f"lib/modules/{name}/x": "" for name in names})
    write(tmp_path, {"lib/modules/6.18.44-host/x": ""})
    assert gpu_facts.installed_kernels(tmp_path) == names


def test_each_kernel_tells_its_headers_and_module(tmp_path):
    for name in (K55, K56):
        write(tmp_path, {f"boot/vmlinuz-{name}": "", f"lib/modules/{name}/modules.order": ""})
    write(tmp_path, {f"lib/modules/{K55}/build/Makefile": ""})
    printed = {K55: f"filename: /lib/modules/{K55}/updates/dkms/nvidia-current.ko\nversion: 535.309.01\nlicense: NVIDIA\n", K56: ""}
    none = {"name": "", "version": "", "open": False}
    assert gpu_facts.kernels(printed.__getitem__, K55, tmp_path) == [
        {
            "version": K55,
            "running": True,
            "next_boot": False,
            "has_headers": True,
            "module": {"name": "nvidia-current", "version": "535.309.01", "open": False},
        },
        {"version": K56, "running": False, "next_boot": True, "has_headers": False, "module": none},
    ]


@pytest.mark.parametrize(
    ("kernel", "flavour"),
    [
        (K55, "cloud-amd64"),
        ("6.1.0-55-amd64", "amd64"),
        ("6.12.95+deb12-cloud-amd64", "cloud-amd64"),
        ("6.1.0-0.deb11.5-amd64", "amd64"),
        ("6.14.0-1018-aws", "aws"),
        ("6.8.0-45-generic", "generic"),
        ("6.8.0-1019-aws-64k", "aws-64k"),
    ],
)
def test_the_flavour_is_what_meta_packages_end_in(kernel, flavour):
    assert gpu_facts.flavour(kernel) == flavour


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({}, ""),
        ({"sys/module/nvidia/version": "580.126.09\n"}, "580.126.09"),
        ({PROC: "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.86.05  Fri Jul 14\nGCC version: 12.2.0"}, "535.86.05"),
        ({PROC: "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.126.09  Release Build"}, "580.126.09"),
    ],
)
def test_the_loaded_module_tells_its_version(tmp_path, files, version):
    write(tmp_path, files)
    assert gpu_facts.loaded_version(tmp_path) == version


@pytest.mark.parametrize(
    ("listing", "version"),
    [
        ("", ""),
        ("libcuda1\t580.126.09-1\tinstalled\n", "580.126.09"),
        ("libcuda1\t580.126.09-1\tconfig-files\n", ""),
        ("libnvidia-compute-570\t\tnot-installed\nlibnvidia-compute-580-server\t580.173.02-0ubuntu0.24.04.1\tinstalled\n", "580.173.02"),
        ("libcuda1\t535.309.01-0+deb12u1\tinstalled\n", "535.309.01"),
    ],
)
def test_dpkg_tells_the_version_of_the_libraries(listing, version):
    assert gpu_facts.library_version(listing) == version


@pytest.mark.parametrize(
    ("files", "loaded", "blacklisted"),
    [
        ({}, False, False),
        ({"sys/module/nouveau/refcnt": "0"}, True, False),
        ({"etc/modprobe.d/a.conf": "# blacklist nouveau\n"}, False, False),
        ({"etc/modprobe.d/a.conf": "blacklist  nouveau\noptions nouveau modeset=0\n"}, False, True),
        ({"lib/modprobe.d/nvidia.conf": "alias nouveau off\nblacklist nouveau\n"}, False, True),
        ({"etc/modprobe.d/a.conf.bak": "blacklist nouveau\n"}, False, False),
    ],
)
def test_nouveau_is_loaded_or_kept_out(tmp_path, files, loaded, blacklisted):
    write(tmp_path, files)
    assert gpu_facts.nouveau(tmp_path) == {"loaded": loaded, "blacklisted": blacklisted}


@pytest.mark.parametrize(("value", "state"), [(None, "unsupported"), (b"\6\0\0\0\1", "enabled"), (b"\6\0\0\0\0", "disabled")])
def test_secure_boot_is_an_efi_variable(tmp_path, value, state):
    if value is not None:
        write(tmp_path, {gpu_facts.SECURE_BOOT: ""})
        (tmp_path / gpu_facts.SECURE_BOOT).write_bytes(value)
    assert gpu_facts.secure_boot(tmp_path) == state


def test_toolkits_are_those_with_a_compiler(tmp_path):
    write(tmp_path, {f"usr/local/cuda-{name}/bin/nvcc": "" for name in ("13.0", "12.9", "12.10", "13")} | {"usr/local/cuda-12.4/doc": ""})
    assert gpu_facts.toolkits(tmp_path) == ["12.9", "12.10", "13.0"]


OTHER = {"version": K55, "running": True, "next_boot": True, "has_headers": True}
OTHER |= {"module": {"name": "nvidia", "version": "580.0", "open": True}}


def facts(**changed):
    """The facts of a machine with a T4 on which all is well, but for what is changed."""
    kernel = OTHER | {"module": {"name": "nvidia", "version": "580.1", "open": True}}
    well = {"gpus": [{"model": "Tesla T4"}], "kernels": [kernel], "running": K55, "next_boot": K55, "kernel_is_ours": True}
    well |= {"driver": {"wanted": "580.*", "installed": "580.1", "loaded": "580.1"}, "nouveau": {"loaded": False, "blacklisted": True}}
    return well | changed


def driver(loaded, installed="580.1"):
    return {"wanted": "580.*", "installed": installed, "loaded": loaded}


@pytest.mark.parametrize(
    ("changed", "complaint", "reason"),
    [
        ({}, "", ""),
        ({"gpus": [], "driver": driver("")}, "", ""),
        ({"gpus": [], "kernel_is_ours": False, "driver": driver(""), "nouveau": {"loaded": True, "blacklisted": False}}, "", ""),
        ({"driver": driver("", "")}, "", ""),
        ({"driver": driver("570.1")}, "", "the loaded module is 570.1, but the libraries are 580.1"),
        ({"driver": driver(""), "nouveau": {"loaded": True, "blacklisted": True}}, "", "nouveau is loaded"),
        ({"driver": driver(""), "kernel_is_ours": False, "running": "6.18-host"}, "", "the running kernel 6.18-host is not installed"),
        ({"driver": driver(""), "kernels": [OTHER]}, "", f"the running kernel {K55} has no module 580.1"),
        ({"driver": driver("")}, "", "the module 580.1 is not loaded"),
        ({"driver": driver("")}, "Key was rejected by service", "the module 580.1 is not loaded: Key was rejected by service"),
    ],
)
def test_a_reboot_is_due_only_where_a_gpu_waits_for_it(changed, complaint, reason):
    found = gpu_facts.reboot_reason(facts(**changed), complaint)
    assert found.startswith(reason) and bool(found) == bool(reason)


def test_kernels_without_a_right_module_count_once_the_driver_is_there():
    assert gpu_facts.without_module(facts(kernels=[OTHER])) == [K55]
    assert gpu_facts.without_module(facts(kernels=[OTHER], driver=driver("", ""))) == []
    assert gpu_facts.without_module(facts()) == []


DEB822 = """# ours
Types: deb deb-src
URIs: http://mirror.invalid/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://other.invalid/debian
Suites: bookworm
Components: main
"""
LIST = """deb [arch=amd64 signed-by=/etc/key.gpg] http://security.invalid/debian-security bookworm-security main # security
#deb http://x y main
"""


def test_sources_are_read_in_both_formats(tmp_path):
    write(tmp_path, {"etc/apt/sources.list.d/debian.sources": DEB822, "etc/apt/sources.list": LIST})
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    main = {"uris": ["http://mirror.invalid/debian"], "suites": ["bookworm", "bookworm-updates"], "components": ["main"]}
    security = {"uris": ["http://security.invalid/debian-security"], "suites": ["bookworm-security"], "components": ["main"]}
    assert gpu_facts.sources(tmp_path) == [
        {"file": "debian.sources", **main, "signed_by": [key]},
        {"file": "sources.list", **security, "signed_by": ["/etc/key.gpg"]},
    ]


def test_components_are_added_to_the_machines_own_mirrors_with_their_keys(tmp_path):
    write(tmp_path, {"etc/apt/sources.list.d/debian.sources": DEB822, "etc/apt/sources.list": LIST})
    text = gpu_facts.components_text(gpu_facts.sources(tmp_path), "bookworm", ["contrib", "non-free"])
    assert text == (
        "Types: deb\nURIs: http://mirror.invalid/debian\nSuites: bookworm bookworm-updates\nComponents: contrib non-free\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n"
        "Types: deb\nURIs: http://security.invalid/debian-security\nSuites: bookworm-security\nComponents: contrib non-free\n"
        "Signed-By: /etc/key.gpg\n"
    )
    write(tmp_path, {f"etc/apt/sources.list.d/{gpu_facts.COMPONENTS}": text})
    assert gpu_facts.components_text(gpu_facts.sources(tmp_path), "bookworm", ["contrib"]) == ""
    assert "Components: contrib non-free non-free-firmware" in gpu_facts.components_text(
        gpu_facts.sources(tmp_path), "bookworm", ["contrib", "non-free", "non-free-firmware"]
    )


def test_components_that_the_machine_has_need_no_file(tmp_path):
    write(tmp_path, {"etc/apt/sources.list": "deb http://m.invalid/debian bookworm main contrib non-free\n"})
    assert gpu_facts.components_text(gpu_facts.sources(tmp_path), "bookworm", ["contrib"]) == ""
    assert gpu_facts.components_text(gpu_facts.sources(tmp_path), "trixie", ["contrib", "x"]) == ""
