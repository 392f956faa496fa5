"""What is common to actions that need no process where a look has shown that there is nothing to do."""

from __future__ import annotations

from types import ModuleType

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase


def settled(rules: ModuleType, arguments: dict) -> dict | None:
    """Return what a module would say that finds all as it is known; None where it has to look, or to refuse its arguments.

    rules: a module with OPTIONS, as modules specify them, and `settled`, which judges by them.
    """
    told = {name: value for name, value in arguments.items() if name in rules.OPTIONS}
    checked = ArgumentSpecValidator(rules.OPTIONS).validate(told)
    return None if checked.error_messages else rules.settled(checked.validated_parameters)


class KnownAction(ActionBase):
    """Runs the module of its name where what is known differs from what is wanted."""

    rules: ModuleType

    def run(self, tmp: str | None = None, task_vars: dict | None = None) -> dict:
        """Return the module's result, or the one that it would have."""
        result = super().run(tmp, task_vars)
        if done := settled(self.rules, self._task.args):
            return result | done
        asked = {name: value for name, value in self._task.args.items() if name != "known"}
        return result | self._execute_module(module_args=asked, task_vars=task_vars)
