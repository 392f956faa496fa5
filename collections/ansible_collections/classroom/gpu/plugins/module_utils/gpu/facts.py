"""What a machine says about its GPUs, its kernels and its driver. Everything is read from files and `modinfo`: no exit code is guessed at.

Facts that are not in a manual were measured on Debian 12: without a GPU `lspci` and `modinfo` tell nothing by their exit status.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

from ansible_collections.classroom.gpu.plugins.module_utils.gpu import models as gpu_models

NVIDIA = "0x10de"
DISPLAYS = ("0x0300", "0x0302")  # PCI classes "VGA" and "3D controller"; NVIDIA's audio functions and bridges have others
MODULES = ("nvidia", "nvidia-current")  # the module's file; Debian's own packages have the second name
LIBRARIES = ("libcuda1", "libnvidia-compute*")  # packages with the user's half of the driver: Debian's name, and Ubuntu's
MODPROBE = ("etc/modprobe.d", "run/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d")
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
COMPONENTS = "classroom-debian-components.sources"
ROOT = Path("/")


def read(path: Path) -> str:
    """Return a file's text without the white space around it; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def natural(text: str) -> list:
    """Return a key that sorts versions: 6.1.0-9 before 6.1.0-10."""
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"(\d+)", text)]


def gpus(root: Path = ROOT) -> list[dict]:
    """Return the machine's NVIDIA GPUs, as sysfs has them."""
    found = []
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if read(device / "vendor") == NVIDIA and read(device / "class").startswith(DISPLAYS):
            number = int(read(device / "device"), 16)
            known = {"known": number in gpu_models.MODELS}
            found.append({"address": device.name, "device": f"0x{number:04x}"} | gpu_models.model(number)._asdict() | known)
    return [{"model": gpu.pop("name"), **gpu} for gpu in found]


def installed_kernels(root: Path = ROOT) -> list[str]:
    """Return the kernels with an image and a folder of modules, the oldest first; the last boots next, as GRUB sorts them."""
    names = (path.name.removeprefix("vmlinuz-") for path in (root / "boot").glob("vmlinuz-*"))
    return sorted((name for name in names if (root / "lib/modules" / name).is_dir()), key=natural)


def flavour(kernel: str) -> str:
    """Return what sort of kernel it is, as meta packages name it: cloud-amd64 of 6.1.0-55-cloud-amd64, aws of 6.14.0-1018-aws."""
    parts = kernel.split("-")
    while parts and parts[0][:1].isdigit():
        parts.pop(0)
    return "-".join(parts)


def has_headers(kernel: str, root: Path = ROOT) -> bool:
    """Tell whether a module can be built for a kernel."""
    return (root / "lib/modules" / kernel / "build/Makefile").is_file()


def module_facts(printed: str) -> dict:
    """Return name, version and kind of the driver's module in what modinfo prints of MODULES; empty values where there is none."""
    facts = dict(re.findall(r"^(filename|version|license):\s*(.*)$", printed, re.MULTILINE))
    name = Path(facts.get("filename", "")).name.split(".")[0]
    return {"name": name, "version": facts.get("version", ""), "open": "GPL" in facts.get("license", "")}


def kernels(modinfo: Callable[[str], str], running: str, root: Path = ROOT) -> list[dict]:
    """Return what is there for every installed kernel. modinfo: prints what modinfo knows of the driver's module for a kernel."""
    names = installed_kernels(root)
    return [
        {
            "version": name,
            "running": name == running,
            "next_boot": name == names[-1],
            "has_headers": has_headers(name, root),
            "module": module_facts(modinfo(name)),
        }
        for name in names
    ]


def loaded_version(root: Path = ROOT) -> str:
    """Return the version of the driver's module that the running kernel has loaded; nothing where it has none."""
    told = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", read(root / "proc/driver/nvidia/version"))
    return read(root / "sys/module/nvidia/version") or (told[0] if told else "")


def upstream(version: str) -> str:
    """Return NVIDIA's version in that of a package: 580.126.09 of 580.126.09-1 and 1:580.126.09-0ubuntu1."""
    return re.sub(r"^\d+:", "", version).split("-")[0]


def library_version(listing: str) -> str:
    """Return the version of the installed libraries in lines of `package<tab>version<tab>status`, as dpkg-query prints them."""
    rows = (line.split("\t") for line in listing.splitlines() if line.count("\t") == 2)
    return next((upstream(version) for _, version, status in rows if status == "installed"), "")


def nouveau(root: Path = ROOT) -> dict:
    """Tell whether the kernel's own driver for NVIDIA's GPUs is loaded, and whether it is kept out."""
    files = (path for folder in MODPROBE for path in (root / folder).glob("*.conf"))
    kept_out = any(re.search(r"^\s*blacklist\s+nouveau\s*$", read(path), re.MULTILINE) for path in files)
    return {"loaded": (root / "sys/module/nouveau").is_dir(), "blacklisted": kept_out}


