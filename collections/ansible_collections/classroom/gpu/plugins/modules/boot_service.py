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
"""

RETURN = r"""
due:
  description: Files that changed since the service was started, where the restart waits for a student's work to end.
  returned: always
  type: list
  elements: str
done:
  description: What was done, such as V(enable) or V(restart).
  returned: always
  type: list
  elements: str
"""

from hashlib import sha256
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils import causes, control_group, port_holder

PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "MainPID", "ControlGroup")


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


def obstacle(name: str, port: int, group: str, holder: port_holder.Holder | None) -> str:
    """Say who holds the service's port, if that is a process outside the service's control group; else nothing."""
    if holder is None or (group and any(path == group or path.startswith(f"{group}/") for path in holder.groups)):
        return ""
    return f"{name} cannot start: {holder} listens on its port {port}. End it ('sudo kill {holder.pid}' on the seat), and run this again."


def systemctl(module: AnsibleModule, *arguments: str) -> str:
    """Run systemctl, and fail with the unit's last words if it fails."""
    code, stdout, stderr = module.run_command(["systemctl", *arguments])
    if code:
        _, journal, _ = module.run_command(["journalctl", "--unit", module.params["name"], "--lines=15", "--no-pager", "--output=cat"])
        module.fail_json(msg=f"'systemctl {' '.join(arguments)}' failed: {stderr.strip()}", journal=journal.splitlines())
    return stdout


def look(module: AnsibleModule, name: str) -> str:
    """Return the unit's properties. A start that is under way, as after a boot, is waited for: it is not one that this has to make."""
    command = ("show", f"--property={','.join(PROPERTIES)}", name)
    shown = systemctl(module, *command)
    if "ActiveState=activating" not in shown.splitlines():
        return shown
    module.run_command(["systemctl", "start", name])  # joins that start; whether it failed is told below
    return systemctl(module, *command)


@causes.told
def main() -> None:
    """Compare the running service with the disk, and bring it up to date."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "started": {"type": "path", "required": True},
            "port": {"type": "int"},
            "interrupt": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    name = module.params["name"]
    shown = look(module, name)
    state = dict(line.split("=", 1) for line in shown.splitlines() if line)
    busy = control_group.busy(shown)
    steps, due = plan(state, changed_files(Path(module.params["started"])), busy, module.params["interrupt"])
    port = module.params["port"]
    if port and "restart" in steps and (blocked := obstacle(name, port, state.get("ControlGroup", ""), port_holder.holder(port))):
        module.fail_json(msg=blocked)
    for step in [] if module.check_mode else steps:
        systemctl(module, step, *([] if step == "daemon-reload" else [name]))
    if due:
        what = f"{name} is due for a restart because of {', '.join(due)}, but {busy} kernels or terminals of a student are alive"
        module.warn(f"{what}: run this again when they have ended, or with -e interrupt=true.")
    module.exit_json(changed=bool(steps), done=steps, due=due)


if __name__ == "__main__":
    main()
