"""systemd's units: which of them do not run as they should, and what brings them there."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

FOLDERS = ("/etc/systemd/system", "/run/systemd/system")
PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")
MASKED = ("masked", "masked-runtime")
RUNNING = ("active", "activating", "reloading")
KEPT = "enabled, active"


class Broken(Exception):
    """systemctl failed; the text is one sentence, and `journal` the unit's last words."""

    def __init__(self, sentence: str, journal: list[str] | None = None) -> None:
        super().__init__(sentence)
        self.journal = journal or []


def of(paths: list[str]) -> list[str]:
    """Return the names of the units whose files lie in a list of paths."""
    return [Path(path).name for path in paths if str(Path(path).parent) in FOLDERS]


def parsed(shown: str) -> list[dict[str, str]]:
    """Return the properties of every unit of which `systemctl show` told, a block each."""
    blocks = [block for block in shown.split("\n\n") if block.strip()]
    return [dict(line.split("=", 1) for line in block.strip().splitlines()) for block in blocks]


def due(state: dict[str, str]) -> list[str]:
    """Return systemctl's verbs that make a unit run now and at every boot."""
    steps = ["unmask"] if state["UnitFileState"] in MASKED else []
    steps += [] if state["UnitFileState"] == "enabled" else ["enable"]
    return steps if state["ActiveState"] in RUNNING else [*steps, "start"]


def started_by(timer: str) -> str:
    """Return the name of the service that a timer starts, as systemd has it unless told otherwise."""
    return f"{timer.removesuffix('.timer')}.service" if timer.endswith(".timer") else ""


def systemctl(module: AnsibleModule, *arguments: str) -> str:
    """Run systemctl and return what it prints; raises Broken."""
    code, stdout, stderr = module.run_command(["systemctl", *arguments])
    if not code:
        return stdout
    _, journal, _ = module.run_command(["journalctl", f"--unit={arguments[-1]}", "--lines=15", "--no-pager", "--output=cat"])
    raise Broken(f"'systemctl {' '.join(arguments)}' failed: {stderr.strip()}", journal.splitlines())


def look(module: AnsibleModule, names: list[str]) -> dict[str, dict[str, str]]:
    """Return the properties of units by the names that were asked for."""
    shown = systemctl(module, "show", f"--property={','.join(PROPERTIES)}", "--", *names)
    return dict(zip(names, parsed(shown), strict=True))


def settle(module: AnsibleModule, wanted: list[str], written: list[str], changed: list[str]) -> dict[str, list[str]]:
    """Keep the wanted units enabled and running, and return what was, or in check mode would be, done to each unit.

    written: all units whose files are this call's; changed: those of them that it has just changed. systemd reads its files anew where
    one of them is changed, or where it says itself that a run that was killed has left one unread. A written service that its timer
    started, and that failed, is run again at once: what kept it from its work may be put right by now, and if not, it is named here.
    """
    names = list(dict.fromkeys([*wanted, *written]))
    if not names:
        return {}
    states = look(module, names)
    unread = [name for name in names if name in changed or states[name]["NeedDaemonReload"] == "yes"]
    if unread and not module.check_mode:
        systemctl(module, "daemon-reload")
        states = look(module, names)
    done = {name: ["daemon-reload"] for name in unread if name not in changed}
    for name in wanted:
        if states[name]["LoadState"] == "not-found" and name not in changed:
            raise Broken(f"The unit {name} is not there: correct its name, or install what brings it.")
        if steps := due(states[name]):
            done[name] = [*done.get(name, []), *steps]
            for step in [] if module.check_mode else steps:
                systemctl(module, step, name)
    for name in written:
        if name in map(started_by, wanted) and states[name]["ActiveState"] == "failed":
            done[name] = [*done.get(name, []), "start"]
            if not module.check_mode:
                systemctl(module, "start", name)
    return done


def difference(name: str, steps: list[str]) -> dict[str, str]:
    """Return what C(--diff) shows of what was done to a unit."""
    return {"before": "", "after": "".join(f"{step}\n" for step in steps), "before_header": name, "after_header": name}
