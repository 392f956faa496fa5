#!/usr/bin/python
"""Keep a boot service running on what is on disk now, without taking a student's work away."""

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_service
short_description: Keep a boot service running on what is on disk now
description:
  - Enables the service, starts it where it does not run, and restarts it where it was started with other files than those on disk.
    What it was started with is a list that the unit writes itself, in the format of C(sha256sum), so that a run killed between a
    change and its restart is made good by the next.
  - A restart waits while the service has processes besides its main one (a student's kernels and terminals), unless O(interrupt=true).
  - Lets a service go on that was frozen, or whose main process was stopped. Nothing of a student's is lost by that.
  - Where O(asked) is given the service itself is asked, with patience. One that is active and does not answer is restarted like one
    that was started with other files.
author: GPU Classroom
options:
  name:
    description: The unit, with its suffix.
    type: str
    required: true
  started:
    description: File with the digests of what the service was started with, which its unit writes at each start.
    type: path
    required: true
  port:
    description: The TCP port that the service listens on. Whoever else holds it is named, and not ended.
    type: int
  asked:
    description: Page of the service that has to come, over TLS with a certificate of the class, whatever the machine's addresses are.
    type: dict
    suboptions:
      url:
        description: The page's address, as it is asked for from outside. It is asked on the seat itself.
        type: str
        required: true
      ca:
        description: File with the certificates to trust.
        type: path
        required: true
      seconds:
        description: How long the answer may take, each time. A service is asked three times before it counts as one that does not answer.
        type: int
        default: 10
  interrupt:
    description: Restart even if that ends a student's work.
    type: bool
    default: false
attributes:
  check_mode:
    description: Says what would be done, and does nothing.
    support: full
"""

EXAMPLES = r"""
- name: Keep Jupyter running on its present settings
  classroom.gpu.boot_service:
    name: jupyter.service
    started: /run/jupyter/started
    port: 8888
    asked: {url: "https://198.51.100.7:8888/login", ca: /etc/jupyter/cert.pem}
"""

RETURN = r"""
due:
  description: Files that changed since the service was started, where the restart waits for a student's work to end.
  returned: always
  type: list
  elements: str
done:
  description: What was done, such as V(enable), V(thaw), V(continue) or V(restart).
  returned: always
  type: list
  elements: str
"""

import time
from hashlib import sha256
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.common import cgroup, path_errors, processes, tcp_listener
from ansible_collections.classroom.gpu.plugins.module_utils.seat import health as seat_health

PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "MainPID", "ControlGroup", "FreezerState")
TIMES, PAUSE = 3, 2  # how often a service is asked before it counts as one that does not answer, and the seconds between
SILENT = "its silence"


def digest(path: str) -> str:
    """Return the SHA-256 of a file in hex, or nothing where there is no such file."""
    try:
        return sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def outdated(listing: str) -> list[str]:
    """Return the files that are no longer as `listing` (lines of `DIGEST  PATH`, as sha256sum writes them) says."""
    pairs = (line.split(maxsplit=1) for line in listing.splitlines() if line.strip())
    return [path for found, path in pairs if digest(path) != found]


def changed_files(started: Path) -> list[str]:
    """Return the files that changed since the service was started; where no list was left, the list itself."""
    try:
        return outdated(started.read_text(encoding="utf-8"))
    except OSError:
        return [str(started)]


def plan(state: dict, files: list[str], busy: int, interrupt: bool) -> tuple[list[str], list[str]]:
    """Return what to do (systemctl's verbs) and the files for which a restart is due but has to wait."""
    steps = ["daemon-reload"] if state["NeedDaemonReload"] == "yes" else []
    steps += [] if state["UnitFileState"] == "enabled" else ["enable"]
    if state["ActiveState"] != "active":
        return [*steps, "restart"], []
    if files and busy and not interrupt:
        return steps, files
    return [*steps, "restart"] if files else steps, []


def halted(state: dict) -> list[str]:
    """Return what lets a service go on that is frozen, or whose main process is stopped."""
    steps = ["thaw"] if state.get("FreezerState") == "frozen" else []
    return [*steps, "continue"] if processes.state(state.get("MainPID", "")) == processes.STOPPED else steps


def answers(module: AnsibleModule, asked: dict) -> bool:
    """Ask the service, again where it does not answer: it may be at something."""
    here = ["--cacert", asked["ca"], "--connect-to", "::127.0.0.1:", "--max-time", str(asked["seconds"])]
    for left in reversed(range(TIMES)):
        if module.run_command(["curl", "--silent", "--fail", "--output", "/dev/null", *here, asked["url"]])[0] == 0:
            return True
        time.sleep(PAUSE if left else 0)
    return False


def obstacle(name: str, port: int, group: str, holder: tcp_listener.Holder | None) -> str:
    """Say who holds the service's port, if that is a process outside the service's control group; else nothing."""
    if holder is None or tcp_listener.belongs(holder, group):
        return ""
    return f"{name} cannot start: {holder} listens on its port {port}. End it ('sudo kill {holder.pid}' on the seat), and run this again."


def wall(module: AnsibleModule, name: str, port: int) -> str:
    """Say which rule of the seat's firewall keeps even the seat from the service, which a restart would wait for in vain; else nothing."""
    shut = seat_health.everywhere(seat_health.firewall(module, port))
    look = "look with 'sudo nft -a list ruleset' on the seat, delete it, and run this again"
    return f"{name} cannot answer: a rule of the seat's firewall ('{shut[0]}') shuts port {port}: {look}." if shut else ""


def systemctl(module: AnsibleModule, *arguments: str) -> str:
    """Run systemctl, and fail with the unit's last words if it fails."""
    code, stdout, stderr = module.run_command(["systemctl", *arguments])
    if code:
        _, journal, _ = module.run_command(["journalctl", "--unit", module.params["name"], "--lines=15", "--no-pager", "--output=cat"])
        module.fail_json(msg=f"'systemctl {' '.join(arguments)}' failed: {stderr.strip()}", journal=journal.splitlines())
    return stdout


def carry_out(module: AnsibleModule, step: str, state: dict) -> None:
    """Do one of the steps."""
    if step == "continue":
        processes.go_on(state["MainPID"])
    else:
        systemctl(module, step, *([] if step == "daemon-reload" else [module.params["name"]]))


def look(module: AnsibleModule, name: str) -> str:
    """Return the unit's properties. A start that is under way, as after a boot, is waited for: it is not one that this has to make."""
    command = ("show", f"--property={','.join(PROPERTIES)}", name)
    shown = systemctl(module, *command)
    if "ActiveState=activating" not in shown.splitlines():
        return shown
    module.run_command(["systemctl", "start", name])  # joins that start; whether it failed is told below
    return systemctl(module, *command)


ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "started": {"type": "path", "required": True},
    "port": {"type": "int"},
    "asked": {
        "type": "dict",
        "options": {
            "url": {"type": "str", "required": True},
            "ca": {"type": "path", "required": True},
            "seconds": {"type": "int", "default": 10},
        },
    },
    "interrupt": {"type": "bool", "default": False},
}


def reasons(module: AnsibleModule, state: dict, wakes: bool) -> list[str]:
    """Return why the service has to be restarted: files that changed since its start, or that it runs and does not answer.

    wakes: it is about to go on in check mode, where it cannot be asked yet.
    """
    files, asked = changed_files(Path(module.params["started"])), module.params["asked"]
    running = state["ActiveState"] == "active" and not files
    return files or ([SILENT] if asked and running and not wakes and not answers(module, asked) else [])


@path_errors.told
def main() -> None:
    """Compare the running service with the disk, ask it, and bring it up to date."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    name, port = module.params["name"], module.params["port"]
    shown = look(module, name)
    state = dict(line.split("=", 1) for line in shown.splitlines() if line)
    waking = halted(state)
    for step in [] if module.check_mode else waking:
        carry_out(module, step, state)
    busy = cgroup.busy(shown)
    steps, due = plan(state, reasons(module, state, module.check_mode and bool(waking)), busy, module.params["interrupt"])
    if port and "restart" in steps:
        blocked = obstacle(name, port, state.get("ControlGroup", ""), tcp_listener.holder(port)) or wall(module, name, port)
        if blocked:
            module.fail_json(msg=blocked)
    for step in [] if module.check_mode else steps:
        carry_out(module, step, state)
    if due:
        what = f"{name} is due for a restart because of {', '.join(due)}, but {busy} kernels or terminals of a student are alive"
        module.warn(f"{what}: run this again when they have ended, or with -e interrupt=true.")
    module.exit_json(changed=bool(waking + steps), done=waking + steps, due=due)


if __name__ == "__main__":
    main()
