#!/usr/bin/python
"""Write a list of small files, folders and links in one call, and keep the units that they belong to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: managed_files
short_description: Write a list of small files, folders and links in one call
description:
  - What M(ansible.builtin.template), M(ansible.builtin.copy) and M(ansible.builtin.file) do in two or three calls a file.
  - Goes through the list in its order. A file is replaced whole or not at all.
  - A link that lies in a file's place is replaced, never followed. One that leads to a folder counts as that folder, on whatever disk.
  - Contents are shown by C(--diff) and C(-vvv), unless they are told to be secret.
  - A folder that is C(owned) is somebody's to make: where it is there, its owner gets it back, with all rights to it. No link is followed.
  - After the files come systemd's units, which are enabled and started where they are not. systemd reads its files anew where this call
    has changed one of them, or a run that was killed has.
author: GPU Classroom
options:
  files:
    description: What is to be there, or not to be there.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where it is to be. A folder is made with those above it; a file or link wants its folder there, or earlier in the list.
        type: path
        required: true
      state:
        description: What it is to be.
        type: str
        choices: [file, directory, link, absent, owned]
        default: file
      content:
        description: All of a file's text.
        type: str
      template:
        description: A template of the role, instead of O(files[].content), filled in as M(ansible.builtin.template) does.
        type: str
      vars:
        description: What the O(files[].template) finds besides the variables of the host.
        type: dict
      src:
        description: A file of the role, instead of O(files[].content).
        type: str
      target:
        description: What a link leads to, which has to be there.
        type: path
      owner:
        description: Name of the user that a file or folder belongs to.
        type: str
        default: root
      group:
        description: Name of its group; unless told, the user's own.
        type: str
      below:
        description: Give back all that lies in a folder which is C(owned), too.
        type: bool
        default: false
      secret:
        description: Show the content to nobody.
        type: bool
        default: false
      mode:
        description: Permissions in octal. C(0644) for a file and C(0755) for a folder, unless told.
        type: str
  units:
    description: Names of systemd's units, with their suffix, that are to run now and at every boot. One that is masked is unmasked.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Says what would be done, and does nothing.
    support: full
  diff_mode:
    description: Shows each file that changes.
    support: full
"""

EXAMPLES = r"""
- name: Write what greets a student
  classroom.gpu.managed_files:
    files:
      - {path: /opt/classroom, state: directory}
      - {path: /opt/classroom/greeting, template: greeting.j2, owner: ubuntu}
      - {path: /opt/classroom/token, content: "{{ token }}", group: ubuntu, mode: "0640", secret: true}
      - {path: /opt/classroom/latest, state: link, target: /opt/classroom/greeting}
      - {path: /opt/classroom/old-greeting, state: absent}

- name: Greet at every hour
  classroom.gpu.managed_files:
    files:
      - {path: /etc/systemd/system/greet.service, src: greet.service}
      - {path: /etc/systemd/system/greet.timer, src: greet.timer}
    units: [greet.timer]
"""

RETURN = r"""
changed_paths:
  description: What was, or would be, changed.
  returned: always
  type: list
  elements: str
done:
  description: What was, or would be, done to each unit that was not as it should be.
  returned: always
  type: dict
  sample: {"greet.timer": [enable, start]}
"""

import grp
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.common import systemd_units as units
from ansible_collections.classroom.gpu.plugins.module_utils.common.rights import give_back, told

ARGUMENTS = {
    "files": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["file", "directory", "link", "absent", "owned"], "default": "file"},
            "content": {"type": "str"},
            # The action plugin of this name makes content of these.
            "template": {"type": "str"},
            "vars": {"type": "dict"},
            "src": {"type": "str"},
            "target": {"type": "path"},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str"},
            "below": {"type": "bool", "default": False},
            "secret": {"type": "bool", "default": False},
            "mode": {"type": "str"},
        },
        "required_if": [("state", "file", ["content", "template", "src"], True), ("state", "link", ["target"])],
    },
    "units": {"type": "list", "elements": "str", "default": []},
}
MODES = {"file": "0644", "directory": "0755"}
IN_ITS_PLACE = {"file": "a file", "directory": "a folder", "link": "a link to no folder", "other": "a device, socket or pipe"}


def kind(path: Path) -> str:
    """Return what lies at a path, in the words of the option C(state); C(other) is a device or the like."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(mode), "other")


def content(path: Path) -> str:
    """Return what a comparison shows of a path: a file's text, where a link leads to, nothing of anything else."""
    is_a = kind(path)
    if is_a == "link":
        return str(path.readlink())
    return path.read_text(encoding="utf-8", errors="backslashreplace") if is_a == "file" else ""


def wanted_content(wanted: dict) -> str:
    """Return what C(content) is to find."""
    return {"file": wanted["content"], "link": wanted["target"]}.get(wanted["state"]) or ""


def refuse(path: Path, wanted: dict) -> None:
    """Raise ValueError for what would take away more than was meant: only a file or link gives way, and only to a file or link."""
    found = kind(path)
    gives_way = {"file": ("file", "link"), "link": ("file", "link"), "directory": ()}
    if found != "absent" and found not in gives_way.get(wanted["state"], (found,)):
        raise ValueError(f"{IN_ITS_PLACE[found]} lies in its place. Move it away, and run this again")
    if wanted["state"] == "link" and not os.path.exists(path.parent / wanted["target"]):
        raise ValueError(f"it would lead to {wanted['target']}, which is not there")


