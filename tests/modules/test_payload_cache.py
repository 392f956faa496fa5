"""Built payloads last from run to run: whatever a payload is of decides whether it holds, and nothing half, damaged or foreign is taken."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.plugin_utils import payload_sources
from ansible_collections.classroom.gpu.plugins.plugin_utils.payload_store import HALF, MOST, UNUSED, Key, Store

from tests.support.simulated_hosts import ROOT

TOOLS = "ansible_collections/own/tools/plugins"
MODULE = "ansible_collections.own.tools.plugins.modules.told"
WORD = f"{TOOLS}/module_utils/word.py"
TOLD = """
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.own.tools.plugins.module_utils.word import WORD
try:
    from ansible_collections.own.missing.plugins.module_utils.more import MORE
except ImportError:
    MORE = ""


def main():
    module = AnsibleModule({"wait": {"type": "path"}})
    if module.params["wait"]:
        open(module.params["wait"]).read()
    module.exit_json(msg=WORD + MORE)


main()
"""
PLAY = """
- hosts: localhost
  gather_facts: false
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - own.tools.told: {wait: "{{ wait | default(omit) }}"}
      register: told
    - ansible.builtin.assert: {that: false, fail_msg: "It says {{ told.msg }}."}
"""


class Project:
    """A playbook with one module of its own, whose word is in a file that it imports. Every run ends with a failure that tells the word."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache/gpu-classroom/payloads"
        for name, text in {"modules/told.py": TOLD, "module_utils/word.py": 'WORD = "one"\n'}.items():
            (folder / "collections" / TOOLS / name).parent.mkdir(parents=True)
            (folder / "collections" / TOOLS / name).write_text(text)
        self.word = folder / "collections" / WORD
        (folder / "play.yml").write_text(PLAY)

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen:
        """Begin a run of Ansible's, as this repository configures it."""
        own = {
            "ANSIBLE_CONFIG": f"{ROOT}/ansible.cfg",
            "ANSIBLE_COLLECTIONS_PATH": f"{self.folder}/collections:{ROOT}/collections",
            "ANSIBLE_HOME": f"{self.folder}/home",
            "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.host_list",  # EC2's plugin takes a third of a run, and finds nothing here
            "XDG_CACHE_HOME": f"{self.folder}/cache",
        }
        command = [Path(sys.executable).with_name("ansible-playbook"), "-v", "-i", "localhost,", "play.yml", *arguments]
        files = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=self.folder, env=os.environ | own | environment, text=True, start_new_session=True, **files)

    def run(self, **environment: str) -> str:
        """Run to the end and return what was said."""
        return self.begin(**environment).communicate(timeout=60)[0]

    def kept(self) -> list[Path]:
        return sorted(self.cache.glob(f"{MODULE}-*"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_change_of_an_imported_file_arrives_and_a_damaged_payload_is_built_anew(project: Project) -> None:
    assert "It says one." in project.run() and len(project.kept()) == 1
    then = project.word.stat()
    project.word.write_text('WORD = "two"\n')
    os.utime(project.word, ns=(then.st_atime_ns, then.st_mtime_ns))  # neither size nor time tell of it
    said = project.run()
    assert "It says two." in said and "that hold: 0" in said and len(project.kept()) == 2

    project.word.write_text('WORD = "one"\n')  # what was kept of it would hold
    damaged = {}
    for path in project.kept():
        head, payload = path.read_bytes().split(b"\n", 1)
        damaged[path] = head + b"\n" + rezipped(payload, b'"one"', b'"bad"')
        path.write_bytes(damaged[path])
    said = project.run()
    assert "It says one." in said and "that hold: 0" in said
    assert project.kept() == list(damaged)
    assert [path.read_bytes() == content for path, content in damaged.items()].count(False) == 1, "the wanted one is whole again"


def rezipped(payload: bytes, old: bytes, new: bytes) -> bytes:
    """Return a payload that works and says something else."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(payload)) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for part in source.infolist():
            target.writestr(part.filename, source.read(part).replace(old, new))
    return made.getvalue()


def test_two_runs_at_once_leave_one_sound_payload(project: Project) -> None:
    runs = [project.begin(), project.begin()]
    assert all("It says one." in run.communicate(timeout=60)[0] for run in runs)
    (path,) = project.kept()
    assert zipfile.ZipFile(io.BytesIO(path.read_bytes().split(b"\n", 1)[1])).testzip() is None
    assert [one for one in os.listdir(project.cache) if one.startswith(".")] == []
    assert "that hold: 1" in project.run()


def test_a_run_that_is_ended_keeps_whole_payloads_or_none(project: Project) -> None:
    for number, kept in ((signal.SIGKILL, 0), (signal.SIGINT, 1)):
        gate = project.folder / number.name  # one each: a module outlives its killed run for a moment, and would open the next one's
        os.mkfifo(gate)
        run = project.begin("-e", f"wait={gate}")
        with open(gate, "w"):  # opens when the module has begun to wait
            os.kill(run.pid, number)
            run.communicate(timeout=60)
        assert len(project.kept()) == kept
    said = project.run()
    assert "It says one." in said and "that hold: 1" in said


def test_one_variable_switches_it_off(project: Project) -> None:
    assert "It says one." in project.run(CLASSROOM_PAYLOAD_CACHE="false")
    assert not project.cache.exists()


def test_a_run_goes_without_where_nothing_can_be_kept(project: Project) -> None:
    said = project.run(XDG_CACHE_HOME="/proc/self")
    assert "It says one." in said and "Payloads do not last from run to run: " in said and "WARNING" not in said


@pytest.fixture
def tools(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's collections, where this process finds them."""
    monkeypatch.syspath_prepend(str(project.folder / "collections"))
    return project.folder / "collections"


def digest(compression: str = "ZIP_DEFLATED") -> str:
    return payload_sources.Sources().digest(MODULE, compression, ["own.missing", "own.tools"])


def write(name: str, text: str = "") -> Callable[[Path], None]:
    """Return what writes a file below a project's collections."""

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return change


@pytest.mark.parametrize(
    "change",
    [
        write(f"{TOOLS}/modules/told.py", TOLD + "\n"),
        write(WORD, 'WORD = "two"\n'),
        write(f"{TOOLS}/module_utils/word/__init__.py", 'WORD = "two"\n'),  # a package is found before a file
        write(f"{TOOLS}/module_utils/WORD.py"),  # from … import WORD could mean a module
        write(f"{TOOLS}/module_utils/deep/er/new.so"),
        write("ansible_collections/own/tools/meta/runtime.yml", "plugin_routing: {}\n"),
        write("ansible_collections/own/missing/plugins/module_utils/more.py", 'MORE = "!"\n'),
        lambda folder: (folder / TOOLS / "module_utils/word.py").unlink(),
    ],
)
def test_whatever_an_import_could_find_is_part_of_the_key(tools: Path, change: Callable[[Path], None]) -> None:
    before = digest()
    assert digest() == before
    write(f"{TOOLS}/module_utils/__pycache__/word.pyc", "compiled")(tools)
    assert digest() == before
    change(tools)
    assert digest() != before


def test_what_builds_a_payload_is_part_of_the_key(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [digest(), digest("ZIP_STORED")]
    for owner, name, value in ((payload_sources, "__version__", "2.19.99"), (sys, "version", "3.11.99")):
        with monkeypatch.context() as changed:
            changed.setattr(owner, name, value)
            seen.append(digest())
    (tmp_path / "own_utils").mkdir()
    monkeypatch.setattr(payload_sources.module_utils_loader, "_get_paths", lambda subdirs: [str(tmp_path / "own_utils")])
    (tmp_path / "own_utils/basic.py").write_text("")  # found before ansible-core's own
    assert len({*seen, digest()}) == 5


def payload(tools: Path, **more: str) -> bytes:
    """Return what a payload of the project's module is made of, in short, and `more`."""
    made = io.BytesIO()
    own = {name: (tools / name).read_text() for name in (f"{TOOLS}/modules/told.py", WORD)}
    with zipfile.ZipFile(made, "w") as parts:
        for name, text in ({"own/__init__.py": ""} | own | more).items():
            parts.writestr(name, text)
    return made.getvalue()


def test_only_what_is_of_the_sources_byte_for_byte_is_kept(tools: Path) -> None:
    sources, soon = payload_sources.Sources(), time.time() + 60
    used = payload_sources.mentioned(payload(tools))
    assert used == ["own.missing", "own.tools"]
    assert sources.made(MODULE, used, payload(tools), soon)
    for name in (WORD, f"{TOOLS}/modules/told.py", f"{TOOLS}/module_utils/gone.py", "ansible/module_utils/basic.py"):
        assert not sources.made(MODULE, used, payload(tools, **{name: "x = 1\n"}), soon)
    assert not sources.made("ansible.legacy.told", used, payload(tools), soon)  # a role's own: the name does not say which


def test_a_source_that_changed_during_the_run_keeps_nothing(tools: Path) -> None:
    began, used = time.time(), ["own.missing", "own.tools"]
    (tools / TOOLS / "module_utils/word/").mkdir()
    (tools / TOOLS / "module_utils/word/__init__.py").write_text("")  # what was built is of word.py, and would hold from now on
    os.utime(tools / TOOLS / "module_utils/word/__init__.py", (0, 0))
    assert not payload_sources.Sources().made(MODULE, used, payload(tools), began - 0.1)


KEY = Key(MODULE, "ZIP_DEFLATED", hashlib.sha256().hexdigest())


def taken(store: Store, key: Key = KEY) -> bytes | None:
    return store.load(key, lambda used: used == ["own.tools"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.write_bytes(b'[]\n{"sha256": 1}\n'),
        lambda path: path.chmod(0o666),
    ],
)
def test_what_is_not_whole_or_open_to_others_is_removed(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store, path = Store(tmp_path / "payloads"), tmp_path / "payloads" / "-".join(KEY)
    store.keep(KEY, ["own.tools"], b"whole")
    assert list(store) == [KEY] and taken(store) == b"whole" and path.stat().st_mode & 0o777 == 0o600
    damage(path)
    assert taken(store) is None and not path.exists()
    assert taken(store) is None


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    store = Store(tmp_path / "payloads")
    store.keep(KEY, ["own.tools"], b"whole")
    (tmp_path / "payloads" / "-".join(KEY)).rename(tmp_path / "elsewhere")
    (tmp_path / "payloads" / "-".join(KEY)).symlink_to(tmp_path / "elsewhere")
    assert taken(store) is None and list(store) == []
    assert (tmp_path / "elsewhere").exists()


def test_a_folder_that_others_can_write_or_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o770)
    with pytest.raises(PermissionError, match="closed to all others. Type: rm -r "):
        Store(tmp_path / "open")
    (tmp_path / "own").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    with pytest.raises(OSError, match="link"):
        Store(tmp_path / "link")


def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    place = Path("/usr")  # root's, for everybody else
    if os.geteuid() == 0:
        place = tmp_path
        os.chown(place, 65534, 65534)
        place.chmod(0o700)
    with pytest.raises(PermissionError, match="must belong to the user"):
        Store(place)


def in_a_child(part: Callable[[], None]) -> int:
    """Do a part in a process of its own and return its id."""
    child = os.fork()
    if child:
        return child
    try:
        part()
    finally:
        os._exit(1)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(tmp_path / "payloads")

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            store.keep(KEY, ["own.tools"], bytes(100_000))
        except OSError:
            os._exit(0)

    assert os.waitpid(in_a_child(fill), 0)[1] == 0
    assert os.listdir(tmp_path / "payloads") == []


def test_a_process_killed_while_it_writes_leaves_no_half_payload(tmp_path: Path) -> None:
    store, whole = Store(tmp_path / "payloads"), os.urandom(8_000_000)

    def write_on() -> None:
        while True:
            store.keep(KEY, ["own.tools"], whole)

    child = in_a_child(write_on)
    while not (list(store) and any(name.startswith(".") for name in os.listdir(tmp_path / "payloads"))):
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert taken(store) == whole
    for name in os.listdir(tmp_path / "payloads"):
        if name.startswith("."):
            os.utime(tmp_path / "payloads" / name, (0, time.time() - HALF - 1))
    store.prune()
    assert os.listdir(tmp_path / "payloads") == ["-".join(KEY)]


def test_what_no_run_takes_goes(tmp_path: Path) -> None:
    store = Store(tmp_path / "payloads")
    keys = [KEY._replace(digest=hashlib.sha256(bytes([place % 256, place // 256])).hexdigest()) for place in range(MOST + 2)]
    for place, key in enumerate(keys):
        store.keep(key, ["own.tools"], b"x")
        os.utime(tmp_path / "payloads" / "-".join(key), (0, time.time() - UNUSED - 60 if place == 5 else time.time() - 7200 + place))
    assert taken(store, keys[0]) == b"x"  # the oldest but for this
    store.prune()
    assert len(list(store)) == MOST and keys[0] in list(store)
    assert keys[1] not in list(store) and keys[5] not in list(store)
