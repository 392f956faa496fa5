"""Style of YAML, Ansible and Python: `python tests/lint.py` of what changed since main, `--all` of everything, as CI does.

ansible-lint asks ansible-playbook for the syntax of every playbook and role, each in a process of its own, which is two thirds of its time.
Here one process is asked for all of them, each time, and ansible-lint's rules come after it; none is left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ansible_compat.runtime import Runtime
from ansiblelint import __main__ as linter
from ansiblelint.config import Options, options
from ansiblelint.file_utils import Lintable
from ansiblelint.rules import RulesCollection
from ansiblelint.runner import LintResult

ROOT = Path(__file__).parents[1]
COLLECTION = "collections/ansible_collections/classroom/gpu/plugins/"
# What no rule of ansible-lint's reads.
APART = ("tests/", "docs/", "examples/", "rehearsal/")
# What is read of every file: settings of the linters and of Ansible, pins, and what modules share.
SHARED = (
    *(".ansible-lint", ".yamllint", ".gitignore", "ansible.cfg", "requirements", "Makefile", "pyproject.toml", "tests/lint.py"),
    *("inventory/", f"{COLLECTION}module_utils/", f"{COLLECTION}plugin_utils/", "collections/ansible_collections/classroom/gpu/meta/"),
)
INVENTORY = "inventory/00_hosts.yml"  # syntax hangs on no seat: EC2 is not asked


def git(*arguments: str) -> list[str]:
    """Return what git prints, line by line; raises CalledProcessError where it cannot tell."""
    command = ["git", "-c", "core.quotePath=off", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def base() -> str:
    """Return the commit that a change begins at: where it left main, or the one before where main itself is checked out."""
    known = git("for-each-ref", "--format=%(refname)", "refs/heads/main", "refs/remotes/origin/main")
    (head,), (branch,) = git("rev-parse", "HEAD"), git("rev-parse", "--abbrev-ref", "HEAD")
    (since,) = git("merge-base", "HEAD", known[-1]) if known else [head]
    return f"{head}~1" if since == head and branch in ("main", "HEAD") or not known else since


def changes() -> dict[str, bool] | None:
    """Return the files that differ from main, each with whether it is there; None where git cannot tell."""
    try:
        listed = git("diff", "--name-only", "--no-renames", base()) + git("ls-files", "--others", "--exclude-standard")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {path: (ROOT / path).exists() for path in listed}


def yaml_files() -> list[str]:
    """Return the YAML files of the project, those that git does not know yet as well; without git, all that lie here."""
    try:
        found = git("ls-files", "--cached", "--others", "--exclude-standard", "*.yml")
    except (OSError, subprocess.CalledProcessError):
        found = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*.yml")]
    return [path for path in found if (ROOT / path).exists() and not path.startswith((".venv/", "classes/"))]


def scope(changed: dict[str, bool] | None, texts: dict[str, str]) -> set[str] | None:
    """Return what of Ansible's to lint, roles as their folders; None means everything. texts: the YAML files that there are.

    Whatever others may depend on takes them with it: a file that is gone takes everything, a module all that names it, a role's
    specification and defaults all that names the role. A role is linted whole.
    """
    if changed is None:
        return None
    wanted: set[str] = set()
    for path, there in changed.items():
        if path.startswith(SHARED) or not (there or path.startswith(APART)):
            return None
        if path.startswith("roles/"):
            wanted |= {"/".join(path.split("/")[:2])}
        elif not path.startswith(APART):
            wanted.add(path)
        name = mentioned(path)
        wanted |= {file for file, text in texts.items() if name and name in text}
    return wanted


def mentioned(path: str) -> str:
    """Return the word by which other files mean what a file says of itself, or nothing."""
    parts = Path(path).parts
    if path.startswith(COLLECTION):
        return f"classroom.gpu.{Path(path).stem}"
    return parts[1] if parts[0] == "roles" and parts[2:3] in (("meta",), ("defaults",), ("vars",)) else ""


def syntax() -> int:
    """Have ansible-playbook parse every playbook and every role at once; return its exit status."""
    linter.initialize_options(["--offline", "-q"])  # which files are playbooks is said in .ansible-lint, too
    playbooks = [path for path in yaml_files() if Lintable(path).kind == "playbook"]
    tasks = [{"ansible.builtin.import_role": {"name": str(path)}} for path in sorted((ROOT / "roles").iterdir())]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        json.dump([{"hosts": "localhost", "tasks": [task]} for task in tasks], file)
        file.flush()
        command = ["ansible-playbook", "--syntax-check", *playbooks, file.name, "-e", json.dumps(options.extra_vars or {})]
        done = subprocess.run(command, env=quiet(), capture_output=True, text=True, check=False)
    print(done.stderr if done.returncode else "", end="", file=sys.stderr)
    return done.returncode


def quiet() -> dict[str, str]:
    """Return an environment in which Ansible asks no cloud."""
    return os.environ | {"ANSIBLE_INVENTORY": INVENTORY, "ANSIBLE_LOCALHOST_WARNING": "false"}


def rules(paths: Iterable[str]) -> int:
    """Run ansible-lint on paths, or on everything where there are none; return its exit status.

    What it would have parsed file by file, `syntax` has parsed: each playbook and role, and what a playbook imports.
    """
    judge = linter.get_matches

    def without_syntax(collection: RulesCollection, settings: Options) -> LintResult:
        settings._skip_ansible_syntax_check = True  # as its own --fix does
        return judge(collection, settings)

    linter.get_matches, Runtime.has_playbook = without_syntax, lambda *_, **__: True
    os.environ.update(quiet())
    return linter.main(["ansible-lint", "--offline", "-q", *sorted(paths)])


def main(arguments: list[str]) -> int:
    """Return the number of linters that found something: all of them are run."""
    os.chdir(ROOT)
    everything = "--all" in arguments or bool(os.environ.get("CI"))
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in yaml_files()}
    wanted = None if everything else scope(changes(), texts)
    cheap = ["ruff", "check", "--quiet", "."], ["ruff", "format", "--check", "--quiet", "."], ["yamllint", "--strict", "."]
    found = [subprocess.run(command, check=False).returncode for command in cheap]
    found.append(syntax())
    if wanted is None or wanted:
        found.append(rules(wanted or ()))
    told = "everything" if wanted is None else f"what changed since main, {len(wanted)} of Ansible's paths (make lint ALL=1: everything)"
    print(f"lint: {'something found in' if any(found) else 'clean:'} {told}")
    return sum(map(bool, found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
