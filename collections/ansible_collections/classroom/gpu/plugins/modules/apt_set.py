#!/usr/bin/python
"""Bring a set of packages to a version, pinned and held together, or leave the machine as it was."""

from __future__ import annotations

DOCUMENTATION = r"""
module: apt_set
short_description: Bring a set of APT packages to a version, pinned and held together, or leave the machine as it was
description:
  - Installs, upgrades, downgrades or purges packages that only work together, such as a driver and its libraries, in one transaction.
  - The source's key, signature and index are checked in an APT state of their own, and all packages are downloaded and checked, before
    anything on the machine changes. Whatever is wrong with them is said in one sentence.
  - Repairs what became of the set since. Packages removed, of another version, half configured or no longer held, altered files, and
    sources lists that disagree about the key.
  - Before that dpkg goes on with what it was stopped in, whosever packages those are. One that cannot be configured is told, and is no
    obstacle to anything else.
  - Where all is well it reads files and asks dpkg, and does not open APT's cache.
author: GPU Classroom
options:
  name:
    description: Name of the set, and of its file C(/etc/apt/preferences.d/classroom-NAME).
    type: str
    required: true
  packages:
    description: Packages to install.
    type: list
    elements: str
    required: true
  version:
    description: The version of the packages in O(pins), as a glob. Empty means that what is installed stays, and otherwise the newest.
    type: str
    default: ""
  pins:
    description: Globs of the packages that belong to the set. Those of them that are installed are pinned and held together.
    type: list
    elements: str
    default: []
  purge:
    description: Globs of packages that go in the same transaction, unless they are asked for or needed by those that are.
    type: list
    elements: str
    default: []
  unpinned:
    description: Packages to install that are neither pinned nor held.
    type: list
    elements: str
    default: []
  source:
    description: A signed source of the packages. Without it they come from the machine's own sources.
    type: dict
    suboptions:
      name:
        description: Name of the source, and of its files C(classroom-NAME.sources) and C(classroom-NAME.asc).
        type: str
        required: true
      uri:
        description: Address of the repository.
        type: str
        required: true
      suite:
        description: Suite, or V(/) for a repository without suites.
        type: str
        default: /
      components:
        description: Components, none for a repository without suites.
        type: list
        elements: str
        default: []
      key:
        description: Address of the key that signs it, ASCII armoured.
        type: str
        required: true
      fingerprint:
        description: Fingerprint of that key, 40 hex digits.
        type: str
        required: true
  choices:
    description: How to say what a source has instead of a package or version that it does not have.
    type: dict
    suboptions:
      what:
        description: What is chosen, such as V(driver branch).
        type: str
        required: true
      pattern:
        description: Regular expression for names of packages. Its first group is the choice.
        type: str
        required: true
  default:
    description: Which of the installed versions of a program is the default one, as C(update-alternatives) keeps it.
    type: dict
    suboptions:
      name:
        description: Name of the group of alternatives.
        type: str
        required: true
      link:
        description: The link that leads to the default one.
        type: path
        required: true
      path:
        description: What it leads to.
        type: path
        required: true
  state:
    description: Whether the set should be there. V(absent) purges what this module installed, and leaves the source.
    type: str
    choices: [present, absent]
    default: present
  patience:
    description: Seconds to wait for the package lock.
    type: int
    default: 600
attributes:
  check_mode:
    description: Says what would be done from what dpkg knows, and asks no server.
    support: full
  diff_mode:
    description: Shows packages and files before and after.
    support: full
"""

EXAMPLES = r"""
- name: Install cuDNN
  classroom.gpu.apt_set:
    name: cudnn
    packages: [cudnn9-cuda-12]
    version: 9.28.0.42-*
    pins: ["cudnn9-*", "libcudnn9-*"]
    source:
      name: nvidia-cuda
      uri: https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/
      key: https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/3bf863cc.pub
      fingerprint: EB693B3035CD5710E231E123A4B469963BF863CC
"""

RETURN = r"""
installed:
  description: The set's installed packages with their versions.
  returned: always
  type: dict
mended:
  description: What was broken and is right again, one sentence each. What is installed for the first time is none of it.
  returned: always
  type: list
  elements: str
"""