def secure_boot(root: Path = ROOT) -> str:
    """Return the state of Secure Boot; its EFI variable is four bytes of attributes and one of value (UEFI specification, 3.3)."""
    try:
        value = (root / SECURE_BOOT).read_bytes()
    except OSError:
        return "unsupported"
    return "enabled" if value[4:5] == b"\1" else "disabled"


def toolkits(root: Path = ROOT) -> list[str]:
    """Return the versions of the installed CUDA toolkits, the oldest first."""
    found = (path.parent.parent.name.removeprefix("cuda-") for path in (root / "usr/local").glob("cuda-*.*/bin/nvcc"))
    return sorted(found, key=natural)


def sources(root: Path = ROOT) -> list[dict]:
    """Return APT's sources: the file's name, and uris, suites, components and signed_by as lists of words. sources.list(5)"""
    folder, found = root / "etc/apt/sources.list.d", []
    for path in sorted(folder.glob("*.sources")):
        found += [(path, stanza(text)) for text in re.split(r"\n[ \t]*\n", read(path))]
    for path in [root / "etc/apt/sources.list", *sorted(folder.glob("*.list"))]:
        found += [(path, one_line(line)) for line in read(path).splitlines()]
    return [{"file": path.name, **source} for path, source in found if source and source["components"]]


def stanza(text: str) -> dict:
    """Return the source in a stanza of a .sources file; nothing where it is none or disabled."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    fields = {name.lower(): value for name, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", lines, re.MULTILINE)}
    if "deb" not in fields.get("types", "").split() or fields.get("enabled", "").strip().lower() in ("no", "false"):
        return {}
    return {name: fields.get(name.replace("_", "-"), "").split() for name in ("uris", "suites", "components", "signed_by")}


def one_line(line: str) -> dict:
    """Return the source in a line of a .list file; nothing where it is none."""
    match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
    if not match:
        return {}
    options, uri, suite, components = match.groups()
    signed = re.search(r"signed-by=(\S+)", options or "", re.IGNORECASE)
    return {"uris": [uri], "suites": [suite], "components": components.split(), "signed_by": signed[1].split(",") if signed else []}


def without_module(facts: dict) -> list[str]:
    """Return the installed kernels that have no module of the installed libraries' version."""
    version = facts["driver"]["installed"]
    return [kernel["version"] for kernel in facts["kernels"] if version and kernel["module"]["version"] != version]


def reboot_reason(facts: dict, complaint: str = "") -> str:
    """Say why only a reboot brings the GPU's driver up; nothing where none is due. complaint: modprobe's, where it was tried."""
    driver, running = facts["driver"], facts["running"]
    if not facts["gpus"] or not driver["installed"] or driver["loaded"] == driver["installed"]:
        return ""
    if driver["loaded"]:
        return f"the loaded module is {driver['loaded']}, but the libraries are {driver['installed']}"
    if facts["nouveau"]["loaded"]:
        return "nouveau is loaded, and holds the GPU"
    if not facts["kernel_is_ours"]:
        return f"the running kernel {running} is not installed on this machine: the driver can only be loaded into one that is"
    if running in without_module(facts):
        return f"the running kernel {running} has no module {driver['installed']}; {facts['next_boot']} boots next"
    return f"the module {driver['installed']} is not loaded{f': {complaint}' if complaint else ''}"


def parts(source: dict) -> set[tuple[str, str, str]]:
    """Return what a source brings: address, suite and component of each part."""
    return set(product(source["uris"], source["suites"], source["components"]))


def components_text(found: list[dict], codename: str, wanted: Iterable[str]) -> str:
    """Return the text of the file COMPONENTS that adds components to the machine's own mirrors; nothing where all are there.

    It repeats addresses and keys of the sources that bring `main` of `codename`: APT does not take a second key for an address.
    """
    others = [source for source in found if source["file"] != COMPONENTS]
    there = set().union(*map(parts, others))
    stanzas: dict[tuple, list[str]] = {}
    for source in others:
        for uri, suite, component in sorted(parts(source)):
            missing = tuple(name for name in wanted if (uri, suite, name) not in there)
            if component == "main" and suite.split("-")[0] == codename and missing:
                stanzas.setdefault((uri, missing, tuple(source["signed_by"])), []).append(suite)
    due = {(uri, suite, name) for (uri, missing, _), suites in stanzas.items() for suite in suites for name in missing}
    if due <= set().union(*(parts(source) for source in found)):
        return ""
    return "\n".join(
        f"Types: deb\nURIs: {uri}\nSuites: {' '.join(dict.fromkeys(suites))}\nComponents: {' '.join(missing)}\n"
        + (f"Signed-By: {' '.join(key)}\n" if key else "")
        for (uri, missing, key), suites in stanzas.items()
    )
