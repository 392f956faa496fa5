"""Guards the class playbooks before they run and closes them with a table of the seats."""

from __future__ import annotations

from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible_collections.classroom.gpu.plugins.module_utils.table import table
from ansible_collections.classroom.gpu.plugins.plugin_utils import guard

DOCUMENTATION = """
name: classroom
type: aggregate
short_description: Refuses what would act on the wrong seats, and ends a run with a table of the seats
description:
  - Active for site.yml and playbooks/ of this repository only.
  - Refuses, with exit status 4 and before anything is attempted, a bad CLASSROOM, C(--limit), and C(-e) names that nothing reads.
"""

WITHOUT_TABLE = ("preflight.yml", "grow.yml")
LOST = {"classroom.gpu.ec2_launch": "not launched", "classroom.gpu.ec2_power": "not started"}
LAYERS = {"driver": "driver {}", "toolkit": "CUDA {}", "cudnn": "cuDNN {}", "framework": "{}"}


def row(seat: str, address: str, proof: dict | None, trouble: str, check: bool) -> tuple[str, ...]:
    """Return a seat's row: id, address, what was proven, seconds, what to do next."""
    again = f"ansible-playbook site.yml -e seats={seat}"
    if trouble:
        return seat, address, f"NOT PROVEN: {trouble}", "", again
    if not proof or not proof["proven"]:
        sentence = f"NOT PROVEN: {first_line(proof['msg'])}" if proof else "not proven"
        return seat, address, "would be proven" if check else sentence, "", again
    names = ", ".join(filter(None, map(told, proof["checks"])))
    holds = "earlier proof holds: " if proof["reused"] else ""
    return seat, address, holds + names, f"{proof['seconds']:.1f}", f"open {proof['url']}"


def told(check: dict) -> str:
    """Return a check that passed as the table tells it: a GPU layer by its version, one that the stack has none of not at all."""
    return LAYERS.get(check["name"], check["name"]).format(check["found"]) if check["found"] != "none" else ""


def first_line(text: object) -> str:
    """Return the beginning of a message, short enough for a table."""
    line = (str(text).strip().splitlines() or [""])[0]
    return line if len(line) <= 160 else line[:157] + "..."


class CallbackModule(CallbackBase):
    """Remembers what concerns the seats while plays run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "classroom.gpu.classroom"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.active = False
        self.turn: int | None = None
        self.wanted: list[str] = []
        self.addresses: dict[str, str] = {}
        self.proofs: dict[str, dict] = {}
        self.troubles: dict[str, str] = {}
        self.nexts: dict[str, str] = {}  # what a person types for a seat that is held

    def v2_playbook_on_start(self, playbook) -> None:
        """Refuse what must not begin."""
        self.active = guard.is_ours(playbook._file_name) and not playbook._file_name.endswith(WITHOUT_TABLE)
        if not context.CLIARGS.get("syntax"):  # a syntax check attempts nothing
            guard.check(playbook._file_name, playbook._loader)
            self.turn = guard.take_turn(playbook._file_name) if self.turn is None else self.turn

    def v2_playbook_on_play_start(self, play) -> None:
        """Let another run of the class begin where this one comes to the seats, none of which waits for another."""
        if play.hosts != ["localhost"]:
            guard.give_turn(self.turn)
            self.turn = None

    def v2_runner_on_ok(self, result) -> None:
        """Learn the wanted seats from the pre-flight check, those that could not be launched, and proofs."""
        self.see(result)
        if result.task.resolved_action == "classroom.gpu.ec2_preflight":
            self.nexts = {one["seat"]: one["next"] for one in result.result["held"]}
        if result.task.resolved_action == "classroom.gpu.ec2_preflight" and result.task_fields["args"].get("launch"):
            self.wanted = result.result["wanted"]
        if lost := LOST.get(result.task.resolved_action):
            self.troubles |= {one["seat"]: f"{lost}: {first_line(one['message'])}" for one in result.result["missing"]}
        if result.task.resolved_action == "classroom.gpu.seat_proof":
            self.proofs[result.host.name] = result.result

    def v2_runner_on_failed(self, result, ignore_errors=False) -> None:
        """Learn what went wrong on a seat."""
        self.see(result)
        if not ignore_errors:
            self.troubles[result.host.name] = first_line(result.result.get("msg", result.task.name))

    def v2_runner_on_unreachable(self, result) -> None:
        """Learn that a seat cannot be reached."""
        self.see(result)
        self.troubles[result.host.name] = f"cannot be reached over SSH: {first_line(result.result.get('msg', ''))}"

    def see(self, result) -> None:
        """Note the address of a seat that takes part."""
        self.addresses[result.host.name] = result.host.vars.get("ansible_host", "")

    def v2_playbook_on_stats(self, stats) -> None:
        """Print the table, if this run was about seats and got far enough to know them."""
        taking_part = [host for host in self.addresses if host != "localhost"]
        seats = list(dict.fromkeys([*self.wanted, *sorted(taking_part)]))
        if not self.active or not seats:
            return
        check = bool(context.CLIARGS.get("check"))
        rows = [row(seat, self.addresses.get(seat, "-"), self.proofs.get(seat), self.troubles.get(seat, ""), check) for seat in seats]
        rows = [(*told[:-1], self.nexts.get(told[0], told[-1])) for told in rows]
        self._display.banner("SEATS")
        for line in table([("seat", "address", "proven", "seconds", "next"), *rows]):
            self._display.display(line)
