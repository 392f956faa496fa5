"""Debian's alternatives: which of several installed programs is the default one, as update-alternatives(1) knows it."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

PRIORITY = 50  # Debian's usual one; what counts is the choice by hand


class Unset(Exception):
    """The choice cannot be made; the text is one sentence."""


def chosen(answer: str, link: str, path: str) -> bool:
    """Tell whether `update-alternatives --query` answered that a path was chosen by hand, and whether its link leads there."""
    lines = answer.partition("\n\n")[0].splitlines()
    return {f"Link: {link}", "Status: manual", f"Value: {path}"} <= set(lines) and os.path.realpath(link) == os.path.realpath(path)


def settle(module: AnsibleModule, name: str, link: str, path: str) -> bool:
    """Make a path the default behind a link, and tell whether it was not. Nothing is done about one that is not there, as in check mode."""
    query = ["update-alternatives", "--query", name]
    answer = module.run_command(query)[1]
    if not Path(path).exists() or chosen(answer, link, path):
        return False
    steps = [["--set", name, path]]
    if f"Alternative: {path}" not in answer.splitlines():
        steps.insert(0, ["--install", link, name, path, str(PRIORITY)])
    for step in [] if module.check_mode else steps:
        code, stdout, stderr = module.run_command(["update-alternatives", *step])
        if code:
            raise Unset(f"{path} cannot be made the default behind {link}: {' '.join((stderr or stdout).split())}")
    if not module.check_mode and not chosen(module.run_command(query)[1], link, path):
        raise Unset(f"{link} does not lead to {path}: move away what lies there, and run this again")
    return True
