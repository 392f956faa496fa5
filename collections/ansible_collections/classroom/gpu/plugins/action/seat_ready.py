"""The controller's part of classroom.gpu.seat_ready: a seat that does not answer yet is asked again."""

from __future__ import annotations

import time

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

TIMEOUT = 300
PAUSE = 1


class ActionModule(ActionBase):
    """Runs the module of the same name as soon as the seat answers. One that never does is unreachable, as for every other task."""

    def run(self, tmp: str | None = None, task_vars: dict | None = None) -> dict:
        """Ask until there is an answer, or until the time is over."""
        super().run(tmp, task_vars)
        until = time.monotonic() + float(self._task.args.get("timeout", TIMEOUT))
        while True:
            try:
                return self._execute_module(task_vars=task_vars)
            except AnsibleConnectionFailure:
                if time.monotonic() >= until:
                    raise
                self.forget(task_vars or {})
                time.sleep(PAUSE)

    def forget(self, names: dict) -> None:
        """Forget what was learnt from a connection that did not last: itself, and the Python that was looked for in vain."""
        if self._discovered_interpreter_key:
            names.get("ansible_facts", {}).pop(self._discovered_interpreter_key, None)
        self._connection.reset()
