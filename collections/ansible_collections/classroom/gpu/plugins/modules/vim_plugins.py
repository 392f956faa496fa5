#!/usr/bin/python
"""Keep a student's vim as the class wants it: its settings, and its plugins, which Vundle installs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vim_plugins
short_description: Keep vim's settings and its plugins, each at a commit, in a student's home
description:
  - Installs plugins through Vundle without a screen, and brings each to its commit. Vundle itself is one of them, and is cloned.
    Vundle's exit status is always 0, so that git is asked what there is.
  - Repairs plugins whose files were altered or deleted, or that are at another commit or from another address. Where all is well
    it asks only git, and no server.
  - Loses nothing of the student's. Edited files of a plugin go to C(git stash) of that plugin, a folder that is no repository moves to
    C(~/.vim/kept), and a C(~/.vimrc) that the student wrote or edited moves beside. Plugins that are not listed, and
    C(~/.vimrc.local), are not touched.
  - Interrupted at any moment, the next run completes it.
  - Submodules are not fetched. A plugin's library comes from the distribution.
author: GPU Classroom
options:
  home:
    description: The student's home. The module runs as the student.
    type: path
    required: true
  vimrc:
    description: Content of C(~/.vimrc). A last line is added by which a later run knows that nobody edited it.
    type: str
    required: true
  source:
    description: Where repositories are found by owner and name, such as V(https://github.com).
    type: str
    required: true
  plugins:
    description: The plugins, Vundle among them.
    type: list
    elements: dict
    required: true
    suboptions:
      repository:
        description: Owner and name.
        type: str
        required: true
      version:
        description: Commit (40 hex digits).
        type: str
        required: true
  patience:
    description: Seconds after which one git command, or Vundle, is given up.
    type: int
    default: 600
attributes:
  check_mode:
    description: Says what would be installed and repaired, asks no server, and changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Give the student vim with completion
  classroom.gpu.vim_plugins:
    home: /home/ubuntu
    vimrc: "{{ lookup('ansible.builtin.template', 'vimrc.j2') }}"
    source: https://github.com
    plugins:
      - {repository: VundleVim/Vundle.vim, version: 5548a1a937d4e72606520c7484cd384e6c76b565}
      - {repository: davidhalter/jedi-vim, version: 89a2122ab0ad30ebe258d8276bf584511fe27129}
  become_user: ubuntu
"""

RETURN = r"""
installed:
  description: Plugins that were not there.
  returned: always
  type: list
  elements: str
mended:
  description: What was repaired, and where the student's own work is kept; a sentence each.
  returned: always
  type: list
  elements: str
again:
  description: Whether the same command may help, as where a server did not answer.
  returned: failure
  type: bool
"""

import fcntl
import itertools
import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.common.rights import give_back, told
from ansible_collections.classroom.gpu.plugins.module_utils.course.checkout import UNATTENDED

SPEC = {
    "home": {"type": "path", "required": True},
    "vimrc": {"type": "str", "required": True},
    "source": {"type": "str", "required": True},
    "plugins": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {"repository": {"type": "str", "required": True}, "version": {"type": "str", "required": True}},
    },
    "patience": {"type": "int", "default": 600},
}
VUNDLE = "Vundle.vim"
SEAL = '" The class wrote this file, and nobody edited it: '
# Vundle clones with submodules: none of them is active (git-submodule: submodule.active).
ENVIRONMENT = UNATTENDED | {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "submodule.active",
    "GIT_CONFIG_VALUE_0": ":(exclude)*",
    "GIT_CONFIG_KEY_1": "gc.auto",  # works on in the background
    "GIT_CONFIG_VALUE_1": "0",
}
REACH = 60  # seconds in which a server has to answer
STUDENT = ("-c", "user.name=Student", "-c", "user.email=student@localhost")  # a stash needs an author
STATUS = ("status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=all")


class VimError(Exception):
    """The plugins cannot be had; the text says which, from where, and why."""


class Unreached(VimError):
    """The server of a plugin does not answer."""


class Blocked(Exception):
    """The disk or its rights are in the way, whichever plugin it was that met that."""


def sealed(text: str) -> str:
    """The text with a last line that fits to it alone."""
    text = text.rstrip("\n") + "\n"
    return f"{text}{SEAL}{sha256(text.encode()).hexdigest()}\n"


