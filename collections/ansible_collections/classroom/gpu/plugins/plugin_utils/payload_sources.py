"""What Ansible builds a module's payload of, as it lies on disk now."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import ansible
from ansible import constants
from ansible.plugins.loader import module_utils_loader
from ansible.release import __version__

CORE = Path(ansible.__file__).parent
ROUTING = "config/ansible_builtin_runtime.yml"
MENTIONED = re.compile(rb"\bansible_collections[./](\w+)[./](\w+)")
# ansible-core writes these itself, from nothing but its version.
WRITTEN = {"ansible/__init__.py", "ansible/module_utils/__init__.py"}


class Tree(NamedTuple):
    """Files that modules may import, by their path in a payload; a digest of them all; and when the last of them changed."""

    files: dict[str, str]
    digest: str
    changed: float


NOTHING = Tree({}, "", 0.0)


def read(folder: Path, inside: str, routing: Path) -> Tree:
    """Read a folder of module_utils, whose files a payload has in `inside`, and the file that says what is imported in place of what.

    All of it, whatever a payload took: a new file may come before one that was used, or be one that was looked for in vain.
    """
    files, changed, cut = {}, 0.0, len(str(folder))
    for path in (*walk(str(folder)), *([str(routing)] if routing.exists() else [])):
        with open(path, "rb") as file:
            files[inside + path[cut:] if path != str(routing) else "routing"] = digest(file.read())
            changed = max(changed, os.fstat(file.fileno()).st_ctime)
    return Tree(files, digest(json.dumps(sorted(files.items())).encode()), changed)


def walk(folder: str) -> Iterator[str]:
    """Return every file in a folder, through links as well, as an import finds them. (Of strings: pathlib takes four times as long.)"""
    if not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file():
                yield entry.path
            elif entry.is_dir() and entry.name != "__pycache__":
                yield from walk(entry.path)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def root(collection: str) -> Path | None:
    """Return where Ansible finds a collection, or None."""
    try:
        spec = importlib.util.find_spec(f"ansible_collections.{collection}")
    except ImportError:
        return None
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def module_path(module: str) -> Path | None:
    """Return the file of a module by its full name; None if the name does not say which, as of a role's or a playbook's own."""
    match module.split("."):
        case ["ansible", "modules", *rest]:
            return (CORE / "modules").joinpath(*rest).with_suffix(".py")
        case ["ansible_collections", space, name, "plugins", "modules", *rest] if place := root(f"{space}.{name}"):
            return (place / "plugins/modules").joinpath(*rest).with_suffix(".py")
    return None


def mentioned(payload: bytes) -> list[str]:
    """Return the collections that a payload is of, or asks for: one that is missing today may be installed tomorrow."""
    found = set()
    with zipfile.ZipFile(io.BytesIO(payload)) as parts:
        for part in parts.infolist():
            found.update(MENTIONED.findall(part.filename.encode() + b"\n" + parts.read(part)))
    return sorted({b".".join(name).decode() for name in found})


class Sources:
    """One look at the sources: nothing is read twice, nor seen in two states."""

    def __init__(self) -> None:
        # Where `ansible.module_utils` is looked for, first to last.
        places = dict.fromkeys([*map(Path, module_utils_loader._get_paths(subdirs=False)), CORE / "module_utils"])
        self.core = [read(path, "ansible/module_utils", CORE / ROUTING) for path in places]
        self.tree = functools.cache(self._tree)
        self.module = functools.cache(self._module)

    def _tree(self, collection: str) -> Tree:
        """Return a collection's share; of one that is not there, nothing."""
        place = root(collection)
        if not place:
            return NOTHING
        inside = f"ansible_collections/{collection.replace('.', '/')}/plugins/module_utils"
        return read(place / "plugins/module_utils", inside, place / "meta/runtime.yml")

    def _module(self, module: str) -> Tree:
        """Return the file of a module itself."""
        path = module_path(module)
        if not path or not path.exists():
            return NOTHING
        found = digest(path.read_bytes())
        return Tree({module.replace(".", "/") + ".py": found}, found, path.stat().st_ctime)

    def trees(self, module: str, collections: list[str]) -> list[Tree]:
        return [self.module(module), *self.core, *map(self.tree, collections)]

    def digest(self, module: str, compression: str, collections: list[str]) -> str:
        """Return what names one state of all that a payload is built of, and of what builds it."""
        builder = [__version__, sys.version, compression, constants.config.get_config_value("_MODULE_METADATA")]
        trees = [tree.digest for tree in self.trees(module, collections)]
        return digest(json.dumps([builder, module, collections, trees]).encode())

    def made(self, module: str, collections: list[str], payload: bytes, since: float) -> bool:
        """Say whether a payload that was built after `since` is of these sources, and not of what they were for a moment in between."""
        trees = self.trees(module, collections)
        if not trees[0].files or max(tree.changed for tree in trees) >= since:
            return False
        with zipfile.ZipFile(io.BytesIO(payload)) as parts:
            return all(came_from(trees, part.filename, parts.read(part)) for part in parts.infolist())


def came_from(trees: list[Tree], name: str, content: bytes) -> bool:
    """Say whether a file of a payload is byte for byte a source; empty packages are none's."""
    return not content or name in WRITTEN or digest(content) in [tree.files.get(name) for tree in trees]
