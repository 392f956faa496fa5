"""What is wrong with a seat that no role notices: what harms a student, in a sentence each, and what a proof has to know of the port.

Reads only, and asks nothing that takes longer than some seconds. What parses is apart from what asks.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.common import cgroup, processes, tcp_listener
from ansible_collections.classroom.gpu.plugins.module_utils.common.systemd_units import parsed

SECONDS = 4  # that a program may take to answer, a connection to come about
APT_SECONDS, NAME_SECONDS = 15, 6  # APT reads much; a resolver asks a second time after 5 s
LOCK, LISTS, ETC = Path("/var/lib/dpkg/lock-frontend"), Path("/var/lib/apt/lists"), Path("/etc")
LEAST_MIB, LEAST_FILES = 16, 100  # less than that is full
OURS = ("jupyter", "autostop")  # how the units begin that the roles put on a seat
UNIT = ("MainPID", "ControlGroup", "FreezerState", "SubState")
PROXY = re.compile(r"(?im)^acquire::https?::proxy(-auto-?detect)? ")
AGAIN = "run site.yml, which repairs it"
# What every kernel runs before its first cell: IPython's documentation, "Configuration and customization".
STARTUP = (".ipython/profile_default/startup/*.py", ".ipython/profile_default/startup/*.ipy", ".ipython/profile_default/ipython_config.py")
STARTUP += (".ipython/profile_default/ipython_kernel_config.py", ".ipython/ipython_config.py")


def asked(module: AnsibleModule, *command: str, seconds: int = SECONDS) -> tuple[int, str, str]:
    """Run a program that has some seconds; one that is not there ends with a status like another."""
    return module.run_command(["timeout", str(seconds), *command], environ_update={"LC_ALL": "C.UTF-8"})


def text(path: Path) -> str:
    """Return what a file holds; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# --- names ----------------------------------------------------------------------------------------------------------------------------


def source_files(etc: Path = ETC) -> list[Path]:
    """Return the files in which APT looks for sources."""
    files = [etc / "apt/sources.list", *sorted((etc / "apt/sources.list.d").glob("*"))]
    return [path for path in files if path.suffix in (".list", ".sources") and path.is_file()]


def hosts_of(sources: str) -> list[str]:
    """Return the host names, without addresses, that the text of APT's sources asks: names that the seat itself needs."""
    lines = (line for line in sources.splitlines() if not line.lstrip().startswith("#"))
    found = re.findall(r"\bhttps?://([^/\s:\]]+)", "\n".join(lines))
    return [name for name in dict.fromkeys(found) if not re.fullmatch(r"[\d.]+|localhost", name)]


def resolves(module: AnsibleModule, name: str) -> bool:
    """Tell whether a name has an address."""
    return asked(module, "getent", "ahosts", name, seconds=NAME_SECONDS)[0] == 0


def way_back(etc: Path) -> str:
    """Return what brings name servers back: the system's own resolver, or else EC2's."""
    stub = Path("/run/systemd/resolve/stub-resolv.conf")
    if stub.exists() and (etc / "resolv.conf").resolve() != stub:
        return f"sudo ln -sf {stub} /etc/resolv.conf"
    return "sudo systemctl restart systemd-resolved" if stub.exists() else "echo nameserver 169.254.169.253 | sudo tee /etc/resolv.conf"


def names(module: AnsibleModule, etc: Path = ETC) -> list[str]:
    """Say that no name resolves. Where APT goes through a proxy, that resolves the names."""
    hosts = hosts_of("\n".join(text(path) for path in source_files(etc)))[:2]
    if not hosts or any(resolves(module, name) for name in hosts) or PROXY.search(asked(module, "apt-config", "dump")[1]):
        return []
    servers = re.findall(r"(?m)^\s*nameserver\s+(\S+)", text(etc / "resolv.conf"))
    what = f"its name servers {', '.join(servers)} do not answer" if servers else "/etc/resolv.conf names no server"
    return [f"No name resolves on the seat ({hosts[0]}), so that nothing can be downloaded there: {what}; type '{way_back(etc)}' on it."]


# --- packages -------------------------------------------------------------------------------------------------------------------------