def is_ours(text: str) -> bool:
    """Tell whether a .vimrc is what a class wrote, this one or an earlier, and nothing else."""
    body, mark, _ = text.rpartition(SEAL)
    return bool(mark) and sealed(body) == text


def understand(status: str) -> tuple[str, list[str]]:
    """Return commit and altered files that `git status --porcelain=v2 --branch` tells of; no commit where there is none yet."""
    lines = status.splitlines()
    commit = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), "")
    # Fields before the path: 8 of a changed entry, 9 of a renamed one, 10 of an unmerged one.
    fields = {"1": 8, "2": 9, "u": 10}
    files = [line.split(" ", fields[line[0]])[-1].split("\t")[0] for line in lines if line[:1] in fields]
    return ("" if commit == "(initial)" else commit), files


def last_line(text: str) -> str:
    """What a program complained of last, without the words before it."""
    lines = [line for line in text.strip().splitlines() if line.strip()] or ["no reason given"]
    return re.sub(r"^(fatal|error): ", "", lines[-1])


def free(path: Path) -> Path:
    """A name that nothing has yet: the path's, and the present time."""
    stamp = f"{path.name}.{time.strftime('%Y-%m-%dT%H%M%S')}"
    names = itertools.chain([stamp], (f"{stamp}-{number}" for number in itertools.count(2)))
    return next(place for name in names if not os.path.lexists(place := path.with_name(name)))


def rc(plugins: list[Plugin]) -> str:
    """The settings with which vim knows Vundle and some plugins, and nothing of the student's."""
    lines = [f"Plugin '{plugin.uri}'" for plugin in plugins]
    folder = plugins[0].path.parent
    start = ["set nocompatible", "filetype off", f"set runtimepath+={folder / VUNDLE}", f"call vundle#begin('{folder}')"]
    return "\n".join([*start, *lines, "call vundle#end()", ""])


