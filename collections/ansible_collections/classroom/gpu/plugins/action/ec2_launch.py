"""Runs the module of this name, unless an earlier look of the run found each seat's machine as wanted."""

from __future__ import annotations

from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import launch
from ansible_collections.classroom.gpu.plugins.plugin_utils.known import KnownAction


class ActionModule(KnownAction):
    """By the rules of module_utils/ec2/launch.py, which are the module's own."""

    rules = launch
