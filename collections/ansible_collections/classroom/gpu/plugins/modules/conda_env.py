#!/usr/bin/python
"""Keep a conda environment as its stack says."""

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_env
short_description: Keep a conda environment as its stack says
description:
  - Installs the conda packages of an environment.yml through py-rattler and its pip section, from a lock with hashes, through C(uv).
    The result is an ordinary conda prefix.
  - Stays with what is installed as long as it meets the specs, so that a second run changes nothing.
  - Finds files that were deleted or altered since and installs their packages again, whichever of the two they came from.
    Versions that somebody changed are put back. Packages that somebody added are kept.
  - Interrupted at any moment, the next run completes the environment, because what was installed is written down last.
  - Acts as the user it runs as. Give it the user who shall own the environment (O(ignore:become_user)), so that nothing is written
    with more rights than the owner has into folders that the owner can replace by links.
author: GPU Classroom
options:
  path:
    description: Folder of the environment. The folder above it must exist and be writable.
    type: path
    required: true
  environment:
    description: Content of the environment.yml. Its C(channels) are names below O(channel_alias) or full addresses.
    type: dict
    required: true
  lock:
    description: Content of the requirements file that locks the pip section, in which every package has its version and hashes.
    type: str
    default: ""
  channel_alias:
    description: Address under which channels are found by name.
    type: str
    default: https://conda.anaconda.org
  tools:
    description: Python environment that holds py-rattler and C(uv).
    type: path
    default: /opt/classroom/conda
  cache:
    description: Folder for downloaded conda packages.
    type: path
    default: /opt/conda/pkgs
  patience:
    description: Seconds after which a solver, a download or another run on the same environment is given up.
    type: int
    default: 1200
attributes:
  check_mode:
    description: Solves, says what would be installed, and changes nothing.
    support: full
  diff_mode:
    description: Shows the list of packages before and after.
    support: full
"""

EXAMPLES = r"""
- name: Install the packages of the stack
  classroom.gpu.conda_env:
    path: /opt/conda/envs/dl_aws
    environment: "{{ lookup('ansible.builtin.file', 'stacks/rehearsal/environment.yml') | from_yaml }}"
    lock: "{{ lookup('ansible.builtin.file', 'stacks/rehearsal/requirements.txt') }}"
  become_user: ubuntu
"""

RETURN = r"""
added:
  description: Packages that were not there, as V(name version).
  returned: always
  type: list
  elements: str
changed_packages:
  description: Packages whose version changed, as V(name old -> new).
  returned: always
  type: list
  elements: str
removed:
  description: Packages that are no longer there.
  returned: always
  type: list
  elements: str
repaired:
  description: Packages that were damaged and have been installed again.
  returned: always
  type: list
  elements: str
kept:
  description: Packages that the stack does not ask for and that stay.
  returned: always
  type: list
  elements: str
