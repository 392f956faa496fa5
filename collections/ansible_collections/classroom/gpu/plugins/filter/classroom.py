"""Filters of the class playbooks; the functions are in module_utils."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ansible.errors import AnsibleFilterError
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import networks, schedule

DOCUMENTATION = """
name: own_network
short_description: The address that a check-ip page answers with, as a network
"""


def own_network(answer: str, source: str) -> str:
    """Return the address that `source` answered with as a /32 network; anything but an IPv4 address is an error."""
    if problem := networks.own_problem(answer, source):
        raise AnsibleFilterError(problem)
    return networks.own_address(answer)


def stack_digest(folder: str) -> str:
    """Return the SHA-256 of a stack's files (names and contents): it changes when what a seat should hold changes."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def end_stamp(text: str) -> str:
    """Return an end of class, as the settings tell it, as tags hold it; anything else is an error."""
    try:
        return schedule.stamp(schedule.end_of(text))
    except ValueError as error:
        raise AnsibleFilterError(f"classroom_ends: {error}") from error


def session_stamps(days: list[dict], zone: str) -> list[list[str]]:
    """Return begin and end of each of the class's sessions as tags hold moments; a session that is none is an error."""
    try:
        return schedule.sessions(days, zone)
    except ValueError as error:
        raise AnsibleFilterError(f"classroom_sessions: {error}") from error


class FilterModule:
    """The filters' names."""

    def filters(self) -> dict:
        """Return them by name."""
        return {
            "end_stamp": end_stamp,
            "end_words": schedule.words,
            "end_zone": schedule.zone_of,
            "network_problems": networks.network_problems,
            "own_network": own_network,
            "session_stamps": session_stamps,
            "stack_digest": stack_digest,
        }