class Plugin:
    """One plugin in the student's home."""

    def __init__(self, bundle: Path, source: str, repository: str, version: str, patience: int) -> None:
        self.name, self.version, self.patience = repository.split("/")[-1], version, patience
        self.uri, self.path = f"{source}/{repository}.git", bundle / self.name

    def git(self, *arguments: str, folder: Path | None = None) -> str:
        """Run git on this repository alone, never on one around it, and return what it prints."""
        folder = folder or self.path
        return self.run("git", f"--git-dir={folder}/.git", f"--work-tree={folder}", *STUDENT, *arguments)

    def run(self, *command: str, patience: int = 0) -> str:
        """Run a program and return what it prints. It inherits the lock of `Vim.alone`."""
        common = {"env": os.environ | ENVIRONMENT, "capture_output": True, "text": True, "cwd": "/", "close_fds": False}
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=patience or self.patience, **common)
        except FileNotFoundError as error:
            raise VimError(f"{command[0]} is not installed: it is one of vim_packages") from error
        except subprocess.TimeoutExpired as error:
            raise VimError(f"{command[0]} was not done after {error.timeout} s") from error
        if done.returncode and (why := path_errors.of_words(done.stderr, self.path.parent)):
            raise Blocked(why)
        if done.returncode:
            raise VimError(last_line(done.stderr))
        return done.stdout.rstrip("\n")

    def asks(self, *arguments: str) -> str:
        """The answer of a git command that may fail; empty where it does."""
        try:
            return self.git(*arguments)
        except VimError:
            return ""

    def fault(self) -> str:
        """What is not as it should be, and empty where nothing is; `absent` where there is nothing at all."""
        if not os.path.lexists(self.path):
            return "absent"
        commit, files = understand(self.asks(*STATUS))
        if not commit:
            return "was incomplete"
        if files:
            return f"had {len(files)} altered or deleted files"
        if commit != self.version:
            return f"was at commit {commit[:8]}"
        return "came from another address" if self.asks("config", "remote.origin.url") != self.uri else self.unread()

    def unread(self) -> str:
        """Vim finds documentation by an index, which is made last."""
        return "had no index of its help" if any(self.path.glob("doc/*.txt")) and not (self.path / "doc/tags").exists() else ""

    def own(self) -> list[str]:
        """What lies in the folder and did not come with the plugin."""
        if self.path.is_symlink() or not self.path.is_dir():
            return [self.name]
        commit, _ = understand(self.asks(*STATUS))
        if not commit:  # git cannot tell: an interrupted clone has its files last
            return [entry.name for entry in self.path.iterdir() if entry.name != ".git"]
        changed = self.asks("diff", "--name-only", "--diff-filter=d", "HEAD").splitlines()
        return changed + self.asks("ls-files", "--others", "--exclude=/doc/tags", "--exclude=__pycache__").splitlines()

    def clear(self) -> str:
        """Take away what cannot be repaired. Returns where it is kept, if it holds anything that came from elsewhere."""
        if self.own():
            kept = free(self.path.parents[1] / "kept" / self.name)
            kept.parent.mkdir(exist_ok=True)
            self.path.rename(kept)
            return str(kept)
        shutil.rmtree(self.path)
        return ""

    def reach(self) -> None:
        """Ask for the repository, because Vundle would not say why it cannot have it."""
        try:
            self.run("git", "ls-remote", "--exit-code", self.uri, "HEAD", patience=REACH)
        except VimError as error:
            raise Unreached(f"Vim's plugin {self.name} cannot be had from {self.uri}: {error}") from error

    def clone(self) -> None:
        """Get Vundle, which nothing installs, in the way in which it gets the others, beside its place and then into it."""
        beside = self.path.with_name(f".{self.name}.new")
        shutil.rmtree(beside, ignore_errors=True)
        self.run("git", "clone", "--quiet", "--depth=1", self.uri, str(beside))
        self.pin(beside)
        beside.rename(self.path)

    def restore(self) -> str:
        """Give altered and deleted files their content back. Returns where the student's are, if any had another."""
        if self.asks("diff", "--name-only", "--diff-filter=d", "HEAD"):
            self.git("stash", "push", "--quiet", "--message=Set aside by the class")
            return f"git -C {self.path} stash show --patch"
        self.git("reset", "--quiet", "--hard")
        return ""

    def pin(self, folder: Path | None = None) -> None:
        """Check the commit out; what was made of the other commit's documentation goes."""
        try:
            self.git("config", "remote.origin.url", self.uri, folder=folder)
            if self.git("rev-parse", "HEAD", folder=folder) == self.version:
                return
            if not self.known(folder):
                self.git("fetch", "--quiet", "--depth=1", "origin", self.version, folder=folder)
            self.git("checkout", "--quiet", "--detach", self.version, folder=folder)
        except VimError as error:
            raise VimError(f"Vim's plugin {self.name} cannot be brought to commit {self.version} of {self.uri}: {error}") from error
        ((folder or self.path) / "doc/tags").unlink(missing_ok=True)

    def known(self, folder: Path | None) -> bool:
        """Tell whether the commit has been fetched."""
        with suppress(VimError):
            return bool(self.git("rev-parse", "--verify", "--quiet", f"{self.version}^{{commit}}", folder=folder))
        return False


