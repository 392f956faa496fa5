#!/usr/bin/python
"""Keep a Python environment as its lock says."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uv_env
short_description: Keep a Python environment as its lock says
description:
  - Installs exactly the wheels of a lock with hashes, and nothing else, through C(uv).
  - Without O(uv) the environment is made by C(python -m venv) and pip, anew whenever it is not as it should be. That is how an
    environment comes about that brings C(uv) itself.
  - Finds files that were deleted or altered since and installs their packages again.
  - Everything in it is the user's that this runs as, and everybody may read it: what had lost that is given back.
  - Interrupted at any moment, the next run completes the environment, because what was installed is written down last.
author: GPU Classroom
options:
  path:
    description: Folder of the environment.
    type: path
    required: true
  lock:
    description: Content of a requirements file in which every package has its version and hashes.
    type: str
    required: true
  uv:
    description: The C(uv) executable.
    type: path
  python:
    description: The Python that a new environment is made with.
    type: path
    default: /usr/bin/python3
attributes:
  check_mode:
    description: Says what would be installed, and changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Install JupyterLab
  classroom.gpu.uv_env:
    path: /opt/jupyter
    lock: "{{ lookup('ansible.builtin.file', 'requirements.txt') }}"
    uv: /opt/classroom/conda/bin/uv

- name: Install uv where there is none
  classroom.gpu.uv_env:
    path: /opt/classroom/conda
    lock: "{{ lookup('ansible.builtin.file', 'requirements.txt') }}"
"""

RETURN = r"""
repaired:
  description: Packages that were damaged and have been installed again.
  returned: always
  type: list
  elements: str
"""

import json
import os
from hashlib import sha256
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.common.rights import give_back, told
from ansible_collections.classroom.gpu.plugins.module_utils.conda.wheels import distributions, name, whole

# Written when all is installed: what the environment was made from. Its time says since when nothing may have changed.
STATE = "uv_env.json"
# uv trusts its own list of authorities unless told where the machine keeps its own: behind a proxy that signs, only that works.
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def installed(prefix: Path) -> dict:
    """Return what the last complete run wrote down, or nothing."""
    try:
        return json.loads((prefix / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def made(prefix: Path) -> bool:
    """Tell whether there is an environment: without its settings its Python would be the system's, and see its user's packages."""
    return (prefix / "bin/python").exists() and (prefix / "pyvenv.cfg").exists()


def damaged(prefix: Path, state: dict) -> list[str]:
    """Return the packages of which a file is missing or altered."""
    since = (prefix / STATE).stat().st_mtime
    present = {dist.name: dist for dist in distributions(prefix)}
    return sorted({name(dist) for dist in state["distributions"] if dist not in present or not whole(present[dist], since)})


def run(module: AnsibleModule, *command: str, stdin: str | None = None) -> None:
    """Run an installer, and fail with its last words if it fails."""
    environment = {"UV_PYTHON_DOWNLOADS": "never"} | ({"SSL_CERT_FILE": AUTHORITIES} if os.path.exists(AUTHORITIES) else {})
    code, stdout, stderr = module.run_command([*command], data=stdin, environ_update=environment)
    if code:
        path, words = module.params["path"], (stderr.strip() or stdout.strip())[-1500:]
        module.fail_json(msg=path_errors.of_words(words, path) or f"{path}: '{' '.join(command[:3])}' failed: {words}", rc=code)


def bootstrap(module: AnsibleModule, prefix: Path) -> None:
    """Make the environment anew with what every Python brings."""
    run(module, module.params["python"], "-m", "venv", "--clear", str(prefix))
    common = ["--quiet", "--disable-pip-version-check", "--no-cache-dir", "--require-hashes", "--no-deps", "--only-binary=:all:"]
    run(module, f"{prefix}/bin/python", "-m", "pip", "install", *common, "--requirement=/dev/stdin", stdin=module.params["lock"])


def install(module: AnsibleModule, prefix: Path, again: list[str]) -> None:
    """Make the environment if there is none, and bring it to the lock; the packages in `again` from their wheels once more."""
    uv = module.params["uv"]
    (prefix / STATE).unlink(missing_ok=True)
    if not uv:
        return bootstrap(module, prefix)
    if not made(prefix):
        run(module, uv, "venv", "--clear", "--quiet", "--python", module.params["python"], str(prefix))
    common = ["--quiet", "--no-cache", "--link-mode=copy", "--compile-bytecode", "--require-hashes", f"--python={prefix}/bin/python"]
    common += [f"--reinstall-package={package}" for package in again]
    return run(module, uv, "pip", "sync", *common, "-", stdin=module.params["lock"])


def record(prefix: Path, digest: str) -> None:
    """Write down what is installed, in one step."""
    draft = prefix / f"{STATE}.new"
    draft.write_text(json.dumps({"lock": digest, "distributions": [dist.name for dist in distributions(prefix)]}), encoding="utf-8")
    draft.replace(prefix / STATE)


@path_errors.told
def main() -> None:
    """Compare the environment with its lock, and make them agree."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "lock": {"type": "str", "required": True},
            "uv": {"type": "path"},
            "python": {"type": "path", "default": "/usr/bin/python3"},
        },
        supports_check_mode=True,
    )
    prefix, digest = Path(module.params["path"]), sha256(module.params["lock"].encode()).hexdigest()
    lost = give_back(prefix, os.geteuid(), 0o755, deep="all", check=module.check_mode)
    if lost:
        module.warn(f"{told(lost, module.check_mode)}.")
    state = installed(prefix)
    again = damaged(prefix, state) if state else []
    stale = state.get("lock") != digest or not made(prefix)
    if (stale or again) and not module.check_mode:
        install(module, prefix, again)
        record(prefix, digest)
    if again:
        module.warn(f"{prefix}: {'to be put' if module.check_mode else 'put'} right: {', '.join(again)}.")
    module.exit_json(changed=stale or bool(again or lost), repaired=again)


if __name__ == "__main__":
    main()
