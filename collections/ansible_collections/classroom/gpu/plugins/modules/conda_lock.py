#!/usr/bin/python
"""Lock the conda packages of an environment.yml."""

from __future__ import annotations

DOCUMENTATION = r"""
module: conda_lock
short_description: Lock the conda packages of an environment.yml
description:
  - Solves for the packages with the engine of M(classroom.gpu.conda_env), and writes the address and sha256 of each into a file
    that that module, and C(conda create --file), install without a solver.
  - Begins from nothing. The same channel gives the same lock on every machine, because the machine that it is meant for is
    described by O(platform) and O(virtual_packages) and not looked at.
author: GPU Classroom
options:
  dest:
    description: The lock to write.
    type: path
    required: true
  environment:
    description: Content of the environment.yml. Its C(channels) are names below O(channel_alias) or full addresses.
    type: dict
    required: true
  channel_alias:
    description: Address under which channels are found by name. The lock names the public one, whichever this is.
    type: str
    default: https://conda.anaconda.org
  platform:
    description: conda's name of the machines that the lock is for.
    type: str
    default: linux-64
  virtual_packages:
    description: Version by name of the virtual packages that those machines have. An empty version means that they have none.
    type: dict
    required: true
  tools:
    description: The Python that has py-rattler.
    type: path
    required: true
  patience:
    description: Seconds after which the solver or a download is given up.
    type: int
    default: 1200
attributes:
  check_mode:
    description: Solves, and writes nothing.
    support: full
  diff_mode:
    description: Shows the lock before and after.
    support: full
"""

EXAMPLES = r"""
- name: Lock the conda packages of a stack for machines with CUDA 12.9
  classroom.gpu.conda_lock:
    dest: stacks/tensorflow-2026/conda-linux-64.lock
    environment: "{{ lookup('ansible.builtin.file', 'stacks/tensorflow-2026/environment.yml') | from_yaml }}"
    virtual_packages: {__cuda: "12.9", __glibc: "2.35", __linux: "5.15", __archspec: "1"}
    tools: "{{ ansible_playbook_python }}"
"""

RETURN = r"""
packages:
  description: Version of each package by its name.
  returned: always
  type: dict
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.conda import engine as conda_engine
from ansible_collections.classroom.gpu.plugins.module_utils.conda.prefix import explicit_text, wanted

ENGINE = conda_engine.__name__
# Ansible ships modules as a zip file: the engine is imported from wherever this module was.
CODE = str(Path(conda_engine.__file__).parents[len(ENGINE.split(".")) - 1])


def solve(module: AnsibleModule, folder: str) -> dict:
    """Ask the engine, which installs nothing and finds nothing installed in the empty `folder`."""
    params = module.params
    pip_section_has_its_own = [item for item in params["environment"].get("dependencies") or [] if isinstance(item, str)]
    want = wanted(params["environment"] | {"dependencies": pip_section_has_its_own}, "", params["channel_alias"])
    request = {
        "solve": True,
        "prefix": f"{folder}/prefix",
        "cache": f"{folder}/cache",
        "channels": want.channels,
        "platform": params["platform"],
        "virtual_packages": params["virtual_packages"],
        "specs": want.specs,
        "optional": False,
        "explicit": (),
        "install": False,
    }
    command, limit = [params["tools"], "-m", ENGINE], params["patience"]
    environment = os.environ | {"PYTHONPATH": CODE}
    done = subprocess.run(command, env=environment, input=json.dumps(request), capture_output=True, text=True, timeout=limit)
    return conda_engine.reply(done.stdout, done.stderr, done.returncode)


@path_errors.told
def main() -> None:
    """Write the lock if it differs from what is there."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "environment": {"type": "dict", "required": True},
            "channel_alias": {"type": "str", "default": "https://conda.anaconda.org"},
            "platform": {"type": "str", "default": "linux-64"},
            "virtual_packages": {"type": "dict", "required": True},
            "tools": {"type": "path", "required": True},
            "patience": {"type": "int", "default": 1200},
        },
        supports_check_mode=True,
    )
    params, dest = module.params, Path(module.params["dest"])
    try:
        with tempfile.TemporaryDirectory() as folder:
            solved = solve(module, folder)
    except (ValueError, OSError) as error:
        solved = {"error": path_errors.cause(error).removesuffix(".") if isinstance(error, OSError) else str(error)}
    except subprocess.TimeoutExpired:
        solved = {"error": f"no solution after {params['patience']} s; is the network slow or gone?"}
    if "error" in solved:
        module.fail_json(msg=f"{dest} cannot be made: {solved['error']}")
    before = dest.read_text(encoding="utf-8") if dest.is_file() else ""
    after = explicit_text(params["environment"], params["platform"], solved["urls"], params["channel_alias"])
    if before != after and not module.check_mode:
        draft = dest.with_suffix(".new")
        draft.write_text(after, encoding="utf-8")
        module.atomic_move(str(draft), str(dest))
    module.exit_json(changed=before != after, packages=solved["packages"], diff={"before": before, "after": after})


if __name__ == "__main__":
    main()