class Vim:
    """What a class gives a student's vim."""

    def __init__(self, params: dict) -> None:
        home, source = Path(params["home"]), params["source"].rstrip("/")
        self.bundle, self.vimrc, self.text = home / ".vim/bundle", home / ".vimrc", sealed(params["vimrc"])
        wanted = [(one["repository"], one["version"], params["patience"]) for one in params["plugins"]]
        self.plugins = [Plugin(self.bundle, source, *one) for one in wanted]
        self.kept: list[str] = []  # where the student's own work is now; said even where the run fails after that

    def faults(self) -> dict[Plugin, str]:
        return {plugin: fault for plugin in self.plugins if (fault := plugin.fault())}

    def settings(self) -> str:
        """The content of .vimrc; empty where there is none or where it cannot be read as text."""
        with suppress(OSError, ValueError):
            return self.vimrc.read_text(encoding="utf-8")
        return ""

    def write_settings(self) -> None:
        """Write .vimrc in one step, and keep another's beside it."""
        draft = self.vimrc.with_name(".vimrc.new")
        draft.unlink(missing_ok=True)
        draft.write_text(self.text, encoding="utf-8")
        if os.path.lexists(self.vimrc) and not is_ours(self.settings()):
            beside = free(self.vimrc)
            self.vimrc.rename(beside)
            self.kept.append(f"{self.vimrc} was not the class's, and is kept as {beside}: own settings belong into {self.vimrc}.local")
        draft.replace(self.vimrc)

    def mend(self, faults: dict[Plugin, str]) -> None:
        """Install and repair."""
        for plugin, fault in faults.items():
            place = self.make_room(plugin, fault)
            self.kept += [f"{plugin.name}: what was changed there is kept: {place}"] if place else []
        missing = [plugin for plugin in faults if not plugin.path.exists()]
        for plugin in missing:
            plugin.reach()
        for plugin in [plugin for plugin in self.plugins if plugin.name == VUNDLE and plugin in missing]:
            plugin.clone()
        reason = self.vundle("PluginInstall", missing) if missing else ""
        for plugin in faults:
            if not plugin.path.exists():
                raise VimError(f"Vundle did not install vim's plugin {plugin.name} from {plugin.uri}: {reason}")
            plugin.pin()
        self.vundle("PluginDocs", list(faults))

    def make_room(self, plugin: Plugin, fault: str) -> str:
        """Repair a plugin in its place, or make room for a new one. Returns where the student's changes are, if there were any."""
        if fault == "absent":
            return ""
        if fault == "was incomplete":
            return plugin.clear()
        try:
            return plugin.restore()
        except VimError:  # such as a lock that a killed git left
            return plugin.clear()

    def vundle(self, command: str, plugins: list[Plugin]) -> str:
        """Let vim run one of Vundle's commands on some plugins, without a screen. Returns the last complaint in Vundle's log, because
        the exit status says nothing."""
        with tempfile.TemporaryDirectory() as folder:
            settings, log = Path(folder) / "vimrc", Path(folder) / "log"
            settings.write_text(rc(plugins), encoding="utf-8")
            silent = ("vim", "-N", "-n", "-i", "NONE", "-E", "-s", "-u", str(settings))
            plugins[0].run(*silent, "-c", command, "-c", f"call writefile(g:vundle#log, '{log}')", "-c", "qall!")
            said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        if why := path_errors.of_words(said, self.bundle):
            raise Blocked(why)
        return last_line("\n".join(re.findall("(?:fatal|error): .*", said)))

    @contextmanager
    def alone(self):
        """Wait for another run, and for what a killed run left running: programs inherit the lock."""
        self.bundle.mkdir(parents=True, exist_ok=True)
        with open(self.bundle / ".lock", "w") as lock:
            os.set_inheritable(lock.fileno(), True)
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def settle(vim: Vim, check: bool) -> dict:
    """Compare the student's vim with what the class wants, and mend the difference."""
    faults, stale = vim.faults(), vim.settings() != vim.text
    if (faults or stale) and not check:
        lost = give_back(vim.bundle.parent, os.geteuid())
        vim.kept += [told(lost, check)] if lost else []
        with vim.alone():
            faults = vim.faults()
            if vim.settings() != vim.text:
                vim.write_settings()
            if faults:
                vim.mend(faults)
            left = vim.faults()
        if left:
            raise VimError("; ".join(f"Vim's plugin {plugin.name} still {fault}" for plugin, fault in left.items()))
    mended = [f"Vim's plugin {plugin.name} {fault}" for plugin, fault in faults.items() if fault != "absent"]
    installed = [plugin.name for plugin, fault in faults.items() if fault == "absent"]
    return {"changed": bool(faults) or stale, "installed": installed, "mended": mended + vim.kept}


@path_errors.told
def main() -> None:
    """Say what was mended, and where the student's own work is kept."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    vim = Vim(module.params)
    if VUNDLE not in [plugin.name for plugin in vim.plugins]:
        module.fail_json(msg=f"vim_plugins does not name VundleVim/{VUNDLE}, which installs the others: add it.")
    try:
        result = settle(vim, module.check_mode)
    except (VimError, Blocked, OSError) as error:
        for said in vim.kept:
            module.warn(f"{said}.")
        why = path_errors.cause(error, vim.bundle) if isinstance(error, OSError) else str(error)
        module.fail_json(msg=f"{why.removesuffix('.')}. The next run goes on from here.", again=isinstance(error, Unreached))
    for said in result["mended"]:
        module.warn(f"{said}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
