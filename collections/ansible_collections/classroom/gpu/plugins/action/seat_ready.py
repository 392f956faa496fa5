"""The controller's part of classroom.gpu.seat_ready: a seat that does not answer yet is asked again, one that refuses is not."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.classroom.gpu.plugins.plugin_utils import by_jupyter, refusal

TIMEOUT = 300
PAUSE = 1
# Seconds after a launch or start in which a machine may be booting, first boot and the difference of two clocks included.
YOUNG = 600
# Seconds for an answer of a machine that has long booted, of one that refuses, as cloud-init writes keys before SSH is served, and of SSH's
# server that was started anew. An attempt takes ten seconds where nothing is said.
SHORT, GRACE, LAST = 8, 15, 3
# What only this part reads of the arguments.
OWN = ("launched", "jupyter")


class ActionModule(ActionBase):
    """Runs the module of the same name as soon as the seat answers. One that never does is unreachable, as for every other task."""

    def run(self, tmp: str | None = None, task_vars: dict | None = None) -> dict:
        """Ask until there is an answer, or until asking again cannot help; then, once, by the seat's Jupyter."""
        super().run(tmp, task_vars)
        names, begun, mended = task_vars or {}, time.monotonic(), None
        arguments = {name: value for name, value in self._task.args.items() if name not in OWN}
        while True:
            try:
                return self.told(self._execute_module(module_args=arguments, task_vars=names), mended)
            except AnsibleConnectionFailure as error:
                if time.monotonic() - begun >= self.patience(error, mended is not None):
                    mended, begun = self.put_back(error, mended), time.monotonic()
                self.forget(names)
                time.sleep(PAUSE)

    def patience(self, error: AnsibleConnectionFailure, last: bool) -> float:
        """Return for how many seconds to ask again; last: there is nothing else to try."""
        timeout = float(self._task.args.get("timeout", TIMEOUT))
        if not isinstance(error, refusal.Refused) or error.heard[-1].kind is refusal.BOOTS:
            return timeout
        if last or not self.young():
            return min(timeout, LAST if last else SHORT if error.boots else 0)
        return timeout if error.boots else min(timeout, GRACE)

    def young(self) -> bool:
        """Say whether the machine was launched or started a short time ago. Where that is not known, it may have been."""
        launched = str(self._task.args.get("launched") or "")
        return not launched or (datetime.now(tz=UTC) - datetime.fromisoformat(launched)).total_seconds() < YOUNG

    def put_back(self, error: AnsibleConnectionFailure, mended: list[str] | None) -> list[str]:
        """Put the way in back by the seat's Jupyter, and return what that mended. Raises the error where it cannot be, or was in vain."""
        jupyter, ways = self._task.args.get("jupyter"), self._task.args.get("ways")
        if not (jupyter and ways and isinstance(error, refusal.Refused)) or self._task.check_mode:
            raise error
        if mended is not None:
            raise error.without(f"it put right what it could: {', '.join([*mended, 'SSH was started anew'])}", answered=True) from None
        try:
            return by_jupyter.put_back(jupyter["url"], Path(jupyter["class_dir"]), error.seat.seat, ways)
        except by_jupyter.NoHelp as reason:
            # Ansible prints each cause beside what it caused, and this one ends with what was just tried.
            raise error.without(str(reason), fix=reason.fix) from None

    def told(self, result: dict, mended: list[str] | None) -> dict:
        """Return what the module says, and that the way to it had to be put back."""
        if mended is None:
            return result
        words = f"SSH let nobody in; its Jupyter did, where this was put right: {', '.join([*mended, 'SSH was started anew'])}."
        return result | {"changed": True, "warnings": [*result.get("warnings", []), words]}

    def forget(self, names: dict) -> None:
        """Forget what was learnt from a connection that did not last: itself, and the Python that was looked for in vain."""
        if self._discovered_interpreter_key:
            names.get("ansible_facts", {}).pop(self._discovered_interpreter_key, None)
        self._connection.reset()
