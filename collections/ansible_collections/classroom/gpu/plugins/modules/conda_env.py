#!/usr/bin/python
"""Keep a conda environment as its stack says."""

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_env
short_description: Keep a conda environment as its stack says
description:
  - Installs the conda packages of an environment.yml through py-rattler and its pip section, from a lock with hashes, through C(uv).
    The result is an ordinary conda prefix.
  - The conda packages come from a solver, or from a lock of their own, which wins.
  - Stays with what is installed as long as it meets the specs, so that a second run changes nothing.
  - Finds files that were deleted or altered since and repairs them, whichever of the two their packages came from. Where the cache has a
    file with the bytes that were installed, that alone is copied; else its package is installed again.
    Versions that somebody changed are put back. Packages that somebody added are kept.
  - Interrupted at any moment, the next run completes the environment, because what was installed is written down last.
  - Acts as the user it runs as. Give it the user who shall own the environment (O(ignore:become_user)), so that nothing is written
    with more rights than the owner has into folders that the owner can replace by links.
author: GPU Classroom
options:
  path:
    description: Folder of the environment. It or the folder above it must exist and be writable.
    type: path
    required: true
  state:
    description: Whether the environment shall be there. V(absent) deletes it with all that was added to it.
    type: str
    choices: [present, absent]
    default: present
  environment:
    description: Content of the environment.yml. Its C(channels) are names below O(channel_alias) or full addresses.
    type: dict
  specs:
    description: What to install, as conda writes it (V(numpy >=2)), instead of an O(environment).
    type: list
    elements: str
  channels:
    description: Where O(specs) are found, as in an environment.yml.
    type: list
    elements: str
    default: [conda-forge]
  optional:
    description: Leaves out those specs whose package none of the channels has, instead of failing.
    type: bool
    default: false
  explicit:
    description:
      - Content of a lock of the conda packages, the line V(@EXPLICIT) and then one V(URL#SHA256) each,
        as C(conda list --explicit --sha256) writes it.
      - Where there is one, nothing is solved. Addresses below https://conda.anaconda.org are fetched from O(channel_alias).
      - One that C(playbooks/lock.yml) made from another O(environment) is refused.
    type: str
    default: ""
  lock:
    description: Content of the requirements file that locks the pip section, in which every package has its version and hashes.
    type: str
    default: ""
  virtual_packages:
    description:
      - Version by name of the virtual packages (V(__cuda), V(__glibc)) that the solver counts with instead of what the machine has.
        An empty version means that the machine has none.
    type: dict
    default: {}
  also:
    description: Environments to keep beside it in the same call, with the other options of this one.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: As O(path).
        type: path
        required: true
      specs:
        description: As O(specs).
        type: list
        elements: str
        required: true
      channels:
        description: As O(channels).
        type: list
        elements: str
        default: [conda-forge]
      optional:
        description: As O(optional).
        type: bool
        default: false
  deep:
    description: Reads every file and compares its sha256, also those whose size and time say that nobody touched them.
    type: bool
    default: false
  channel_alias:
    description: Address under which channels are found by name.
    type: str
    default: https://conda.anaconda.org
  tools:
    description: Python environment that holds py-rattler and C(uv). Without it, check mode says what would be asked for.
    type: path
    default: /opt/classroom/conda
  cache:
    description: Folder for downloaded conda packages, and for the locks that let one run at a time work on an environment.
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

- name: Install from a lock, without a solver
  classroom.gpu.conda_env:
    path: /opt/conda/envs/dl_aws
    environment: "{{ lookup('ansible.builtin.file', 'environment.yml') | from_yaml }}"
    explicit: "{{ lookup('ansible.builtin.file', 'conda-linux-64.lock') }}"
    lock: "{{ lookup('ansible.builtin.file', 'requirements.txt') }}"
  become_user: ubuntu

- name: Have an environment for one tool
  classroom.gpu.conda_env:
    path: /opt/conda/envs/tool
    specs: [python=3.12, ffmpeg]
    virtual_packages: {__cuda: "12.9"}
  become_user: ubuntu

- name: Install the packages of the stack, and the conda command beside them
  classroom.gpu.conda_env:
    path: /opt/conda/envs/dl_aws
    environment: "{{ lookup('ansible.builtin.file', 'environment.yml') | from_yaml }}"
    also:
      - {path: /opt/conda, specs: [conda, mamba], optional: true}
  become_user: ubuntu

- name: Delete it
  classroom.gpu.conda_env:
    path: /opt/conda/envs/tool
    state: absent
  become_user: ubuntu
"""

RETURN = r"""
added:
  description: Packages that were not there, as V(name version).
  returned: always
  type: list
  elements: str
changed_packages:
  description: Packages whose version changed, as V(name old -> new). (C(changed) tells, as with every module, whether anything did.)
  returned: always
  type: list
  elements: str
removed:
  description: Packages that are no longer there.
  returned: always
  type: list
  elements: str
repaired:
  description: Packages that were damaged and are whole again.
  returned: always
  type: list
  elements: str
kept:
  description: Packages that the stack does not ask for and that stay.
  returned: always
  type: list
  elements: str
again:
  description: Whether the same command may help, as where a channel did not answer.
  returned: failure
  type: bool
also:
  description: The same of each environment in O(also).
  returned: always
  type: list
  elements: dict
msg:
  description: What a run would do first, where check mode could not ask the engines.
  returned: in check mode, without a working tool environment
  type: str
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
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.common.rights import give_back, taken, told
from ansible_collections.classroom.gpu.plugins.module_utils.conda import engine as conda_engine
from ansible_collections.classroom.gpu.plugins.module_utils.conda.prefix import (
    Found,
    Wanted,
    clock,
    look,
    report,
    restored,
    state_of,
    wanted,
    write_state,
)

SPEC = {
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "environment": {"type": "dict"},
    "specs": {"type": "list", "elements": "str"},
    "channels": {"type": "list", "elements": "str", "default": ["conda-forge"]},
    "optional": {"type": "bool", "default": False},
    "explicit": {"type": "str", "default": ""},
    "lock": {"type": "str", "default": ""},
    "virtual_packages": {"type": "dict", "default": {}},
    "also": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "path", "required": True},
            "specs": {"type": "list", "elements": "str", "required": True},
            "channels": {"type": "list", "elements": "str", "default": ["conda-forge"]},
            "optional": {"type": "bool", "default": False},
        },
    },
    "deep": {"type": "bool", "default": False},
    "channel_alias": {"type": "str", "default": "https://conda.anaconda.org"},
    "tools": {"type": "path", "default": "/opt/classroom/conda"},
    "cache": {"type": "path", "default": "/opt/conda/pkgs"},
    "patience": {"type": "int", "default": 1200},
}
# uv and py-rattler bring their own list of authorities; behind a proxy that signs, only the machine's own list works.
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
OTHERS = ("envs", "pkgs")  # in an environment with others in it, which are no part of it
ENGINE = conda_engine.__name__
# Ansible ships modules as a zip file: the engine is imported from wherever this module was.
CODE = str(Path(conda_engine.__file__).parents[len(ENGINE.split(".")) - 1])


