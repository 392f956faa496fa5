"""Networks that may reach a class. Pure functions, shared by modules, filters and tests."""

from __future__ import annotations

import ipaddress


def network_problems(cidrs: list[str], allow_everyone: bool) -> list[str]:
    """Say what is wrong with the networks a class is opened to: none at all, no IPv4 network, or the whole internet unasked."""
    if not cidrs:
        return ["no network may reach the class."]
    return [problem for cidr in cidrs if (problem := _problem(str(cidr), allow_everyone))]


def _problem(cidr: str, allow_everyone: bool) -> str | None:
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError as error:
        return f"{cidr} is no IPv4 network ({error})."
    if network.prefixlen == 0 and not allow_everyone:
        return f"{cidr} is the whole internet, which needs `classroom_allow_everyone: true` beside it."
    return None


def own_address(text: str) -> str:
    """Return the answer of a check-ip page as a /32 network; ValueError if it is not one IPv4 address."""
    return f"{ipaddress.IPv4Address(text.strip())}/32"
