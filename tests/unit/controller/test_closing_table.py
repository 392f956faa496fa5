"""The table that closes a run: what was proven, why a seat is not, in full, and never the same again where that cannot help."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible import context
from ansible_collections.classroom.gpu.plugins.callback import classroom, console
from ansible_collections.classroom.gpu.plugins.callback.classroom import Trouble, reasons, row
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import launch
from ansible_collections.classroom.gpu.plugins.plugin_utils.failures import is_unforeseen, told

PROOF = {
    "proven": True,
    "reused": False,
    "seconds": 3.21,
    "url": "https://192.0.2.7:8888/",
    "msg": "It ran a.ipynb.",
    "checks": [{"name": "log-in", "found": "it is"}, {"name": "a.ipynb", "found": "it is"}],
}
AGAIN = "ansible-playbook site.yml -e seats=s01"
LONG = (
    "ubuntu may not use /opt/conda/envs/dl_aws/lib/python3.12/site-packages on s01: it is root's, mode 0700. Type `sudo chown -R x` there. "
    * 4
)


@pytest.mark.parametrize(
    ("proof", "trouble", "check", "rest"),
    [
        (PROOF, None, False, ("log-in, a.ipynb", "3.2", "open https://192.0.2.7:8888/")),
        (PROOF | {"reused": True}, None, False, ("earlier proof holds: log-in, a.ipynb", "3.2", "open https://192.0.2.7:8888/")),
        (PROOF | {"proven": False}, Trouble("wrong output"), False, ("NOT PROVEN", "", "see below")),
        (PROOF, Trouble("cannot be reached", again=True), False, ("NOT PROVEN", "", AGAIN)),
        (None, Trouble("refused"), True, ("NOT PROVEN", "", "see below")),
        (None, None, False, ("NOT PROVEN", "", "see above")),
        (None, None, True, ("would be proven", "", AGAIN)),
    ],
)
def test_row(proof: dict | None, trouble: Trouble | None, check: bool, rest: tuple[str, ...]) -> None:
    assert row("s01", "192.0.2.7", proof, trouble, check) == ("s01", "192.0.2.7", *rest)


def test_no_reason_is_cut_and_seats_share_one() -> None:
    found = {"s01": Trouble(LONG), "s02": Trouble("No.\nBut why."), "s03": Trouble(LONG)}
    assert reasons(found) == [f"s01, s03 NOT PROVEN: {LONG.strip()}", "s02 NOT PROVEN: No.", "  But why."]


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ({"msg": "The course is gone."}, "The course is gone."),
        ({"msg": "Task failed: Module failed: [Errno 13] Permission denied: '/opt/x'"}, "Permission denied: '/opt/x'"),
        ({"msg": "Task failed: Action failed: There is no key."}, "There is no key."),
        ({"msg": "non-zero return code", "stderr": "one\nE: that is why"}, "Do it: E: that is why"),
        (
            {"msg": "MODULE FAILURE\nSee stdout/stderr", "module_stderr": "Traceback (most recent call last)\n  failed()\nKeyError: 'a'"},
            "Do it: KeyError: 'a'",
        ),
        ({"msg": "Module result deserialization failed: No start of json char found", "module_stdout": "Welcome!\n"}, "Do it: Welcome!"),
        (
            {"msg": "non-zero return code", "stderr": "pyenv: python3: command not found\n\nNote: see help"},
            "Do it: pyenv: python3: command not found",
        ),
        ({"msg": "Module failed"}, "Do it: Module failed"),
        ({}, "Do it: it failed without a word"),
        ({"msg": "One or more items failed", "results": [{"msg": ""}, {"failed": True, "msg": "This one."}]}, "This one."),
        (
            {"msg": "MODULE FAILURE", "module_stderr": "Traceback\nOSError: [Errno 28] No space left on device: '/tmp/a'"},
            "The disk of s07 is full: ",
        ),
        ({"msg": "Task failed: Module failed: [Errno 30] Read-only file system: '/tmp/a'"}, "The disk of s07 is read-only"),
    ],
)
def test_a_failure_is_told_by_its_cause(result: dict, says: str) -> None:
    sentence = told(result, "Do it", "s07")
    assert sentence.startswith(says) and "Errno" not in sentence
    assert sentence == says or "disk of s07" in says or says == "The course is gone."


@pytest.mark.parametrize(
    ("message", "unforeseen"), [("It is full.", False), ("Task failed: Module failed: 'a'", True), ("MODULE FAILURE", True), ("", True)]
)
def test_what_nobody_wrote_a_sentence_for_is_shown_with_all_that_ansible_knows(message: str, unforeseen: bool) -> None:
    assert is_unforeseen({"msg": message}) is unforeseen


class Run:
    """A run as the callback sees it, with what it prints at its end."""

    def __init__(self, playbook: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(context, "CLIARGS", {})
        self.lines: list[str] = []
        self.callback = classroom.CallbackModule()
        self.callback._display = SimpleNamespace(banner=self.lines.append, display=self.lines.append)
        self.callback.active, self.callback.repairs = True, playbook == "site.yml"

    def result(self, seat: str, action: str = "x", **result: object) -> SimpleNamespace:
        host = SimpleNamespace(name=seat, vars={"ansible_host": "192.0.2.7"})
        task = SimpleNamespace(resolved_action=action, name="Do it", get_name=lambda: "role : Do it")
        return SimpleNamespace(host=host, task=task, task_fields={"args": {"launch": True}}, result=result)

    def end(self) -> dict[str, str]:
        """End the run; return the last column of each seat's row, and the lines below the table."""
        self.callback.v2_playbook_on_stats(None)
        rows = [line for line in self.lines[2:] if "NOT PROVEN: " not in line]
        return {line.split()[0]: line.rpartition("  ")[2] for line in rows} | {
            "below": [one for one in self.lines[2:] if "NOT PROVEN: " in one]
        }


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run("site.yml", monkeypatch)