import shutil
import tempfile
from http.client import HTTPException
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import ConnectionError as UrlError
from ansible.module_utils.urls import open_url
from ansible_collections.classroom.gpu.plugins.module_utils.apt import alternatives
from ansible_collections.classroom.gpu.plugins.module_utils.apt import packages as apt
from ansible_collections.classroom.gpu.plugins.module_utils.apt.stage import (
    ETC,
    STAGE,
    Failed,
    File,
    Machine,
    Refused,
    Stage,
    Unsolved,
    locked,
    read,
    write,
)
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors

KEY_SECONDS, KEY_BYTES = 20, 1 << 20
PATH = {"type": "path", "required": True}
STRINGS = {"type": "list", "elements": "str", "default": []}
TEXT = {"type": "str", "required": True}
SPEC = {
    "name": TEXT,
    "packages": {"type": "list", "elements": "str", "required": True},
    "version": {"type": "str", "default": ""},
    "pins": STRINGS,
    "purge": STRINGS,
    "unpinned": STRINGS,
    "source": {
        "type": "dict",
        "options": {
            "name": TEXT,
            "uri": TEXT,
            "suite": {"type": "str", "default": "/"},
            "components": STRINGS,
            "key": {"type": "str", "required": True, "no_log": False},
            "fingerprint": TEXT,
        },
    },
    "choices": {"type": "dict", "options": {"what": TEXT, "pattern": TEXT}},
    "default": {"type": "dict", "options": {"name": TEXT, "link": PATH, "path": PATH}},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "patience": {"type": "int", "default": 600},
}


