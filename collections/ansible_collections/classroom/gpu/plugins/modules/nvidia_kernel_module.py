#!/usr/bin/python
"""Give every installed kernel the driver's module, keep nouveau out, and load the module where a GPU is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_kernel_module
short_description: Give every installed kernel the driver's module, and load it where a GPU is
description:
  - For every installed kernel, a module of the installed libraries' version. DKMS builds it, after headers that are missing were
    installed, or a package brings it.
  - Keeps nouveau out, also of the initial RAM disk, so that the next boot does not give it the GPU.
  - Loads the module into the running kernel where that can be done without a reboot, and otherwise reboots the machine, where that is
    allowed and nobody is at work, or says why a reboot is due.
  - Keeps the persistence daemon running where the driver runs, and off where there is no GPU, on which it would fail at every boot.
author: GPU Classroom
options:
  prebuilt:
    description:
      - Packages with prebuilt modules for one kernel have this name, and the kernel's at its end.
      - Empty means that DKMS builds the modules.
    type: str
    default: ""
  known:
    description: Whether the driver was installed before this run. What is missing then is damage, and is reported when it is mended.
    type: bool
    default: false
  reboot:
    description: Whether a reboot that is due may be done.
    type: bool
    default: true
  interrupt:
    description: Reboot even if that ends a student's work.
    type: bool
    default: false
  rebooted:
    description: The machine has just been rebooted for this. What is due still is a failure then. This is set by the reboot itself.
    type: bool
    default: false
  boot_patience:
    description: Seconds that a reboot may take.
    type: int
    default: 600
  patience:
    description: Seconds to wait for the package lock.
    type: int
    default: 600
attributes:
  check_mode:
    description: Says what is missing, and does nothing.
    support: full
"""

EXAMPLES = r"""
- name: Give every kernel its module
  classroom.gpu.nvidia_kernel_module:
"""

RETURN = r"""
done:
  description: What was done, one sentence each.
  returned: always
  type: list
  elements: str
mended:
  description: Those of them that put right what was broken.
  returned: always
  type: list
  elements: str
left:
  description: Old kernels without a module, whose headers cannot be had. Neither the running kernel nor the next boot's.
  returned: always
  type: list
  elements: str
reboot_due:
  description: Whether only a reboot brings the GPU's driver up.
  returned: always
  type: bool
reason:
  description: Why a reboot is due.
  returned: always
  type: str
reboot_now:
  description: Whether it is due, allowed, and nobody is at work. Then it has been done, but in check mode.
  returned: always
  type: bool
facts:
  description: What gpu_info tells, at the end.
  returned: always
  type: dict
"""

import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.common import cgroup, path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import facts as gpu_facts
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import probe as gpu_probe

SPEC = {
    "prebuilt": {"type": "str", "default": ""},
    "known": {"type": "bool", "default": False},
    "reboot": {"type": "bool", "default": True},
    "interrupt": {"type": "bool", "default": False},
    "rebooted": {"type": "bool", "default": False},
    "boot_patience": {"type": "int", "default": 600},
    "patience": {"type": "int", "default": 600},
}
# Not the name that Debian's packages use: update-glx would take it away. modprobe.d(5)
NOUVEAU = Path("/etc/modprobe.d/classroom-nouveau.conf")
NOUVEAU_TEXT = "# GPU Classroom: NVIDIA's driver and nouveau cannot share a GPU.\nblacklist nouveau\noptions nouveau modeset=0\n"
DAEMON = "nvidia-persistenced.service"
TAIL = 15  # lines of a build's log in an error
QUIET = {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}


class BrokenBuild(Exception):
    """A module does not build or install; the text is one sentence, and `log` the tail of what was printed."""

    def __init__(self, sentence: str, printed: str) -> None:
        super().__init__(sentence)
        self.log = printed.strip().splitlines()[-TAIL:]


class NoHeaders(Exception):
    """No source has a kernel's headers, or its prebuilt module; the text is APT's complaint."""


def source_of(version: str, root: Path = gpu_facts.ROOT) -> tuple[str, str]:
    """Return the name and version under which DKMS knows the driver; empty where its source is not installed."""
    for path in sorted((root / "usr/src").glob(f"nvidia*-{version}/dkms.conf")):
        return path.parent.name.removesuffix(f"-{version}"), version
    return "", ""


