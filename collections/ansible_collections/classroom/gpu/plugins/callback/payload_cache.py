"""Lets the payloads that Ansible builds of modules last from run to run."""

from __future__ import annotations

import atexit
import base64
import os
import time
from collections.abc import Callable
from pathlib import Path

from ansible import constants
from ansible.executor.module_common import ModuleMetadataV1, _CachedModule
from ansible.plugins.callback import CallbackBase
from ansible_collections.classroom.gpu.plugins.plugin_utils.payload_sources import Sources, mentioned
from ansible_collections.classroom.gpu.plugins.plugin_utils.payload_store import Key, Store, default

DOCUMENTATION = """
name: payload_cache
type: aggregate
short_description: Lets the payloads that Ansible builds of modules last from run to run
description:
  - Ansible parses a module and all that it imports, once a run, to build the payload that it sends. This keeps payloads in
    C($XDG_CACHE_HOME/gpu-classroom/payloads), or C(~/.cache/gpu-classroom/payloads), and hands them to the next run.
  - A payload is taken only while ansible-core, the controller's Python, the compression, the module and every file that it could import
    are the same, byte for byte. The folder must be the user's own and closed to others. Whatever is in the way, a run goes without, and
    C(-v) says why.
  - C(make clean) empties the folder.
options:
  enabled:
    description: Whether to keep payloads and to take kept ones.
    type: bool
    default: true
    env:
      - name: CLASSROOM_PAYLOAD_CACHE
"""

LEGACY = ModuleMetadataV1(serialization_profile="legacy")  # what a module's results are written in, unless an experiment is switched on
PLAIN = "none"  # the end of the name of a payload without a debugger or coverage in it
CLOCK = 0.1  # seconds by which the clock of a file system may be behind


class CallbackModule(CallbackBase):
    """Fills the run's own folder of payloads before it begins, and keeps what was built when the process ends, however it ends."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "classroom.gpu.payload_cache"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.run = Path(constants.DEFAULT_LOCAL_TMP) / "ansiballz_cache"
        self.filled: set[str] | None = None

    def v2_playbook_on_start(self, playbook) -> None:
        """Hand over what still holds, once a process."""
        if self.filled is not None or not self.get_option("enabled"):
            return
        self.filled, self.began, self.process = set(), time.time(), os.getpid()
        if self.without_fail(self.fill):
            atexit.register(self.without_fail, self.keep)  # before the run's own folder goes, for that was registered earlier

    def without_fail(self, part: Callable[[], None]) -> bool:
        """Do a part, or go without and say why at -v: no run may fail because of what only saves time."""
        try:
            part()
        except (OSError, ValueError) as error:
            self._display.v(f"Payloads do not last from run to run: {error}")
            return False
        return True

    def fill(self) -> None:
        """Write every kept payload that holds where Ansible looks for those that it has built.

        Ansible reads a pickle there, which could run anything: it is made here from the bytes of a zip file, and never kept.
        """
        self.before, store = Sources(), Store(default())
        self.run.mkdir(exist_ok=True)
        for key in store:
            if payload := store.load(key, lambda used, key=key: self.before.digest(key.module, key.compression, used) == key.digest):
                name = "-".join((key.module, key.compression, PLAIN))
                _CachedModule(zip_data=base64.b64encode(payload), metadata=LEGACY, source_mapping={}).dump(str(self.run / name))
                self.filled.add(name)
        store.close()
        self._display.v(f"Payloads of earlier runs that hold: {len(self.filled)}")

    def keep(self) -> None:
        """Keep what this run has built, if its sources have not changed meanwhile."""
        built = sorted(path for path in self.run.glob(f"*-{PLAIN}") if path.name not in self.filled)
        if os.getpid() != self.process or not built:
            return
        now, store = Sources(), Store(default())
        for path in built:
            self.keep_one(store, now, path)
        store.prune()
        store.close()

    def keep_one(self, store: Store, now: Sources, path: Path) -> None:
        """Keep a payload that is nothing but sources as they were when the run began; a role may have brought some of its own since."""
        module, compression, _ = path.name.rsplit("-", 2)
        cached = _CachedModule.load(str(path))  # this run's workers wrote it, into a folder of this run's alone
        payload = base64.b64decode(cached.zip_data)
        used = mentioned(payload)
        digest = now.digest(module, compression, used)
        plain = cached.metadata == LEGACY and not cached.source_mapping
        if plain and digest == self.before.digest(module, compression, used) and now.made(module, used, payload, self.began - CLOCK):
            store.keep(Key(module, compression, digest), used, payload)