class CondaEnv:
    """One environment, and the two engines that work on it."""

    def __init__(self, module: AnsibleModule, params: dict, want: Wanted) -> None:
        self.module, self.want, self.params = module, want, params
        self.prefix, self.tools = Path(self.params["path"]), Path(self.params["tools"])
        self.lock = -1

    def hold(self) -> None:
        """Wait until no other run works on the environment. Both engines inherit the lock: it outlives a run that is killed."""
        cache = Path(self.params["cache"])
        try:
            cache.mkdir(parents=True, exist_ok=True)
            self.lock = os.open(cache / f"{str(self.prefix).replace('/', '-')}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            self.module.fail_json(msg=f"{cache} must be a folder that this user may write to: {path_errors.cause(error, cache)}")
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
        known = bool(self.want.explicit) or found.only_damaged
        request = {
            "solve": not known,
            "prefix": str(self.prefix),
            "cache": self.params["cache"],
            "channels": self.want.channels,
            "platform": "",
            "virtual_packages": self.params["virtual_packages"],
            "specs": self.want.specs if known else [*self.want.specs, *pins, *extras],
            "optional": self.params["optional"],
            "explicit": self.want.explicit,
            "extras": [*found.conda] if found.only_damaged else extras,
            "reinstall": found.damaged_conda,
            "install": install,
        }
        done = self.run(str(self.tools / "bin/python"), "-m", ENGINE, stdin=json.dumps(request))
        reply = conda_engine.reply(done.stdout, done.stderr, done.returncode)
        if "error" in reply:
            self.refuse(reply["error"], again=reply.get("again", False))
        return reply["packages"]

    def refuse(self, words: str, where: str = "", *, again: bool = False) -> None:
        """Fail with what an engine said, or with what the system refused it."""
        why, wall = path_errors.of_words(words, self.prefix), taken(self.prefix, OTHERS)
        why = why or (path_errors.forbidden(Path(wall)) if wall else "")
        self.module.fail_json(msg=why or f"{self.prefix}: {where}{words}", again=again and not why)

    def uv(self, *arguments: str, stdin: str = "") -> str:
        """Run uv on the environment's Python and return what it says."""
        python = f"--python={self.prefix}/bin/python"
        done = self.run(str(self.tools / "bin/uv"), "pip", *arguments, "--no-cache", "--color=never", python, stdin=stdin)
        if done.returncode:
            self.refuse(done.stderr.strip()[-1500:], f"uv pip {arguments[0]} failed: ")
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

    def ready(self) -> bool:
        """Tell whether both engines work."""
        python, uv = self.tools / "bin/python", self.tools / "bin/uv"
        there = os.path.exists(python) and os.path.exists(uv)  # nor is what lies in a closed folder
        return there and not self.run(str(python), "-c", "import rattler", stdin="").returncode

    def plan(self, found: Found) -> dict[str, str]:
        """What would be installed afterwards, by name."""
        versions = dict(found.versions)
        if not found.only_damaged:
            versions = self.conda(found, install=False) | {package: versions[package] for package in found.wheels}
        if not os.path.exists(self.prefix / "bin/python"):
            return versions | self.want.locked
        changes = self.wheels("--dry-run") if found.wheels_due else ""
        return versions | dict(re.findall(r"^ \+ ([^=\s]+)==(\S+)", changes, re.MULTILINE))

    def apply(self, found: Found) -> Found:
        """Make the environment as wanted. From the engines' first change until their last, nothing counts as complete."""
        found = restored(self.prefix, found)
        if not found.conda_due and not found.wheels_due:
            return found
        if (self.prefix / "conda-meta").is_dir():
            write_state(self.prefix, found.state | {"digest": "", "since": 0.0})
        if found.conda_due:
            self.uninstall(found.foreign())
            self.conda(found, install=True)
        for package in found.damaged_wheels:  # uv takes what has no such folder for not installed
            shutil.rmtree(found.wheels[package])
        if found.wheels_due or found.altered:
            self.wheels("--compile-bytecode")
        after = look(self.prefix, self.want, since=found.state["since"] if found.only_damaged else math.inf)
        again = sorted(set(found.damaged_conda).intersection(after.damaged_conda))
        if found.only_damaged and again:
            self.module.fail_json(msg=f"{self.prefix}: {', '.join(again)} was damaged again at once: end what writes there.")
        write_state(self.prefix, state_of(after, self.want, clock(self.prefix)))
        return after

    def remove(self) -> None:
        """Delete the environment. conda's records go last, by which what is left of a killed run is known for an environment."""
        if any((self.prefix / "envs").glob("*")):
            self.module.fail_json(msg=f"{self.prefix} holds other environments in {self.prefix}/envs: delete those first.")
        if not (self.prefix / "conda-meta").is_dir() and any(self.prefix.iterdir()):
            self.module.fail_json(msg=f"{self.prefix} is no conda environment, so it is not deleted: look what it is.")
        for path in sorted(self.prefix.iterdir(), key=lambda path: path.name == "conda-meta"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        self.prefix.rmdir()


def absent(env: CondaEnv) -> dict:
    """Delete the environment if there is one."""
    there = env.prefix.is_dir()
    before = look(env.prefix, env.want, since=math.inf).versions if there else {}
    if there and not env.module.check_mode:
        env.remove()
    return {"changed": there, "kept": [], **report(before, {}, [])}


def present(env: CondaEnv) -> dict:
    """Compare the environment with what is wanted, and make them agree."""
    check = env.module.check_mode
    since = 0.0 if env.params["deep"] else None
    found = look(env.prefix, env.want, since)
    # What cannot be entered is damaged: so rights are looked at only then.
    lost = give_back(env.prefix, os.geteuid(), but=OTHERS, check=check) if found.conda_due or found.wheels_due else []
    if lost and not check:
        found = look(env.prefix, env.want, since)
    due = found.conda_due or found.wheels_due
    before, after, said = found.versions, found.versions, {}
    if due and check and not env.ready():  # only what the stack says is known
        after = env.want.named | before | env.want.locked
        said = {"msg": f"A run first makes the tool environment {env.tools}, and then asks the solver for versions."}
    elif due and check:
        after = env.plan(found)
    elif due:
        after = env.apply(found).versions
    result = report(before, after, found.damaged_conda + found.damaged_wheels)
    put_right = result["repaired"] + (result["changed_packages"] if found.complete else [])
    if put_right:
        env.module.warn(f"{env.prefix}: {'to be put' if check else 'put'} right: {', '.join(put_right)}.")
    if lost:
        env.module.warn(f"{told(lost, check)}.")
    return {"changed": due or bool(lost), "kept": found.kept(env.want), **said, **result}


def settle(module: AnsibleModule, params: dict) -> dict:
    """Bring one environment into its state."""
    environment = params["environment"] or {"channels": params["channels"], "dependencies": params["specs"] or []}
    try:
        gone = params["state"] == "absent"
        want = Wanted((), (), "") if gone else wanted(environment, params["lock"], params["channel_alias"], params["explicit"])
    except ValueError as error:
        module.fail_json(msg=str(error))
    env = CondaEnv(module, params, want)
    if not module.check_mode:
        env.hold()
    try:
        return (absent if gone else present)(env)
    except OSError as error:  # a full disk, a folder of somebody else
        module.fail_json(msg=path_errors.cause(error, env.prefix))


@path_errors.told
def main() -> None:
    """Bring the environment into its state, and those beside it."""
    either = [("environment", "specs")]
    module = AnsibleModule(SPEC, mutually_exclusive=either, required_if=[("state", "present", either[0], True)], supports_check_mode=True)
    own = settle(module, module.params)
    alone = module.params | {"environment": None, "explicit": "", "lock": "", "virtual_packages": {}}
    also = [settle(module, alone | beside) for beside in module.params["also"]]
    changed = any(one["changed"] for one in [own, *also])
    diff = [one["diff"] for one in [own, *also]] if also else own["diff"]
    module.exit_json(**own | {"also": also, "changed": changed, "diff": diff})


if __name__ == "__main__":
    main()