@dataclass
class Rights:
    """Whose a path is, by numbers, and what they may."""

    uid: int
    gid: int
    mode: int

    @classmethod
    def of(cls, wanted: dict) -> Rights:
        """Look up the names; raise ValueError for one that is unknown."""
        try:
            user = pwd.getpwnam(wanted["owner"])
            group = grp.getgrnam(wanted["group"]).gr_gid if wanted["group"] else user.pw_gid
        except KeyError as error:
            raise ValueError(f"its owner is unknown: {error.args[0]}") from error
        return cls(user.pw_uid, group, int(wanted["mode"] or MODES.get(wanted["state"], "0"), 8))


def write(path: Path, text: str, rights: Rights) -> None:
    """Replace a file at once, so that whoever reads it meanwhile finds the old one or the new one."""
    handle, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchown(handle, rights.uid, rights.gid)
            os.fchmod(handle, rights.mode)
        os.replace(new, path)
    except OSError:
        os.unlink(new)
        raise


def link(path: Path, target: str) -> None:
    """Replace a link at once."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)


def remove(path: Path) -> None:
    """Remove whatever is there."""
    if kind(path) == "directory":
        shutil.rmtree(path)
    else:
        path.unlink()


def bring(path: Path, wanted: dict, rights: Rights) -> None:
    """Make of a path what is wanted."""
    if wanted["state"] == "file":
        write(path, wanted["content"], rights)
    elif wanted["state"] == "link":
        link(path, wanted["target"])
    elif wanted["state"] == "absent":
        remove(path)
    else:
        path.mkdir(parents=True)
        os.chown(path, rights.uid, rights.gid)
        path.chmod(rights.mode)


def difference(path: Path, found: str, before: str, wanted: dict, rights: dict) -> dict:
    """Return what C(--diff) shows of a change: the text, but of a secret, and what changes of owner, group and mode."""
    texts = ("", "") if wanted["secret"] else (before, wanted_content(wanted))
    shown = {}
    for side, is_a, text in zip(("before", "after"), (found, wanted["state"]), texts, strict=True):
        changes = [f"{name} {value}" for name, value in sorted(rights[side].items()) if name != "path"]
        shown |= {side: text, f"{side}_header": " ".join([f"{path} ({is_a})", *changes])}
    return shown


def in_order(path: Path, wanted: Rights, check: bool) -> dict[str, dict]:
    """Give a file or folder owner, group and mode; return what differed, before and after."""
    handle = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        found = os.fstat(handle)
        names = {
            "owner": (str(found.st_uid), str(wanted.uid)),
            "group": (str(found.st_gid), str(wanted.gid)),
            "mode": (f"{stat.S_IMODE(found.st_mode):04o}", f"{wanted.mode:04o}"),
        }
        differs = {name: pair for name, pair in names.items() if pair[0] != pair[1]}
        if differs and not check:
            os.chown(f"/proc/self/fd/{handle}", wanted.uid, wanted.gid)
            os.chmod(f"/proc/self/fd/{handle}", wanted.mode)
    finally:
        os.close(handle)
    return {side: {name: pair[index] for name, pair in differs.items()} for index, side in enumerate(("before", "after"))}


def owned(module: AnsibleModule, wanted: dict) -> dict | None:
    """Give a folder that is there back to its owner, and return the difference; nothing if there is none."""
    path, uid, deep = Path(wanted["path"]), Rights.of(wanted).uid, "all" if wanted["below"] else "nothing"
    lost = give_back(path, uid, deep=deep, check=module.check_mode)
    if not lost:
        return None
    module.warn(f"{told(lost, module.check_mode)}.")
    return {"before": "", "after": "".join(f"{one}\n" for one in lost), "before_header": str(path), "after_header": f"{path} (given back)"}


def settle(module: AnsibleModule, wanted: dict) -> dict | None:
    """Look at one path, bring it where it should be, and return the difference; nothing if there is none.

    Raises OSError, and ValueError where its owner is unknown or something else lies in its place.
    """
    if wanted["state"] == "owned":
        return owned(module, wanted)
    path, state, rights = Path(wanted["path"]), wanted["state"], Rights.of(wanted)
    if state == "directory" and path.is_dir():
        path = path.resolve()
    found, before, changes = kind(path), content(path), {"before": {}, "after": {}}
    changed = False
    if found == state in MODES:
        changes = in_order(path, rights, module.check_mode)
        changed = bool(changes["after"])
    if (found, before) != (state, wanted_content(wanted)):
        changed = True
        refuse(path, wanted)
        if not module.check_mode:
            bring(path, wanted, rights)
    return difference(path, found, before, wanted, changes) if changed else None


def go_through(module: AnsibleModule) -> dict[str, dict]:
    """Settle the list in its order, and return the differences by path."""
    changes: dict[str, dict] = {}
    for wanted in module.params["files"]:
        try:
            change = settle(module, wanted)
        except (OSError, ValueError) as error:
            path = wanted["path"]
            why = path_errors.sentence(error.errno, Path(path)) if isinstance(error, OSError) else f"{error}."
            module.fail_json(msg=f"{path} cannot be made: {why}", changed_paths=list(changes), changed=bool(changes))
        if change:
            changes[wanted["path"]] = change
    return changes


@path_errors.told
def main() -> None:
    """Go through the list, then through the units."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, no_log=True)  # the system's log is no place for whole files
    wanted = module.params["files"]
    module.no_log_values |= {item["content"] for item in wanted if item["secret"] and item["content"]}
    changes = go_through(module)
    try:
        done = units.settle(module, module.params["units"], units.of([item["path"] for item in wanted]), units.of(list(changes)))
    except units.Broken as error:
        module.fail_json(msg=str(error), journal=error.journal, changed_paths=list(changes), changed=bool(changes))
    diff = [*changes.values(), *(units.difference(name, steps) for name, steps in done.items())]
    module.exit_json(changed=bool(diff), changed_paths=list(changes), done=done, diff=diff)


if __name__ == "__main__":
    main()