@pytest.mark.parametrize(
    ("result", "step"),
    [
        ({"msg": "The course https://example.org/x cannot be had: not found."}, "see below"),
        ({"msg": "/opt/conda/envs/dl_aws: Cannot solve the request"}, "see below"),
        ({"msg": "The mirror did not answer.", "again": True}, AGAIN),
    ],
)
def test_the_same_again_is_told_only_where_the_module_says_that_it_helps(run: Run, result: dict, step: str) -> None:
    run.callback.v2_runner_on_failed(run.result("s01", **result))
    assert run.end() == {"s01": step, "below": [f"s01 NOT PROVEN: {result['msg']}"]}


@pytest.mark.parametrize(("message", "step"), [("timed out", AGAIN), ("sudo wants a password: `sudo visudo`", "see below")])
def test_a_seat_that_is_not_reached_may_come_up_unless_it_said_why(run: Run, message: str, step: str) -> None:
    run.callback.v2_runner_on_unreachable(run.result("s01", msg=message))
    assert run.end() == {"s01": step, "below": [f"s01 NOT PROVEN: {message}"]}


def test_what_a_look_finds_a_run_may_put_right(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run("verify.yml", monkeypatch)
    run.callback.v2_runner_on_ok(run.result("s01", "classroom.gpu.seat_proof", **PROOF | {"proven": False, "msg": "No kernel starts."}))
    assert run.end() == {"s01": AGAIN, "below": ["s01 NOT PROVEN: No kernel starts."]}


def test_what_ended_a_run_before_the_seats_is_told_of_each(run: Run) -> None:
    run.callback.wanted = ["s01", "s02"]
    run.callback.v2_runner_on_failed(run.result("localhost", msg="The class's key is lost."))
    run.callback.v2_runner_on_failed(run.result("localhost", msg="Not proven: s01, s02. The table says why."))
    assert run.end() == {"s01": "see below", "s02": "see below", "below": ["s01, s02 NOT PROVEN: The class's key is lost."]}


@pytest.mark.parametrize(("reason", "step"), [("capacity", AGAIN), ("verification", AGAIN), ("quota", "see below"), ("other", "see below")])
def test_only_what_waiting_may_mend_is_launched_by_the_same_command(run: Run, reason: str, step: str) -> None:
    missing = [{"seat": "s01", "reason": reason, "message": "AWS says no."}]
    run.callback.v2_runner_on_ok(run.result("localhost", "classroom.gpu.ec2_launch", missing=missing))
    run.callback.wanted = ["s01"]
    assert run.end() == {"s01": step, "below": [f"s01 NOT PROVEN: not launched: AWS says no. {launch.MENDS[reason]}"]}


def test_a_reason_that_names_other_seats_is_not_theirs(run: Run) -> None:
    """Two machines with the tag of s01, one of which is the machine of s03: both sentences name both."""
    told = {
        "s01": "Two machines, i-1 and i-2. The second is known as s03. Put its tag back.",
        "s03": "Its machine has the tag of s01. Put it back.",
    }
    missing = [{"seat": seat, "reason": "held", "message": message} for seat, message in told.items()]
    run.callback.v2_runner_on_ok(run.result("localhost", "classroom.gpu.ec2_launch", missing=missing))
    run.callback.wanted = ["s01", "s03"]
    below = [f"{seat} NOT PROVEN: not launched: {message} {launch.MENDS['held']}" for seat, message in told.items()]
    assert run.end() == {"s01": "see below", "s03": "see below", "below": below}


@pytest.mark.parametrize(
    "action", ["classroom.gpu.course", "classroom.gpu.vim_plugins", "classroom.gpu.managed_files", "ansible.builtin.fail"]
)
def test_every_module_of_ours_fails_with_a_sentence(action: str) -> None:
    callback = SimpleNamespace(_display=SimpleNamespace(verbosity=0))
    task = SimpleNamespace(resolved_action=action, get_name=lambda: "Do it")
    result = SimpleNamespace(task=task, host=SimpleNamespace(name="s07"), result={"msg": "It is full.\nMove on."})
    assert console.CallbackModule.is_sentence(callback, result) and console.sentence(result) == "It is full.\nMove on."
    result.result = {"msg": "Module result deserialization failed: No start of json char found", "module_stdout": "Welcome!"}
    assert console.sentence(result) == "Do it: Welcome!. -vvv shows all that Ansible knows."