def halves(audit: str) -> list[str]:
    """Return the packages that `dpkg --audit` names: one a line, indented by one space."""
    return re.findall(r"(?m)^ (\S+)", audit)


def at_work(lock: Path) -> bool:
    """Tell whether a program just now installs packages: it holds APT's and dpkg's lock."""
    try:
        with lock.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def damaged(lists: Path) -> list[str]:
    """Return the package lists that are none: each begins with a field, as `Package: vim`."""
    return [path.name for path in sorted(lists.glob("*_Packages")) if not re.match(r"[A-Z][\w-]*: |$", beginning(path))]


def beginning(path: Path) -> str:
    """Return a file's first characters; nothing where it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(40)
    except OSError:
        return ""


def unread(files: Iterable[Path], lists: Path) -> bool:
    """Tell whether a sources file was touched after APT last read all of them well, which is when it changes the folder of its lists."""
    return any(path.stat().st_ctime > lists.stat().st_mtime for path in files) if lists.is_dir() else True


def sources(module: AnsibleModule, lists: Path, etc: Path) -> list[str]:
    """Say that APT cannot read its sources or lists. APT itself, which takes its time, is asked only where a source is new to it."""
    renew = "sudo rm -r /var/lib/apt/lists/* && sudo apt-get update"
    new = unread(source_files(etc), lists)
    code, _, complaint = asked(module, "apt-get", "indextargets", seconds=APT_SECONDS) if new else (0, "", "")
    errors = [line[3:].strip().rstrip(".") for line in complaint.splitlines() if line.startswith("E: ")]
    if code and errors:
        return [f"APT cannot be used on the seat ({errors[0]}): correct that file, then type 'sudo apt-get update'."]
    return [f"APT cannot be used on the seat ({name} is damaged): type '{renew}'." for name in damaged(lists)[:1]]


def packages(module: AnsibleModule, lock: Path = LOCK, lists: Path = LISTS, etc: Path = ETC) -> list[str]:
    """Name half-configured packages, and sources or lists that APT cannot read; what is under way is neither."""
    if at_work(lock):
        return []
    found = halves(asked(module, "dpkg", "--audit")[1])
    said = [f"Packages are half installed ({', '.join(found[:5])}): {AGAIN}, or see why with 'sudo dpkg --configure -a'."] if found else []
    return [*said, *sources(module, lists, etc)]


# --- disks ----------------------------------------------------------------------------------------------------------------------------


def disk(path: str) -> str:
    """Say that the disk of a folder is full or cannot be written to; nothing where it is neither."""
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize >> 20
    if found.f_flag & os.ST_RDONLY:
        return f"The disk of {path} is read-only, as one with errors is: 'sudo dmesg | tail' says why, 'sudo reboot' checks it."
    if free < LEAST_MIB:
        look = f"'sudo du -xh {path} | sort -h | tail' shows what takes the room, and grow.yml gives more"
        return f"The disk of {path} is full ({free} MiB are free): {look}."
    if found.f_files and found.f_favail < LEAST_FILES:
        return f"The disk of {path} has room for no more files: 'sudo du --inodes -x {path} | sort -n | tail' shows where there are many."
    return ""


def disks(paths: Iterable[str]) -> list[str]:
    """Name each disk that is full or cannot be written to, once."""
    said: dict[int, str] = {}
    for path in (path for path in paths if os.path.isdir(path)):
        if trouble := disk(path):
            said.setdefault(os.stat(path).st_dev, trouble)
    return list(said.values())


# --- services -------------------------------------------------------------------------------------------------------------------------


def failed(listing: str) -> tuple[list[str], list[str]]:
    """Return the failed units that are ours, and the others, from `systemctl --failed --plain --no-legend`."""
    units = [line.split()[0] for line in listing.splitlines() if line.split()]
    return [unit for unit in units if unit.startswith(OURS)], [unit for unit in units if not unit.startswith(OURS)]


def services(module: AnsibleModule) -> tuple[list[str], list[str]]:
    """Return the sentences about failed units: those that count, and warnings."""
    ours, others = failed(asked(module, "systemctl", "--failed", "--plain", "--no-legend", "--no-pager")[1])
    say = "{0} failed: {1} 'systemctl status {2}' on the seat says why."
    told = [say.format(", ".join(ours), f"{AGAIN};", ours[0])] if ours else []
    return told, [say.format(", ".join(others), "none of it is the class's.", others[0])] if others else []


def service(module: AnsibleModule, name: str, proc: Path = Path("/proc")) -> tuple[dict[str, str], list[str], list[str]]:
    """Return a service's properties, and the sentences about it and its processes that are stopped: what counts, and warnings."""
    shown = asked(module, "systemctl", "show", f"--property={','.join(UNIT)}", name)[1]
    unit = dict.fromkeys(UNIT, "") | (parsed(shown) or [{}])[0]
    main, group = unit["MainPID"], unit["ControlGroup"]
    if unit["FreezerState"] == "frozen":
        return unit, [f"{name} is frozen: {AGAIN}, or type 'sudo systemctl thaw {name}'."], []
    if processes.state(main, proc) == processes.STOPPED:
        return unit, [f"{name}'s process {main} is stopped: {AGAIN}, or type 'sudo kill -CONT {main}'."], []
    stopped = [process for process in kernels(group, proc) if processes.state(process, proc) == processes.STOPPED]
    what = f"A kernel of the student's is stopped ({', '.join(stopped)}), and is left so: 'kill -CONT {' '.join(stopped)}' lets it go on."
    return unit, [], [what] if stopped else []


