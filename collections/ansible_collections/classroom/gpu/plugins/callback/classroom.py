"""Guards the class playbooks before they run and closes them with a table of the seats."""

from __future__ import annotations

from typing import NamedTuple

from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible_collections.classroom.gpu.plugins.module_utils.common.table import table
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import launch, start_stop
from ansible_collections.classroom.gpu.plugins.plugin_utils import failures, guard

DOCUMENTATION = """
name: classroom
type: aggregate
short_description: Refuses what would act on the wrong seats, and ends a run with a table of the seats
description:
  - Active for site.yml and playbooks/ of this repository only.
  - Refuses, with exit status 4 and before anything is attempted, a bad CLASSROOM, C(--limit), and C(-e) names that nothing reads.
"""

WITHOUT_TABLE = ("preflight.yml", "grow.yml")
# What only looks: site.yml may well put right what it found.
LOOKING = ("verify.yml",)
# What a module says of seats that it could not bring so far, and what mends that.
LOST = {"classroom.gpu.ec2_launch": ("not launched", launch.MENDS), "classroom.gpu.ec2_seat_state": ("not started", start_stop.MENDS)}
LAYERS = {"driver": "driver {}", "toolkit": "CUDA {}", "cudnn": "cuDNN {}", "framework": "{}"}


BELOW, ABOVE = "see below", "see above"
# How the run's own count of the proofs ends, which tells nothing of any seat.
COUNTED = "The table says why."


class Trouble(NamedTuple):
    """Why a seat is not proven, and whether the same command can bring it further."""

    sentence: str
    again: bool = False


def row(seat: str, address: str, proof: dict | None, trouble: Trouble | None, check: bool) -> tuple[str, ...]:
    """Return a seat's row: id, address, what was proven, seconds, what to do next. Why it is not proven stands below the table."""
    if trouble or not proof or not proof["proven"]:
        known = trouble or Trouble("")
        ahead = check and not trouble
        step = f"ansible-playbook site.yml -e seats={seat}" if known.again or ahead else BELOW if known.sentence else ABOVE
        return seat, address, "would be proven" if ahead else "NOT PROVEN", "", step
    names = ", ".join(filter(None, map(told, proof["checks"])))
    holds = "earlier proof holds: " if proof["reused"] else ""
    return seat, address, holds + names, f"{proof['seconds']:.1f}", f"open {proof['url']}"


def reasons(troubles: dict[str, Trouble]) -> list[str]:
    """Return the lines below the table: each reason whole, with the seats that it holds up."""
    seats: dict[str, list[str]] = {}
    for seat, trouble in troubles.items():
        seats.setdefault(trouble.sentence, []).append(seat)
    texts = (f"{', '.join(ids)} NOT PROVEN: {sentence.strip()}" for sentence, ids in seats.items() if sentence)
    return [line for text in texts for line in text.replace("\n", "\n  ").splitlines()]


def missed(missing: list[dict], what: str, mends: dict[str, str]) -> dict[str, Trouble]:
    """Return why seats were not launched or started, and what can be done about it."""
    waiting = {one["seat"]: one["reason"] in launch.WAITING_MENDS for one in missing}
    found = launch.sentences(missing, mends)
    return {seat: Trouble(f"{what}: {sentence}", waiting[seat]) for sentence, seats in found.items() for seat in seats}


def told(check: dict) -> str:
    """Return a check that passed as the table tells it: a GPU layer by its version, one that the stack has none of not at all."""
    return LAYERS.get(check["name"], check["name"]).format(check["found"]) if check["found"] != "none" else ""


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
        self.troubles: dict[str, Trouble] = {}
        self.nexts: dict[str, str] = {}  # what a person types for a seat that is held
        self.before = Trouble("")
        self.repairs = True

    def v2_playbook_on_start(self, playbook) -> None:
        """Refuse what must not begin."""
        self.active = guard.is_ours(playbook._file_name) and not playbook._file_name.endswith(WITHOUT_TABLE)
        self.repairs = not playbook._file_name.endswith(LOOKING)
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
            self.troubles |= missed(result.result["missing"], *lost)
        if result.task.resolved_action == "classroom.gpu.seat_proof":
            self.proofs[result.host.name] = result.result
            if not result.result["proven"] and not context.CLIARGS.get("check"):
                self.note(result, str(result.result["msg"]))

    def v2_runner_on_failed(self, result, ignore_errors=False) -> None:
        """Learn what went wrong on a seat."""
        self.see(result)
        if not ignore_errors:
            self.note(result, failures.told(result.result, result.task.get_name(), result.host.name))

    def v2_runner_on_unreachable(self, result) -> None:
        """Learn that a seat cannot be reached. Where nothing says what to type, it may come up yet."""
        self.see(result)
        # The connection says which seat it is and what keeps from it.
        sentence = failures.told(result.result, result.task.get_name(), result.host.name)
        self.note(result, sentence, again="`" not in sentence)

    def note(self, result, sentence: str, again: bool = False) -> None:
        """Keep why a seat is not proven, or why a run ended before it came to the seats.

        The same command is worth its time only where the module that failed says so (`again`), or where the run did not repair anything.
        """
        known = Trouble(sentence, bool(result.result.get("again", again)) or not self.repairs)
        if result.host.name != "localhost":
            self.troubles[result.host.name] = known
        elif not self.seats() and not sentence.endswith(COUNTED):
            self.before = known

    def seats(self) -> list[str]:
        """Return the seats that take part in this run."""
        return [host for host in self.addresses if host != "localhost"]

    def see(self, result) -> None:
        """Note the address of a seat that takes part."""
        self.addresses[result.host.name] = result.host.vars.get("ansible_host", "")

    def v2_playbook_on_stats(self, stats) -> None:
        """Print the table, if this run was about seats and got far enough to know them."""
        seats = list(dict.fromkeys([*self.wanted, *sorted(self.seats())]))
        if not self.active or not seats:
            return
        check = bool(context.CLIARGS.get("check"))
        troubles = {seat: self.trouble(seat) for seat in seats}
        told = [row(seat, self.addresses.get(seat, "-"), self.proofs.get(seat), troubles[seat], check) for seat in seats]
        told = [(*known[:-1], self.nexts.get(known[0], known[-1])) for known in told]
        self._display.banner("SEATS")
        for line in table([("seat", "address", "proven", "seconds", "next"), *told]):
            self._display.display(line)
        for line in reasons({seat: trouble for seat, trouble in troubles.items() if trouble}):
            self._display.display(line)

    def trouble(self, seat: str) -> Trouble | None:
        """Return why a seat is not proven; of one that nothing was tried on, why the run ended before."""
        own = self.troubles.get(seat)
        return own or (self.before if self.before.sentence and seat not in self.proofs else None)