def stale_images(root: Path = gpu_facts.ROOT) -> list[str]:
    """Return the kernels whose initial RAM disk is older than the file that keeps nouveau out."""
    written = (root / NOUVEAU.relative_to("/")).stat().st_mtime
    images = ((name, root / f"boot/initrd.img-{name}") for name in gpu_facts.installed_kernels(root))
    return [name for name, image in images if image.is_file() and image.stat().st_mtime < written]


def decide(reason: str, allowed: bool, busy: int, interrupt: bool) -> tuple[bool, str]:
    """Return whether to reboot for a reason now, and otherwise what has to happen first; both empty where there is no reason."""
    if not reason:
        return False, ""
    if not allowed:
        return False, "run this again with -e nvidia_driver_reboot=true, or type 'sudo reboot' on it"
    if busy and not interrupt:
        return False, f"{busy} kernels or terminals of a student are alive: run this again when they have ended, or with -e interrupt=true"
    return True, ""


class Kernels:
    """The machine's kernels, and what is done about them."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.params, self.check = module, module.params, module.check_mode
        self.facts = gpu_probe.facts(module)
        self.done, self.mended, self.left, self.complaint = [], [], [], ""

    def run(self, *command: str) -> tuple[int, str, str]:
        return self.module.run_command(list(command), environ_update=QUIET)

    def note(self, sentence: str, mends: bool | None = None) -> None:
        """Keep what was done; it mends something where the driver was there before this run, or where `mends` says so."""
        self.done.append(sentence)
        if self.params["known"] if mends is None else mends:
            self.mended.append(sentence)

    def settle(self) -> None:
        """Bring everything about the kernels in order."""
        self.keep_nouveau_out()
        for kernel in gpu_facts.without_module(self.facts):
            self.provide(next(found for found in self.facts["kernels"] if found["version"] == kernel))
        if self.done and not self.check:
            self.facts = gpu_probe.facts(self.module)
        self.load()
        self.keep_daemon()
        if self.done and not self.check:
            self.facts = gpu_probe.facts(self.module)

    def keep_nouveau_out(self) -> None:
        """Write the file that keeps nouveau out, and then the initial RAM disks that do not have it yet."""
        before = gpu_facts.read(NOUVEAU)
        if before != NOUVEAU_TEXT.strip():
            self.note(f"nouveau was {'not kept out' if not before else 'kept out in other words'}: {NOUVEAU} written")
            if self.check:
                return
            NOUVEAU.parent.mkdir(parents=True, exist_ok=True)
            NOUVEAU.write_text(NOUVEAU_TEXT, encoding="utf-8")
            NOUVEAU.chmod(0o644)
        stale = stale_images() if self.module.get_bin_path("update-initramfs") else []
        for kernel in stale:
            if not self.check:
                code, stdout, stderr = self.run("update-initramfs", "-u", "-k", kernel)
                if code:
                    raise BrokenBuild(f"The initial RAM disk of kernel {kernel} cannot be made", stdout + stderr)
        if stale:
            self.note(f"the initial RAM disks of {', '.join(stale)} were older than {NOUVEAU.name}: made anew", mends=False)

    def provide(self, kernel: dict) -> None:
        """Bring a kernel its module."""
        name, version = kernel["version"], self.facts["driver"]["installed"]
        if not self.check:
            try:
                self.install(self.params["prebuilt"] + name) if self.params["prebuilt"] else self.build(kernel)
            except NoHeaders as error:
                if kernel["running"] or kernel["next_boot"]:
                    raise BrokenBuild(f"Kernel {name} cannot get the module {version}: {error}", "") from error
                self.left.append(name)
                return
        headless = not kernel["has_headers"] and not self.params["prebuilt"]
        had = f"module {kernel['module']['version']}" if kernel["module"]["version"] else "no module"
        # A kernel without headers is broken even where the driver is new.
        self.note(f"kernel {name} had {'no headers and ' if headless else ''}{had}: module {version} put there", headless or None)

    def install(self, package: str) -> None:
        """Install a package of the machine's own sources; with fresh lists where the present ones do not have it."""
        options = ("-o", f"DPkg::Lock::Timeout={self.params['patience']}", "--quiet", "--yes", "--no-install-recommends")
        command = ("apt-get", *options, "install", package)
        code, _, complaint = self.run(*command)
        if code and re.search(r"Unable to locate|no installation candidate|404 +Not Found|Couldn't find any package", complaint):
            self.run("apt-get", "--quiet", "update")
            code, _, complaint = self.run(*command)
        if code:
            raise NoHeaders(f"{package} cannot be installed ({' '.join(complaint.split())})")

    def build(self, kernel: dict) -> None:
        """Build a kernel's module with DKMS, after its headers."""
        name, version = source_of(self.facts["driver"]["installed"])
        if not name:
            raise BrokenBuild(f"/usr/src has no source of the driver {self.facts['driver']['installed']} for DKMS", "")
        if not kernel["has_headers"]:
            self.install(f"linux-headers-{kernel['version']}")
        # Also where DKMS believes that the module is there already: somebody may have deleted it.
        code, stdout, stderr = self.run("dkms", "install", f"{name}/{version}", "-k", kernel["version"], "--force")
        if code:
            log = gpu_facts.read(Path(f"/var/lib/dkms/{name}/{version}/build/make.log"))
            raise BrokenBuild(f"DKMS cannot build {name} {version} for kernel {kernel['version']}", log or stdout + stderr)

    def load(self) -> None:
        """Load the module where a GPU waits for it, and the running kernel can take it."""
        facts = self.facts
        mine = next((kernel for kernel in facts["kernels"] if kernel["running"]), None)
        waiting = gpu_facts.reboot_reason(facts) and not facts["driver"]["loaded"] and not facts["nouveau"]["loaded"]
        if not waiting or mine is None or mine["version"] in gpu_facts.without_module(facts):
            return
        code, complaint = 0, ""
        if not self.check:
            code, _, complaint = self.run("modprobe", mine["module"]["name"])
        if code:
            secure = " (Secure Boot is on, and refuses modules that are not signed)" if facts["secure_boot"] == "enabled" else ""
            self.complaint = " ".join(complaint.split()) + secure
        else:
            self.note("the module was not loaded: loaded")

    def unit(self) -> dict:
        """The persistence daemon's state, by systemd's names."""
        shown = self.run("systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", DAEMON)[1]
        return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)

    def keep_daemon(self) -> None:
        """Keep the persistence daemon on where the driver runs, and off where no GPU is."""
        state, works = self.unit(), bool(self.facts["gpus"]) and self.facts["driver"]["loaded"] == self.facts["driver"]["installed"]
        if state.get("LoadState") in (None, "not-found"):
            return
        for step in daemon_steps(state, bool(self.facts["gpus"]), works):
            if not self.check:
                code, _, complaint = self.run("systemctl", *step.split(), DAEMON)
                if code:
                    raise BrokenBuild(f"'systemctl {step} {DAEMON}' failed", complaint)
            self.note(f"{DAEMON} was {state['UnitFileState'] or 'off'} and {state['ActiveState']}: {step}", mends=False)