class AptSet:
    """One set on one machine."""

    def __init__(self, module: AnsibleModule) -> None:
        params = module.params
        self.machine, self.check, self.name = Machine(module), module.check_mode, params["name"]
        self.source, self.choices, self.state = params["source"], params["choices"], params["state"]
        self.wanted = apt.Wanted(*(params[field] for field in apt.Wanted._fields))
        self.pin = self.file(ETC / "preferences.d" / f"classroom-{self.name}", apt.pin_text(self.wanted))
        self.keyring = ETC / "keyrings" / f"classroom-{self.source['name']}.asc" if self.source else Path()
        self.mended: list[str] = []

    def file(self, path: Path, text: str) -> File:
        return File(path, read(path), text if self.state == "present" else None)

    def source_files(self) -> list[File]:
        """The source's file, and every list that names the same address, less those entries."""
        if not self.source:
            return []
        path = ETC / "sources.list.d" / f"classroom-{self.source['name']}.sources"
        files = [File(path, read(path), apt.source_text(self.source, str(self.keyring)))]
        for other in self.machine.lists():
            text = read(other) or ""
            rest = apt.without(text, self.source["uri"], other.suffix == ".sources")
            if other != path and rest is not None:
                files.append(File(other, text, rest if apt.active(rest) else None))
        return files

    def key_is_right(self) -> bool:
        return not self.source or self.machine.fingerprints(self.keyring) == [self.fingerprint]

    @property
    def fingerprint(self) -> str:
        return self.source["fingerprint"].replace(" ", "").upper()

    def key(self) -> str:
        """The text of the source's key: the one that is here if it is right, or a new one. Raises Refused for any other key."""
        if self.key_is_right():
            return read(self.keyring) or ""
        address = self.source["key"]
        try:
            text = open_url(address, timeout=KEY_SECONDS).read(KEY_BYTES).decode("ascii", "replace")
        except (OSError, ValueError, HTTPException, UrlError) as error:
            raise Refused(f"The key {address} cannot be downloaded ({error}): check the address and this machine's network") from error
        found = self.fingerprints_of(text)
        if found != [self.fingerprint]:
            what = f"has the fingerprint {' and '.join(found)}" if found else "is no key"
            raise Refused(f"The key {address} {what}, not {self.fingerprint}: somebody else's key, or a new one. Ask its publisher")
        return text

    def fingerprints_of(self, text: str) -> list[str]:
        with tempfile.NamedTemporaryFile("w", suffix=".asc", dir=self.machine.module.tmpdir) as draft:
            draft.write(text)
            draft.flush()
            return self.machine.fingerprints(Path(draft.name))

    def settle(self) -> dict:
        """Bring the machine to what is wanted; return the module's result."""
        found = self.machine.found()
        if self.state == "absent":
            return self.remove(found)
        files, key_is_right = self.source_files(), self.key_is_right()
        found, went_on = self.go_on(found)
        todo = apt.work(found, self.wanted)
        source_due = not key_is_right or any(file.due for file in files)
        changed = any(todo) or source_due or self.pin.due
        if changed and not self.check:
            self.apply(found, todo, files, source_due)
        after = found if self.check else self.machine.found()
        self.mended += self.repairs(found, after, todo, files, key_is_right) if changed else []
        return self.result(changed or went_on, found, after, [self.pin, *files], todo)

    def go_on(self, found: dict) -> tuple[dict, bool]:
        """Let dpkg go on with what it was stopped in that is not the set's; return what there is then, and whether that is news.

        A package that cannot be configured is somebody else's to mend, and keeps nothing else from being as it should.
        """
        own, unwritten = set(apt.work(found, self.wanted).halfway), self.machine.unwritten()
        others = set(apt.halves(found)) - own
        if self.check or not (others or unwritten):
            return found, bool(others or unwritten)
        self.configure()
        after = self.machine.found()
        said = [f"{name} was half configured: configured" for name in sorted(others - set(apt.halves(after)))]
        said += ["dpkg was stopped in the middle of its books: they are whole"] if unwritten and not self.machine.unwritten() else []
        self.mended += said
        return after, bool(said)

    def configure(self) -> None:
        """Have dpkg configure what is unpacked. Raises Refused where another program keeps dpkg; a package that fails is told."""
        try:
            self.machine.dpkg("--configure", "--pending")
        except Refused:
            raise
        except Failed as error:
            self.machine.module.warn(f"{error}. 'sudo dpkg --configure -a' on the seat tells more.")

    def apply(self, found: dict, todo: apt.Work, files: list[File], source_due: bool) -> None:
        """Do the work: dpkg's own first, then what can fail without harm, then the rest."""
        STAGE.mkdir(mode=0o755, parents=True, exist_ok=True)
        with locked(STAGE / "lock", self.machine.patience):
            if todo.halfway or (todo.transaction and self.machine.interrupted(found)):
                self.machine.dpkg("--configure", "--pending")
                found = self.machine.found()
                todo = apt.work(found, self.wanted)
            if todo.transaction or source_due:
                self.transact(found, todo, files)
            write(self.pin.path, self.pin.after)
            try:
                self.hold()
            except Refused as error:
                raise Failed(str(error)) from error

    def hold(self) -> None:
        """Hold the set, and see that all is as wanted."""
        todo = apt.work(self.machine.found(), self.wanted)
        if todo.unheld:
            self.machine.dpkg("--set-selections", stdin="".join(f"{name} hold\n" for name in todo.unheld))
            todo = apt.work(self.machine.found(), self.wanted)
        if any(todo):
            left = ", ".join(f"{field} {' '.join(value)}" for field, value in todo._asdict().items() if value)
            raise Failed(f"APT did its part, but the set is not as it should be: {left}")

    def transact(self, found: dict, todo: apt.Work, files: list[File]) -> None:
        """Check the source and download everything apart from the machine, then change it."""
        stage = Stage(self.machine, self.source)
        try:
            self.stage_source(stage, files)
            arguments = self.prepared(stage, found, todo)
            self.commit(stage, files)
            if arguments:
                code, _, complaint = stage.install("--no-download", arguments)
                if code:
                    raise Failed(stage.says(complaint))
            stage.publish()
        finally:
            stage.close()

    def stage_source(self, stage: Stage, files: list[File]) -> None:
        for file in files:
            write(stage.etc / file.path.relative_to(ETC), file.after)
        if self.source:
            stage.add_source(self.key())

    def commit(self, stage: Stage, files: list[File]) -> None:
        """Put key, lists and pin in their places; what gives way is kept under another name."""
        if self.source:
            write(self.keyring, read(stage.keyring))
        for file in (file for file in files[::-1] if file.due):
            if file is not files[0]:
                shutil.copy2(file.path, f"{file.path}{apt.ASIDE}")
            write(file.path, file.after)
        write(self.pin.path, self.pin.after)

    def attempts(self, found: dict) -> list[tuple[str, bool]]:
        """The versions to try and whether to fetch all indexes first: what is there, what is wanted, the same with newer lists."""
        present = apt.present_version(found, self.wanted)
        everything = not self.source
        tries = [(version, everything) for version in dict.fromkeys([present or self.wanted.version, self.wanted.version])]
        return tries if everything else [*tries, (self.wanted.version, True)]

    def prepared(self, stage: Stage, found: dict, todo: apt.Work) -> list[str]:
        """Return the arguments of a transaction whose packages are all downloaded and checked; none where only the source is due."""
        fetched: list[bool] = []
        for version, everything in self.attempts(found):
            if everything not in fetched:
                stage.refresh(everything)
                fetched.append(everything)
            if not todo.transaction:
                return []
            try:
                return self.downloaded(stage, found, todo, self.wanted._replace(version=version))
            except Unsolved as error:
                reason = error
        raise reason

    def downloaded(self, stage: Stage, found: dict, todo: apt.Work, wanted: apt.Wanted) -> list[str]:
        """Plan the transaction, see that it touches nothing else, and download its packages."""
        stage.pin(apt.pin_text(self.wanted, wanted.version), self.name)
        arguments = self.arguments(stage, found, todo, wanted)
        code, plan, complaint = stage.install("--simulate", arguments)
        if code:
            raise Unsolved(stage.unsolved(plan, complaint))
        going = [name[:-1] for name in arguments if name.endswith("-")]
        objection = apt.objection(apt.steps(plan), found, wanted, going)
        if objection:
            raise Refused(f"{self.name} stays as it is: {objection}")
        code, _, complaint = stage.install("--download-only", arguments)
        if code:
            raise (Unsolved if "404" in complaint else Refused)(stage.says(complaint))
        return arguments

    def arguments(self, stage: Stage, found: dict, todo: apt.Work, wanted: apt.Wanted) -> list[str]:
        """What APT is asked for: packages to install, and with a dash those to purge."""
        purge = [name for name in found if apt.matches(name, wanted.purge) and name not in wanted.packages + wanted.unpinned]
        stage.forget(purge)
        asked = [name for name in wanted.packages if wanted.version or name in todo.missing]
        asked += [name for name in todo.missing if name in wanted.unpinned or (name not in wanted.packages and wanted.covers(name))]
        have = stage.versions([*asked, *apt.extras(found, wanted, todo.stray)])
        for name in asked:
            self.require(stage, name, have.get(name, []), wanted, found)
        needed = stage.needed(wanted.packages + wanted.unpinned) if purge else set()
        going = [name for name in purge if name not in needed]
        along = [name for name in apt.extras(found, wanted, going) if apt.chosen_version(have.get(name, []), wanted.version)]
        again = [name for name in asked if name in found and not found[name].sound]
        return [*(["--reinstall"] if again else []), *asked, *along, *(f"{name}-" for name in going)]

    def require(self, stage: Stage, name: str, versions: list[str], wanted: apt.Wanted, found: dict) -> None:
        """Raise Unsolved, naming what there is, where no source has a package in the wanted version."""
        version = "" if name in wanted.unpinned else wanted.version
        if apt.chosen_version(versions, version) or (name in found and wanted.fits(found[name])):
            return
        where = self.source["uri"] if self.source else "The machine's sources"
        lacks = f"{where} {'has' if self.source else 'have'} no {name}{f' of version {version}' if version else ''}"
        pattern = self.choices["pattern"] if self.choices else ""
        choices = apt.chosen(stage.run("apt-cache", "pkgnames")[1].split(), pattern) if pattern else []
        there = [f"{self.choices['what']} {', '.join(choices)}"] if choices else []
        there += [f"{name} {', '.join(versions)}"] if versions else []
        advice = f"choose from what it has: {'; '.join(there)}" if there else "check the name and the address"
        raise Unsolved(stage.excuse or f"{lacks}; {advice}")

    def remove(self, found: dict) -> dict:
        """Purge the set and its pin, if this module installed it."""
        changed = self.pin.due
        going = sorted(name for name in found if self.wanted.covers(name)) if changed else []
        if changed and not self.check:
            if going:
                self.purge(found, going)
            write(self.pin.path, None)
        after = found if self.check else self.machine.found()
        return self.result(changed, found, after, [self.pin], apt.Work([], [], [], going, []))

    def purge(self, found: dict, going: list[str]) -> None:
        options = ["-o", f"DPkg::Lock::Timeout={self.machine.patience}", "--yes", "--quiet", "--allow-change-held-packages"]
        code, plan, complaint = self.machine.run(["apt-get", "--simulate", *options, "purge", *going])
        foreign = sorted(apt.steps(plan).remove - set(going))
        if foreign:
            raise Refused(f"Purging {self.name} would also remove {', '.join(foreign)}: remove that first, or keep both")
        code, _, complaint = (code, plan, complaint) if code else self.machine.run(["apt-get", *options, "purge", *going])
        if code:
            raise Failed(apt.sentence(complaint, "the machine's packages", "", self.machine.patience))

    def known(self, found: dict) -> bool:
        """Tell whether this same set was installed before: then what differs now is damage."""
        before = self.pin.before
        if before is None:
            return all(name in found and found[name].held for name in self.wanted.packages) and bool(self.wanted.pins)
        return before == self.pin.after or not apt.intact(before)

    def repairs(self, found: dict, after: dict, todo: apt.Work, files: list[File], key_is_right: bool) -> list[str]:
        """Say what was broken."""
        known = self.known(found)
        said = [f"{name} was half configured: configured" for name in todo.halfway]
        for file in [self.pin, *files[:1]]:
            if file.due and (known if file.before is None else not apt.intact(file.before)):
                said.append(f"{file.path} was {'missing' if file.before is None else 'altered'}: written again")
        if not key_is_right and (known or files[0].before is not None):
            said.append(f"{self.keyring} was missing or another key: fetched again")
        said += [f"{file.path} named the same source in its own way: what it said is now in {file.path}{apt.ASIDE}" for file in files[1:]]
        if known:
            said += [f"{name} was gone or damaged: installed again" for name in todo.missing]
            said += [f"{name} had version {found[name].version}: brought to {version(after, name)}" for name in todo.misplaced]
            said += [f"{name} does not belong beside the set: purged" for name in todo.stray]
            said += [f"The hold of {' '.join(todo.unheld)} was gone: put back"] if todo.unheld else []
        return said

    def result(self, changed: bool, found: dict, after: dict, files: list[File], todo: apt.Work) -> dict:
        """The module's answer."""
        parts = apt.members(after, self.wanted)
        before = [*lines(found, self.wanted), *(f"{file.path}: {describe(file.before)}" for file in files)]
        then = [*(expected(found, self.wanted, todo) if self.check else lines(after, self.wanted))]
        then += [f"{file.path}: {describe(file.after)}" for file in files]
        diff = {"before": "\n".join([*before, ""]), "after": "\n".join([*then, ""])} if changed else {"before": "", "after": ""}
        return {"changed": changed, "installed": {name: after[name].version for name in parts}, "mended": self.mended, "diff": diff}


