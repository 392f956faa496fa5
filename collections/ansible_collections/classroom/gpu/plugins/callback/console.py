"""Ansible's default output, with what was refused in one sentence instead of three times in a page."""

from __future__ import annotations

from ansible import constants
from ansible.plugins.callback import default

DOCUMENTATION = """
name: console
type: stdout
short_description: The default output, with refusals in one sentence and the plan of a class in plain lines
extends_documentation_fragment: [default_callback, result_format_callback]
"""

PREFLIGHT = "classroom.gpu.ec2_preflight"
# Tasks that fail with a sentence written for the organiser. Everything else fails with all that Ansible knows.
REFUSALS = (PREFLIGHT, "ansible.builtin.assert", "ansible.builtin.fail")


class CallbackModule(default.CallbackModule):
    """The default callback but for two results."""

    CALLBACK_NAME = "classroom.gpu.console"

    def v2_runner_on_failed(self, result, ignore_errors=False) -> None:
        """Print a refusal as the sentence that it is; -v brings the rest."""
        if result.task.resolved_action not in REFUSALS or result.task.loop or self._display.verbosity:
            super().v2_runner_on_failed(result, ignore_errors)
            return
        if self._last_task_banner != result.task._uuid:
            self._print_task_banner(result.task)
        for line in str(result.result.get("msg", "")).splitlines():
            self._display.display(f"{self.host_label(result)}: {line}", color=constants.COLOR_ERROR)

    def v2_runner_on_ok(self, result) -> None:
        """Print the plan that the pre-flight check found."""
        super().v2_runner_on_ok(result)
        if result.task.resolved_action == PREFLIGHT:
            for line in result.result["plan"]:
                self._display.display(f"  {line}", color=constants.COLOR_HIGHLIGHT)