def kernels(group: str, proc: Path = Path("/proc")) -> list[str]:
    """Return the ids of the kernels in a service's control group; a terminal's programs may be stopped, as Ctrl-Z does."""
    members = cgroup.members(group, proc) if group else []
    return [process for process in members if "ipykernel_launcher" in text(proc / process / "cmdline")]


# --- the port -------------------------------------------------------------------------------------------------------------------------


def names_port(rule: str, port: int) -> bool:
    """Tell whether a rule of nft or iptables names a port to which something is sent, alone, in a list or in a range."""
    for ports in re.findall(r"\bdports?\s+([\d\s,:{}-]+)", rule):
        ranges = (re.split(r"[:-]", word) for word in re.findall(r"\d+(?:[:-]\d+)?", ports))
        if any(int(ends[0]) <= port <= int(ends[-1]) for ends in ranges):
            return True
    return False


def rules(ruleset: str, port: int) -> list[str]:
    """Return the rules of nft or iptables that drop or reject what comes to a port."""
    lines = (" ".join(line.split()) for line in ruleset.splitlines())
    return [line for line in lines if re.search(r"\b(drop|reject)\b", line, re.IGNORECASE) and names_port(line, port)]


def connects(port: int) -> bool:
    """Tell whether a connection comes about on the seat itself."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS):
            return True
    except OSError:
        return False


def firewall(module: AnsibleModule, port: int) -> list[str]:
    """Return the seat's own rules that shut the port, as they are shown."""
    shown = [asked(module, *command)[1] for command in (("nft", "list", "ruleset"), ("iptables-save",), ("iptables-legacy-save",))]
    return list(dict.fromkeys(rule for text in shown for rule in rules(text, port)))


def everywhere(rules_shown: list[str]) -> list[str]:
    """Return the rules that shut a port to the seat itself, too: those that ask neither for a way in nor for a sender."""
    return [rule for rule in rules_shown if not re.search(r"\biif|\b[is]addr\b|(^|\s)-[is]\s", rule)]


def door(module: AnsibleModule, port: int, group: str) -> tuple[dict, list[str]]:
    """Return what the seat itself says of its port, and the sentence about somebody else who listens there."""
    holder = tcp_listener.holder(port)
    inside = {"listens": holder is not None, "answers": connects(port), "rules": firewall(module, port)}
    if holder is None or tcp_listener.belongs(holder, group):
        return inside, []
    end = f"end it ('sudo kill {holder.pid}' on the seat), and run site.yml"
    return inside, [f"Not Jupyter but {holder} listens on port {port}: {end}."]


def startup(home: Path) -> list[str]:
    """Return the files of a student's that every kernel runs first."""
    return [str(path) for pattern in STARTUP for path in sorted(home.glob(pattern))]