def describe(text: str | None) -> str:
    """Return a file's text for a difference."""
    return "absent" if text is None else text.strip()


def version(found: dict, name: str) -> str:
    return found[name].version if name in found else "nothing"


def lines(found: dict, wanted: apt.Wanted) -> list[str]:
    """Return a line for every package of the set, and of what is to go."""
    names = {name for name in found if name in wanted.packages + wanted.unpinned or matches_any(name, wanted)}
    return [f"{name} {found[name].version}{' (held)' if found[name].held else ''}" for name in sorted(names)]


def matches_any(name: str, wanted: apt.Wanted) -> bool:
    return apt.matches(name, [*wanted.pins, *wanted.purge])


def expected(found: dict, wanted: apt.Wanted, todo: apt.Work) -> list[str]:
    """Return the lines that would be there after the work, as far as dpkg alone can tell."""
    stays = {name: package for name, package in found.items() if name not in todo.stray}
    coming = {name: wanted.version or "newest" for name in [*todo.missing, *todo.misplaced]}
    held = {name: package._replace(held=package.held or name in todo.unheld) for name, package in stays.items() if name not in coming}
    return sorted([*lines(held, wanted), *(f"{name} {version}" for name, version in coming.items())])


@path_errors.told
def main() -> None:
    """Compare the set with the machine, and bring the machine to it."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    default = module.params["default"]
    try:
        result = AptSet(module).settle()
        chosen = bool(default) and alternatives.settle(module, **default)
    except alternatives.Unset as error:
        module.fail_json(msg=f"{error}.")
    except Refused as error:
        module.fail_json(msg=f"{error}. Nothing was changed for {module.params['name']}.")
    except (Failed, OSError) as error:
        why = path_errors.cause(error, "/var").removesuffix(".") if isinstance(error, OSError) else error
        module.fail_json(msg=f"{why}. {module.params['name']} is incomplete: the next run goes on from here.")
    for said in result["mended"]:
        module.warn(f"{said}.")
    module.exit_json(**result | {"changed": result["changed"] or chosen})


if __name__ == "__main__":
    main()
