"""The cloud's network on this machine: one bridge, two addresses on lo, one nftables table, a route for each public address."""

import ipaddress
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rehearsal.hosts import firewall

STATE = Path("/run/rehearsal")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
REMEMBERED = STATE / "ip_forward"
VETH = "rehearse"  # first letters of the machine's end of each host's cable


class NetworkError(Exception):
    """A command of the machine's network failed; the text names it."""


@dataclass(frozen=True)
class Network:
    """The bridge of the default VPC. cidr: the VPC's network; its first address is the gateway."""

    cidr: str = "172.31.0.0/16"

    @property
    def gateway(self) -> str:
        return str(ipaddress.ip_network(self.cidr)[1])

    @property
    def bridge(self) -> str:
        return "rehearsal0"

    @property
    def prefix_length(self) -> int:
        return ipaddress.ip_network(self.cidr).prefixlen

    def up(self) -> None:
        """Make bridge, addresses, routes and rules; whatever is there already is left or replaced. Raises NetworkError."""
        STATE.mkdir(mode=0o755, exist_ok=True)
        if not REMEMBERED.exists():
            REMEMBERED.write_text(FORWARDING.read_text())
        run(["nft", "-f", "-"], firewall.machine_table(self.cidr, self.gateway, self.bridge))
        if not _links(self.bridge):
            # A fixed address: a bridge otherwise takes that of one of its ports, and hosts would lose the gateway with it.
            run(["ip", "link", "add", self.bridge, "address", mac(self.gateway), "type", "bridge"])
        run(["ip", "address", "replace", f"{self.gateway}/{self.prefix_length}", "dev", self.bridge])
        run(["ip", "link", "set", self.bridge, "up"])
        for address in (firewall.ORGANISER, firewall.STRANGER):
            run(["ip", "address", "replace", f"{address}/32", "dev", "lo"])
        # An address that no host has now is unreachable, instead of being looked for in the real Internet.
        run(["ip", "route", "replace", "unreachable", firewall.INTERNET])
        FORWARDING.write_text("1\n")

    def down(self) -> None:
        """Remove all of it, also what a crashed server left, and set forwarding as it was before `up`. Raises NetworkError."""
        remove_links()
        _delete(_links(self.bridge))
        if "unreachable" in run(["ip", "route", "show", "exact", firewall.INTERNET]):
            run(["ip", "route", "delete", "unreachable", firewall.INTERNET])
        present = run(["ip", "-oneline", "address", "show", "dev", "lo"])
        for address in (firewall.ORGANISER, firewall.STRANGER):
            if f" {address}/32 " in present:
                run(["ip", "address", "delete", f"{address}/32", "dev", "lo"])
        run(["nft", "-f", "-"], "table inet rehearsal {}\ndelete table inet rehearsal\n")
        if REMEMBERED.exists():
            FORWARDING.write_text(REMEMBERED.read_text())
            REMEMBERED.unlink()

    def wire(self, pid: int, instance_id: str, private_ip: str) -> None:
        """Lay the cable from the bridge into the network namespace of a process.

        The cable of an earlier boot goes first: the kernel takes a dead namespace apart in its own time.
        """
        self.unwire(instance_id)
        outside = veth(instance_id)
        run(["ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "address", mac(private_ip), "netns", str(pid)])
        run(["ip", "link", "set", outside, "master", self.bridge, "up"])
        inside(
            pid,
            ["ip", "-batch", "-"],
            f"""\
            link set lo up
            address add {private_ip}/{self.prefix_length} dev eth0
            link set eth0 up
            route add default via {self.gateway}
            """,
        )

    def unwire(self, instance_id: str) -> None:
        """Remove the cable, if it did not go with its namespace."""
        _delete(_links(veth(instance_id)))

    def route(self, public_ip: str, private_ip: str) -> None:
        """Lead a public address to its host; the organiser's own packets carry the organiser's address."""
        run(["ip", "route", "replace", f"{public_ip}/32", "via", private_ip, "dev", self.bridge, "src", firewall.ORGANISER])

    def unroute(self, public_ip: str) -> None:
        """Forget a public address."""
        if run(["ip", "route", "show", "exact", f"{public_ip}/32"]):
            run(["ip", "route", "delete", f"{public_ip}/32"])


def remove_links() -> list[str]:
    """Remove the machine's end of every host's cable, whoever laid it, and return their names."""
    links = _links(VETH)
    _delete(links)
    return links


def remove_routes() -> list[str]:
    """Remove the routes of all public addresses and return them."""
    routes = [route["dst"] for route in json.loads(run(["ip", "-json", "route", "show", "root", firewall.PUBLIC]) or "[]")]
    for route in routes:
        run(["ip", "route", "delete", route])
    return routes


def veth(instance_id: str) -> str:
    """Return the name of the machine's end of a host's cable (15 characters at most)."""
    return f"{VETH}{instance_id[-7:]}"


def mac(address: str) -> str:
    """Return a MAC made from an IPv4 address, so that a re-used address does not meet a stale neighbour entry."""
    return "02:72:" + ":".join(f"{byte:02x}" for byte in ipaddress.ip_address(address).packed)


def inside(pid: int, command: list[str], text: str = "") -> str:
    """Run a command of the machine in the network namespace of a process."""
    return run(["nsenter", "--target", str(pid), "--net", *command], text)


def run(command: list[str], text: str = "") -> str:
    """Run a command with a text as its input and return what it prints; raises NetworkError with its last line."""
    try:
        result = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        raise NetworkError(f"{command[0]} is missing; type: make setup") from None
    if result.returncode:
        raise NetworkError(f"{' '.join(command)}: {(result.stderr.strip() or 'failed').splitlines()[-1]}")
    return result.stdout


def _delete(links: list[str]) -> None:
    """Remove network links; one that goes away by itself meanwhile is no error."""
    for link in links:
        try:
            run(["ip", "link", "delete", link])
        except NetworkError:
            if _links(link):
                raise


def _links(prefix: str) -> list[str]:
    """Return the network links of this machine whose names begin so."""
    return [link["ifname"] for link in json.loads(run(["ip", "-json", "link", "show"])) if link.get("ifname", "").startswith(prefix)]
