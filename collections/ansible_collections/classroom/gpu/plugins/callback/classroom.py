"""Guards the class playbooks before they run and closes them with a table of the seats."""

from __future__ import annotations

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: classroom
type: aggregate
short_description: Refuses what would act on the wrong seats, and ends a run with a table of the seats
description: Active for the playbooks of this repository only.
"""


class CallbackModule(CallbackBase):
    """Filled by the next commits."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "classroom.gpu.classroom"
    CALLBACK_NEEDS_ENABLED = True