"""

import fcntl
import json
import math
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils import conda_engine
from ansible_collections.classroom.gpu.plugins.module_utils.conda_prefix import (
    Found,
    Wanted,
    look,
    report,
    state_of,
    wanted,
    write_state,
)

SPEC = {
    "path": {"type": "path", "required": True},
    "environment": {"type": "dict", "required": True},
    "lock": {"type": "str", "default": ""},
    "channel_alias": {"type": "str", "default": "https://conda.anaconda.org"},
    "tools": {"type": "path", "default": "/opt/classroom/conda"},
    "cache": {"type": "path", "default": "/opt/conda/pkgs"},
    "patience": {"type": "int", "default": 1200},
}
# uv and py-rattler bring their own list of authorities; behind a proxy that signs, only the machine's own list works.
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
ENGINE = conda_engine.__name__
# Ansible ships modules as a zip file: the engine is imported from wherever this module was.
CODE = str(Path(conda_engine.__file__).parents[len(ENGINE.split(".")) - 1])


class CondaEnv:
    """One environment, and the two engines that work on it."""

    def __init__(self, module: AnsibleModule, want: Wanted) -> None:
        self.module, self.want, self.params = module, want, module.params
        self.prefix, self.tools = Path(self.params["path"]), Path(self.params["tools"])
        self.lock = -1

    def hold(self) -> None:
        """Wait until no other run works on the environment. Both engines inherit the lock: it outlives a run that is killed."""
        try:
            self.lock = os.open(self.prefix.parent / f".{self.prefix.name}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            self.module.fail_json(msg=f"{self.prefix.parent} must be a folder that this user may write to: {error.strerror}.")
        deadline = time.monotonic() + self.params["patience"]
        while True:
            try:
                return fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    limit = self.params["patience"]
                    self.module.fail_json(msg=f"Another run has been working on {self.prefix} for {limit} s: wait for it or end it.")
                time.sleep(0.2)

    def run(self, *command: str, stdin: str) -> subprocess.CompletedProcess:
        """Run a program of the tool environment, for a bounded time."""
        environment = os.environ | {"PYTHONPATH": CODE, "UV_PYTHON_DOWNLOADS": "never"}
        environment |= {"SSL_CERT_FILE": AUTHORITIES} if os.path.exists(AUTHORITIES) else {}
        limit, hold = self.params["patience"], (self.lock,) if self.lock >= 0 else ()
        try:
            return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, timeout=limit, pass_fds=hold)
        except FileNotFoundError:
            self.module.fail_json(msg=f"{command[0]} does not exist: the role conda_env installs it before this.")
        except subprocess.TimeoutExpired:
            self.module.fail_json(msg=f"{self.prefix}: {Path(command[0]).name} was not done after {limit} s; is the network slow or gone?")

    def conda(self, found: Found, install: bool) -> dict[str, str]:
        """Solve, install if asked to, and return name and version of every conda package of the solution."""
        pins = [f"{package} {version}" for package, version in found.state["conda"].items()] if found.complete else []
        extras = [package for package in found.kept(self.want) if package in found.conda]
        request = {
            "prefix": str(self.prefix),
            "cache": self.params["cache"],
            "channels": self.want.channels,
            "specs": [*self.want.specs, *pins, *extras],
            "reinstall": found.damaged_conda,
            "install": install,
        }
        done = self.run(str(self.tools / "bin/python"), "-m", ENGINE, stdin=json.dumps(request))
        try:
            reply = json.loads(done.stdout)
        except ValueError:
            reply = {"error": f"py-rattler ended with status {done.returncode}: {done.stderr.strip()[-1500:]}"}
        if "error" in reply:
            self.module.fail_json(msg=f"{self.prefix}: {reply['error']}")
        return reply["packages"]

    def uv(self, *arguments: str, stdin: str = "") -> str:
        """Run uv on the environment's Python and return what it says."""
        python = f"--python={self.prefix}/bin/python"
        done = self.run(str(self.tools / "bin/uv"), "pip", *arguments, "--no-cache", "--color=never", python, stdin=stdin)
        if done.returncode:
            self.module.fail_json(msg=f"{self.prefix}: uv pip {arguments[0]} failed: {done.stderr.strip()[-1500:]}")
        return done.stderr

    def uninstall(self, foreign: dict[str, list[str]]) -> None:
        """Take away what stands in place of a conda package; what is left of that package's own folder would stop uv."""
        if not foreign or not (self.prefix / "bin/python").exists():
            return
        for own in self.prefix.glob("lib/python3.*/site-packages/*.dist-info"):
            if own.name in [folder for folders in foreign.values() for folder in folders]:
                shutil.rmtree(own)
        self.uv("uninstall", *foreign)

    def wheels(self, *extra: str) -> str:
        """Bring the wheels to the lock; what is there already stays."""
        if not self.want.lock.strip():
            return ""
        return self.uv("install", "--require-hashes", "--no-deps", "--link-mode=copy", *extra, "--requirement=-", stdin=self.want.lock)

    def plan(self, found: Found) -> dict[str, str]:
        """What would be installed afterwards, by name; before there is an engine, only what the stack says is known."""
        versions = dict(found.versions)
        if not (self.tools / "bin/python").exists():
            return versions | {re.split(r"[^\w.-]", spec, maxsplit=1)[0]: "(unsolved)" for spec in self.want.specs} | self.want.locked
        if found.conda_due:
            versions = self.conda(found, install=False) | {package: versions[package] for package in found.wheels}
        if not (self.prefix / "bin/python").exists():
            return versions | self.want.locked
        changes = self.wheels("--dry-run") if found.wheels_due else ""
        return versions | dict(re.findall(r"^ \+ ([^=\s]+)==(\S+)", changes, re.MULTILINE))

    def apply(self, found: Found) -> Found:
        """Make the environment as wanted. From the first change until the last, nothing counts as complete."""
        if (self.prefix / "conda-meta").is_dir():
            write_state(self.prefix, found.state | {"digest": "", "since": 0.0})
        if found.conda_due:
            self.uninstall(found.foreign())
            self.conda(found, install=True)
        for package in found.damaged_wheels:  # uv takes what has no such folder for not installed
            shutil.rmtree(found.wheels[package])
        self.wheels("--compile-bytecode")
        after = look(self.prefix, self.want, since=math.inf)
        write_state(self.prefix, state_of(after, self.want, time.time()))
        return after


def main() -> None:
    """Compare the environment with its stack, and make them agree."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        want = wanted(module.params["environment"], module.params["lock"], module.params["channel_alias"])
    except ValueError as error:
        module.fail_json(msg=str(error))
    env = CondaEnv(module, want)
    if not module.check_mode:
        env.hold()
    found = look(env.prefix, want)
    due = found.conda_due or found.wheels_due
    before, after = found.versions, found.versions
    if due and module.check_mode:
        after = env.plan(found)
    elif due:
        after = env.apply(found).versions
    result = report(before, after, found.damaged_conda + found.damaged_wheels)
    put_right = result["repaired"] + (result["changed_packages"] if found.complete else [])
    if put_right:
        module.warn(f"{env.prefix}: {'to be put' if module.check_mode else 'put'} right: {', '.join(put_right)}.")
    module.exit_json(changed=due, kept=found.kept(want), **result)


if __name__ == "__main__":
    main()
