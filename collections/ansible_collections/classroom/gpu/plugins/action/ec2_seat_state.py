"""Runs the module of this name, unless an earlier look of the run found the machines as wanted."""

from __future__ import annotations

from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import start_stop
from ansible_collections.classroom.gpu.plugins.plugin_utils.known import KnownAction


class ActionModule(KnownAction):
    """By the rules of module_utils/ec2/start_stop.py, which are the module's own."""

    rules = start_stop
