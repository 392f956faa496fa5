"""Can this machine rehearse? One check a question, each with the command that mends it."""

import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rehearsal.hosts import containers, disks, firewall, privilege
from rehearsal.hosts.network import Network

PROGRAMS = ("podman", "crun", "nft", "ip", "nsenter", "setpriv", "unshare", "dpkg-deb", "tcc", "gpg", "gpg-agent", "gpgconf")
PACKAGES = "podman crun nftables iproute2 util-linux uidmap mmdebstrap dpkg tcc gpg gpg-agent gpgconf"
# Inotify instances of root: a host holds 6 (systemd 5, logind 1; counted with 20 hosts), podman and a laptop's desktop some more.
INOTIFY_A_HOST = 6
INOTIFY_OTHERS = 8
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
HOSTS_WANTED = 4
STORAGE = Path("/var/lib")
DISK_GIB = 10
ALTERNATIVES = ("10.231.0.0/16", "10.131.0.0/16", "172.23.0.0/16")


@dataclass(frozen=True)
class Check:
    """One question and its answer. mend: the command to type if it is not ok, empty where there is none."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


def checks(net: Network) -> list[Check]:
    """Return all checks, the most basic first; nothing is changed, and root sees more (the firewall of others)."""
    return [_engine(), _cgroups(), _inotify(), _disk(), _overlay(), _addresses(net), _resolver(), _forwarding(net)]


def _engine() -> Check:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    detail = f"missing: {', '.join(missing)}" if missing else "podman, crun, nftables, iproute2 and what builds packages are installed"
    return Check("engine", not missing, detail, f"sudo apt-get install --no-install-recommends {PACKAGES}")


def _cgroups() -> Check:
    if privilege.has_cgroup2():
        return Check("cgroups", True, "cgroup2")
    known = "\tcgroup2\n" in Path("/proc/filesystems").read_text()
    detail = "mixed; the rehearsal mounts cgroup2 for itself" if known else "this kernel has no cgroup2"
    return Check("cgroups", known, detail, "boot a kernel with CONFIG_CGROUPS and cgroup2 (any distribution's since 2019)")


def _inotify() -> Check:
    limit = int(INOTIFY.read_text())
    fits = max(0, (limit - INOTIFY_OTHERS) // INOTIFY_A_HOST)
    detail = f"fs.inotify.max_user_instances={limit} is enough for about {fits} hosts"
    mend = "sudo sysctl fs.inotify.max_user_instances=1024"
    return Check("inotify", fits >= HOSTS_WANTED, f"{detail}; for more: {mend}" if limit < 1024 else detail, mend)


def _disk() -> Check:
    free = shutil.disk_usage(STORAGE).free / 2**30
    detail = f"{free:.0f} GiB free for containers under {STORAGE}; {DISK_GIB} wanted"
    return Check("disk", free >= DISK_GIB, detail, "sudo podman image prune")


def _overlay() -> Check:
    """A host's disk is an overlay mount, which some file systems cannot hold: one that is an overlay itself, as in a container, or NFS."""
    if os.geteuid() != 0:
        return Check("overlay", True, "not tried: only root can mount (sudo, or `up`)")
    problem = disks.works()
    detail = f"disks of hosts {'cannot' if problem else 'can'} be mounted in {disks.FOLDER}" + (problem and f": {problem}")
    return Check("overlay", not problem, detail, f"mount an ext4, XFS or Btrfs file system on {disks.FOLDER}")


def _addresses(net: Network) -> Check:
    """Nothing else on this machine may use the VPC's network, nor the one that stands for the Internet."""
    routes = _routes()
    internet = clashing(routes, firewall.INTERNET, net.bridge)
    if internet:
        detail = f"{firewall.INTERNET}, a network for tests (RFC 2544), is in use here: {'; '.join(internet)}"
        return Check("addresses", False, detail, "disconnect that network (a VPN?) for the time of the rehearsal")
    taken = clashing(routes, net.cidr, net.bridge)
    detail = f"in use here: {'; '.join(taken)}" if taken else f"{net.cidr} and {firewall.INTERNET} are free"
    free = next((cidr for cidr in ALTERNATIVES if not clashing(routes, cidr, net.bridge)), "A.B.0.0/16")
    return Check("addresses", not taken, detail, f"python -m rehearsal up --cidr {free}")


def clashing(routes: Iterable[dict], wanted: str, bridge: str) -> list[str]:
    """Return, as text, the routes (of `ip -json route`) that overlap a wanted network and are not of the rehearsal itself."""
    found = []
    for route in routes:
        if route["dst"] == "default" or route.get("dev") == bridge or route.get("type") == "unreachable":
            continue
        network = ipaddress.ip_network(route["dst"], strict=False)
        own = route.get("dev") == "lo" and route["dst"] in (firewall.ORGANISER, firewall.STRANGER)
        if not own and network.overlaps(ipaddress.ip_network(wanted)):
            found.append(f"{route['dst']} on {route.get('dev', route.get('type', 'this machine'))}")
    return found


def _routes() -> list[dict]:
    """Return the IPv4 routes of all tables, this machine's own addresses among them."""
    return json.loads(_output(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]")


def _resolver() -> Check:
    found = "nameserver" in containers.resolver()
    detail = "hosts ask this machine's name servers" if found else "only a name server on loopback is known, which hosts cannot reach"
    return Check("resolver", found, detail, "add a line `nameserver ADDRESS`, a server of your network, to /etc/resolv.conf")


def _forwarding(net: Network) -> Check:
    """Docker and some firewalls drop what is forwarded unless a rule lets it pass; nft lists iptables' rules too."""
    listed = _output(["nft", "-json", "list", "ruleset"]) if os.geteuid() == 0 else ""
    if not listed:
        return Check("forwarding", True, "not looked at: the firewall can be read by root only (sudo, or `up`)")
    blocking = dropping(json.loads(listed)["nftables"], net.bridge)
    chain = "DOCKER-USER" if "DOCKER-USER" in listed else "FORWARD"
    mend = " && ".join(f"sudo iptables -I {chain} {way} {net.bridge} -j ACCEPT" for way in ("-i", "-o"))
    detail = f"{', '.join(blocking)} drops what hosts send" if blocking else "nothing on this machine drops forwarded packets"
    return Check("forwarding", not blocking, detail, mend)


def dropping(ruleset: list[dict], bridge: str) -> list[str]:
    """Return the foreign chains (of `nft -json list ruleset`) that drop forwarded packets by policy, if no rule names our bridge."""
    if any(bridge in json.dumps(item["rule"]["expr"]) for item in ruleset if item.get("rule", {}).get("table", "rehearsal") != "rehearsal"):
        return []
    chains = [item["chain"] for item in ruleset if "chain" in item]
    return [f"{chain['table']} {chain['name']}" for chain in chains if chain.get("hook") == "forward" and chain.get("policy") == "drop"]


def _output(command: list[str]) -> str:
    """Return what a command prints, nothing if it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