def daemon_steps(state: dict, gpu_there: bool, works: bool) -> list[str]:
    """Return what to do (systemctl's verbs) about the persistence daemon; works: its driver is loaded."""
    if not gpu_there:
        steps = [] if state["UnitFileState"] == "disabled" else ["disable --now"]
        return [*steps, "reset-failed"] if state["ActiveState"] == "failed" else steps
    steps = [] if state["UnitFileState"] == "enabled" else ["enable"]
    return [*steps, "restart"] if works and state["ActiveState"] != "active" else steps


@path_errors.told
def main() -> None:
    """Bring the kernels in order, and say what is still due."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    machine = Kernels(module)
    try:
        machine.settle()
    except BrokenBuild as error:
        module.fail_json(msg=f"{error}.", log=error.log, mended=machine.mended)
    for said in machine.mended:
        module.warn(f"{said[0].upper()}{said[1:]}.")
    for kernel in machine.left:
        module.warn(f"Kernel {kernel} has no module, and no source has its headers; it neither runs nor boots next: remove it.")
    reason = gpu_facts.reboot_reason(machine.facts, machine.complaint)
    if reason and module.params["rebooted"] and not module.check_mode:
        kernel_log = machine.run("journalctl", "--boot", "--dmesg", "--grep=nvidia|NVRM|nouveau", f"--lines={TAIL}", "--no-pager")[1]
        module.fail_json(msg=f"The reboot did not help: {reason}. The kernel's log has the cause.", log=kernel_log.splitlines())
    busy = cgroup.busy(machine.run("systemctl", "show", "--property=MainPID,ControlGroup", cgroup.JUPYTER)[1])
    now, first = decide(reason, module.params["reboot"], busy, module.params["interrupt"])
    if reason and not now:
        module.warn(f"A reboot is due, because {reason}; {first}.")
    due = {"reboot_due": bool(reason), "reason": reason, "reboot_now": now}
    module.exit_json(changed=bool(machine.done), done=machine.done, mended=machine.mended, left=machine.left, facts=machine.facts, **due)


if __name__ == "__main__":
    main()
