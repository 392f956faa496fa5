"""Ansible's default output, with what was refused in one sentence instead of three times in a page."""

from __future__ import annotations

from ansible import constants, context
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback import default
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import networks
from ansible_collections.classroom.gpu.plugins.plugin_utils import failures

DOCUMENTATION = """
name: console
type: stdout
short_description: The default output, with refusals in one sentence and the plan of a class in plain lines
extends_documentation_fragment: [default_callback, result_format_callback]
"""

PROOF = "classroom.gpu.seat_proof"
PREFLIGHT = "classroom.gpu.ec2_preflight"
EC2 = "classroom.gpu.ec2_"
GROUP = "amazon.aws.ec2_security_group"
# Tasks that fail with a sentence: ours, written for the organiser, and EC2's own. Everything else fails with all that Ansible knows.
SENTENCES = ("classroom.gpu.", "ansible.builtin.assert", "ansible.builtin.fail", "amazon.aws.")
# Strategies of plays in which each seat goes its own way.
APART = ("ansible.builtin.free", "ansible.builtin.host_pinned")


def outcome(seat: str, proof: dict) -> str:
    """Return the line of a seat's proof; one that was used again is not called proven, as the closing table does not either."""
    if not proof["proven"]:
        return f"{seat} NOT PROVEN: {proof['msg']}"
    return f"{seat} {'earlier proof holds' if proof['reused'] else 'proven'}: {proof['url']}"


def sentence(result) -> str:
    """Return what a failure says; where nobody wrote a sentence for it, what is known, and how to see the rest."""
    told = failures.told(result.result, result.task.get_name(), result.host.name)
    return f"{told.rstrip('.')}. -vvv shows all that Ansible knows." if failures.is_unforeseen(result.result) else told


class CallbackModule(default.CallbackModule):
    """The default callback but for some results; -v brings the rest of them."""

    CALLBACK_NAME = "classroom.gpu.console"
    tells_more = False

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[dict] = []

    def v2_playbook_on_start(self, playbook) -> None:
        """Learn whether the run has a table of its own, so that the pre-flight check's need not name each seat."""
        super().v2_playbook_on_start(playbook)
        self.tells_more = playbook._file_name.endswith(("status.yml", "teardown.yml"))

    def v2_runner_on_failed(self, result, ignore_errors=False) -> None:
        """Print a refusal as the sentence that it is; the items of a loop have said theirs."""
        if not self.is_sentence(result):
            super().v2_runner_on_failed(result, ignore_errors)
        elif not result.task.loop:
            self.say(result, self.host_label(result))

    def v2_runner_on_unreachable(self, result) -> None:
        """Print why a seat cannot be reached as the sentence that it is; the connection has written it."""
        if self._display.verbosity or not result.result.get("msg"):
            super().v2_runner_on_unreachable(result)
        else:
            self.say(result, self.host_label(result))

    def v2_runner_item_on_failed(self, result) -> None:
        """Print what was wrong with one item of a loop."""
        if self.is_sentence(result):
            self.say(result, f"{self.host_label(result)}: {self._get_item_label(result.result)}")
        else:
            super().v2_runner_item_on_failed(result)

    def v2_runner_item_on_ok(self, result) -> None:
        """Print an item of a loop, where seats go their own ways with the name of its task."""
        if self.is_line(result):
            self.line(result, f" (item={self._get_item_label(result.result)})")
        else:
            super().v2_runner_item_on_ok(result)

    def is_line(self, result) -> bool:
        """Say whether a result is told in one line, with its task: where banners would alternate, as each seat is at another task."""
        return self._play.strategy in APART and not self._display.verbosity and not isinstance(result.task, TaskInclude)

    def line(self, result, item: str = "") -> None:
        """Print the line; the items of a loop have had theirs."""
        self._handle_warnings_and_exception(result)
        self._last_task_banner = None
        if result.task.loop and not item:
            return
        changed = result.result.get("changed")
        word, color = ("changed", constants.COLOR_CHANGED) if changed else ("ok", constants.COLOR_OK)
        self._display.display(f"{word}: [{self.host_label(result)}] {result.task.get_name()}{item}", color=color)

    def show_proof(self, result) -> None:
        """Print at once that a seat is proven, or why it is not: its student need not wait for the others."""
        if result.task.resolved_action == PROOF and not context.CLIARGS.get("check"):
            color = constants.COLOR_HIGHLIGHT if result.result["proven"] else constants.COLOR_ERROR
            self._display.display(outcome(result.host.name, result.result), color=color)

    def show_closed(self, result) -> None:
        """Say which rule let the whole internet in until this task: somebody opened it, and may want to know why it is shut again."""
        if result.task.resolved_action == PREFLIGHT:
            self.groups = result.result["security_groups"]
        if result.task.resolved_action == GROUP and result.result.get("changed") and not context.CLIARGS.get("check"):
            for line in networks.closed(self.groups, result.task_fields["args"]):
                self._display.display(f"  {line}", color=constants.COLOR_WARN)

    def is_sentence(self, result) -> bool:
        """Say whether the message of a failure is all that an organiser needs."""
        return not self._display.verbosity and str(result.task.resolved_action).startswith(SENTENCES)

    def say(self, result, prefix: str) -> None:
        """Print the message of a failure below the name of its task."""
        if self._last_task_banner != result.task._uuid:
            self._print_task_banner(result.task)
        self.show_plan(result)
        for line in sentence(result).splitlines():
            self._display.display(f"{prefix}: {line}", color=constants.COLOR_ERROR)

    def v2_runner_on_ok(self, result) -> None:
        """Print what a module that looks at EC2 or changes something there has to tell, and which seats did not come to what is wanted."""
        if self.is_line(result):
            self.line(result)
        else:
            super().v2_runner_on_ok(result)
        self.show_plan(result)
        self.show_proof(result)
        self.show_closed(result)
        if str(result.task.resolved_action).startswith(EC2) and result.result.get("missing"):
            for line in result.result.get("msg", "").splitlines():
                self._display.display(f"  {line}", color=constants.COLOR_ERROR)

    def show_plan(self, result) -> None:
        """Print what a module found and is about; where something is in the way, a page is told nevertheless."""
        action = str(result.task.resolved_action)
        if not action.startswith(EC2):
            return
        plan = result.result.get("plan", ())[: 1 if self.tells_more and action == PREFLIGHT else None]
        for line in (*plan, *result.result.get("lines", ())):
            self._display.display(f"  {line}", color=constants.COLOR_HIGHLIGHT)
