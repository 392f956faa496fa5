"""Filters of the way to the seats; the functions are in module_utils."""

from __future__ import annotations

from ansible_collections.classroom.gpu.plugins.module_utils.classroom import networks


def groups_as_wanted(groups: list[dict], wanted: dict) -> list[dict]:
    """Return those of some security groups, as EC2 describes them, at which nothing is to be changed."""
    return [group for group in groups if networks.as_wanted(group, wanted)]


class FilterModule:
    """The filters' names."""

    def filters(self) -> dict:
        """Return them by name."""
        return {"groups_as_wanted": groups_as_wanted, "own_network_problem": networks.own_problem}
