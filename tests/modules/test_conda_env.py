"""classroom.gpu.conda_env: its pure functions as tables, and the module with real engines on a real, tiny channel on loopback."""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import jinja2
import pytest
import rattler
from ansible_collections.classroom.gpu.plugins.module_utils.conda import engine as conda_engine
from ansible_collections.classroom.gpu.plugins.module_utils.conda import prefix as conda_prefix
from ansible_collections.classroom.gpu.plugins.modules import conda_env, conda_lock

from rehearsal.mirrors import build, conda_channel
from tests.support.simulated_hosts import Forked

ROOT = Path(__file__).parents[2]
FAULTY_MIRROR = ROOT / "molecule/conda_env/files/mirror.py"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"lib/python{PYTHON}/site-packages"
ENVIRON = os.environ | {"PYTHONPATH": str(ROOT / "collections")}
PLATFORM = str(rattler.Platform.current())


# --- pure functions -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "lock", "sentence"),
    [
        ({"channels": ["a"], "dependencies": []}, "", "no channels or no conda dependencies"),
        ({"dependencies": ["python"]}, "", "no channels or no conda dependencies"),
        ({"channels": ["a"], "dependencies": ["python", {"pip": ["Six>=1", "Ti_ny"]}]}, "six==1.17.0 \\\n", "does not lock Ti_ny of"),
    ],
)
def test_a_stack_that_does_not_fit_is_refused(environment: dict, lock: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        conda_prefix.wanted(environment, lock, "http://alias")


def test_channels_are_found_below_the_alias() -> None:
    want = conda_prefix.wanted({"channels": ["conda-forge", "https://a/b"], "dependencies": ["python=3.11"]}, "", "http://alias/")
    assert want.channels == ("http://alias/conda-forge", "https://a/b")
    assert want.specs == ("python=3.11",)


@pytest.mark.parametrize("stack", ["rehearsal", "minimal"])
def test_locks_fit_their_environments(stack: str) -> None:
    yaml = pytest.importorskip("yaml")
    folder = ROOT / "stacks" / stack
    want = conda_prefix.wanted(
        yaml.safe_load((folder / "environment.yml").read_text()), (folder / "requirements.txt").read_text(), "http://alias"
    )
    assert "ipykernel" in want.locked


ENVIRONMENT = {"channels": ["forge"], "dependencies": ["python"]}
PYTHON_LINE = f"https://conda.anaconda.org/forge/linux-64/python-3.11-h1_0.conda#{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "packages"),
    [
        ("", ()),
        (f"# a comment\n@EXPLICIT\n{PYTHON_LINE}\n", (PYTHON_LINE.replace("https://conda.anaconda.org", "http://alias"),)),
        ("@EXPLICIT\nfile:///a/b/noarch/x-1-0.tar.bz2#sha256:" + "0" * 64, ("file:///a/b/noarch/x-1-0.tar.bz2#" + "0" * 64,)),
        (conda_prefix.explicit_text(ENVIRONMENT, "linux-64", [PYTHON_LINE], "https://other"), None),
    ],
)
def test_a_conda_lock_is_read(text: str, packages: tuple[str, ...] | None) -> None:
    want = conda_prefix.wanted(ENVIRONMENT, "", "http://alias/", text)
    assert packages is None or want.explicit == packages
    assert want.named == ({"python": "3.11"} if text and "python" in text else {"x": "1"} if text else {"python": "(unsolved)"})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (PYTHON_LINE, "no line @EXPLICIT"),
        ("@EXPLICIT\n", "no line @EXPLICIT with packages below it"),
        (f"@EXPLICIT\n{PYTHON_LINE[:-1]}\n", "is no URL#SHA256 of a package"),
        (f"# environment: {'0' * 64}\n@EXPLICIT\n{PYTHON_LINE}\n", "made from another environment.yml"),
    ],
)
def test_a_conda_lock_that_cannot_be_used_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        conda_prefix.wanted(ENVIRONMENT, "", "http://alias", text)


def test_a_mirror_makes_the_same_lock() -> None:
    near = PYTHON_LINE.replace("https://conda.anaconda.org", "http://alias")
    texts = {conda_prefix.explicit_text(ENVIRONMENT, "linux-64", [line], "http://alias/") for line in (near, PYTHON_LINE)}
    assert len(texts) == 1 and PYTHON_LINE in texts.pop()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("failed to fetch a-1.conda\nCaused by: x\nCaused by: hash mismatch", "^http://m/a-1.conda could not be fetched whole: hash"),
        ("failed to link b\nCaused by: x\nCaused by: No space left on device", "^failed to link b: No space left on device$"),
        ("Cannot solve the request because of: six >=99\n└─ no candidates", "six >=99\n└─ no candidates$"),
    ],
)
def test_an_engine_explains_itself_in_a_sentence(error: str, sentence: str) -> None:
    assert re.search(sentence, conda_engine.explanation(error, {"a-1.conda": "http://m/a-1.conda"}))


def test_a_report_tells_additions_removals_changes_and_repairs() -> None:
    result = conda_prefix.report({"a": "1", "b": "1", "c": "1"}, {"b": "2", "c": "1", "d": "1"}, ["c", "gone"])
    assert (result["added"], result["removed"], result["changed_packages"], result["repaired"]) == (["d 1"], ["a 1"], ["b 1 -> 2"], ["c"])
    assert result["diff"] == {"before": "a 1\nb 1\nc 1 (damaged)\n", "after": "b 2\nc 1\nd 1\n"}


@pytest.mark.parametrize(
    ("content", "entry", "since", "whole"),
    [
        ("text", {}, 0, True),
        ("Text", {}, 0, False),
        ("Text", {}, float("inf"), True),
        (None, {}, float("inf"), False),
        ("longer text", {"size_in_bytes": 4}, float("inf"), False),
        (None, {"_path": "gone.pyc"}, 0, True),
        ("text", {"path_type": "softlink"}, 0, False),
        ("with prefix", {"sha256_in_prefix": hashlib.sha256(b"with prefix").hexdigest()}, 0, True),
    ],
)
def test_files_are_compared_when_they_changed(tmp_path: Path, content: str | None, entry: dict, since: float, whole: bool) -> None:
    if content is not None:
        (tmp_path / "file").write_text(content)
    entry = {"_path": "file", "path_type": "hardlink", "sha256": hashlib.sha256(b"text").hexdigest()} | entry
    assert conda_prefix.intact(tmp_path, entry, since) is whole


@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"digest": "x"}'])
def test_a_broken_state_means_that_nothing_is_known(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "conda-meta").mkdir()
    if content is not None:
        (tmp_path / conda_prefix.STATE).write_text(content)
    assert conda_prefix.read_state(tmp_path)["since"] == 0.0


# --- the module, with py-rattler and uv -----------------------------------------------------------------------------------------------


def wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel of one module, as any builder writes it."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": f'version = "{version}"\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    listing = "".join(f"{path},sha256={digest(text)},{len(text)}\n" for path, text in files.items()) + f"{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in (files | {f"{info}/RECORD": listing}).items():
            archive.writestr(member, text)
    return path


def digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


# conda itself cannot be had for a test. What is tested with this is who calls whom; it says that it is a stand-in.
STAND_IN = {
    "bin/python": "#!/bin/sh\necho stand-in\n",
    "bin/activate": 'export ACTIVATED_BY="a stand-in for conda: $1"\n',
    "etc/profile.d/conda.sh": 'conda() { echo "a stand-in for conda $*"; }\n',
}


# A package with all that the engine does more than copy: another layout, links, entry points, and the environment's path in files.
MANY = {
    "site-packages/many/__init__.py": "def main(): ...\n",
    "python-scripts/many-script": "#!/bin/sh\n",
    "etc/many": f"{conda_channel.PLACEHOLDER}/etc\n",
    "lib/many": f"\0{conda_channel.PLACEHOLDER}/lib:{conda_channel.PLACEHOLDER}/lib64\0\0rest",
}


def contents(prefix: Path) -> dict[str, tuple]:
    """Mode and bytes, or target, of everything in an environment but Python's own cache and what tells times."""
    paths = [path for path in prefix.rglob("*") if path.is_symlink() or path.is_file()]
    kept = [path for path in paths if "__pycache__" not in path.parts and path.parent.name != "conda-meta"]
    return {str(path): (path.lstat().st_mode, os.readlink(path) if path.is_symlink() else path.read_bytes()) for path in kept}


def write_tree(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror with a channel: a Python that is this test's own, and packages `tool` and `shared` with one module each."""
    root = tmp_path_factory.mktemp("mirror")
    forge, work, wheels = root / "conda/forge", root / "work", root / "wheels"
    (work / "python/bin").mkdir(parents=True)
    wheels.mkdir()
    real = Path(sys.executable).resolve()
    (work / "python/bin/python").symlink_to(real)
    (work / "python/pyvenv.cfg").write_text(f"home = {real.parent}\n")
    conda_channel.write(conda_channel.Package("python", f"{PYTHON}.0", "0", work / "python"), forge)
    (work / "broken").mkdir()
    generic = {"index": {"noarch": "generic"}, "subdir": "noarch"}
    conda_channel.write(conda_channel.Package("broken", "1.0", "0", work / "broken", depends=("tool >=99",), **generic), forge)
    write_tree(work / "conda", STAND_IN)
    conda_channel.write(conda_channel.Package("conda", "1.0", "0", work / "conda", **generic), forge)
    conda_channel.write(conda_channel.Package("accelerated", "1.0", "0", work / "broken", depends=("__cuda >=12",), **generic), forge)
    write_tree(work / "many", MANY)
    (work / "many/lib/many.so.1").symlink_to("many")
    link = {"noarch": {"type": "python", "entry_points": ["many = many:main"]}, "package_metadata_version": 1}
    conda_channel.write(
        conda_channel.Package("many", "1.0", "0", work / "many", "noarch", ("python",), index={"noarch": "python"}, link=link), forge
    )
    made = {(name, version): wheel(wheels, name, version) for name in ("tool", "shared", "brought", "extra") for version in ("1.0", "2.0")}
    for name in ("tool", "shared", "extra"):
        conda_channel.write(conda_channel.wheel_package(made[name, "1.0"], work / name), forge)
    conda_channel.index(forge)
    return root


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


class Seat:
    """One environment, and what a student does to it."""

    def __init__(self, folder: Path, content: Path, server: build.Server) -> None:
        self.folder, self.wheels, self.prefix = folder, content / "wheels", folder / "envs/dl_aws"
        self.prefix.parent.mkdir()
        self.server, self.alias = server, f"http://127.0.0.1:{server.port}/conda"
        self.specs, self.options = ["python", "tool", "shared"], {}

    @property
    def arguments(self) -> dict:
        pins = [("brought", "1.0"), ("shared", "2.0")]
        lines = [f"{name}=={version} --hash=sha256:{self.hash(name, version)}\n" for name, version in pins]
        options = {
            "path": str(self.prefix),
            "environment": {"channels": ["forge"], "dependencies": [*self.specs, {"pip": ["brought"]}]},
            "lock": f"--no-index\n--find-links {self.wheels}\n" + "".join(lines),
            "channel_alias": self.alias,
            "tools": sys.prefix,
            "cache": str(self.folder / "pkgs"),
            "patience": 60,
        } | self.options
        return {name: value for name, value in options.items() if value is not None}

    def hash(self, name: str, version: str) -> str:
        return hashlib.sha256((self.wheels / f"{name}-{version}-py3-none-any.whl").read_bytes()).hexdigest()

    def start(self, check: bool = False) -> Forked:
        return Forked(conda_env, self.arguments | {"_ansible_check_mode": check})

    def run(self, check: bool = False) -> dict:
        return self.start(check).result()

    def lock_conda(self, **options: object) -> dict:
        """Make the lock of the conda packages, as playbooks/lock.yml does."""
        machine = {"__archspec": "1", "__cuda": "", "__glibc": "2.35", "__linux": "5.15"}
        own = {"dest": str(self.folder / "conda.lock"), "tools": sys.executable, "virtual_packages": machine, "platform": PLATFORM}
        given = {key: self.arguments[key] for key in ("environment", "channel_alias")}
        return Forked(conda_lock, given | own | options).result()

    def conda_install(self, spec: str) -> None:
        """What a student's own `conda install` does: another package, beside those that are there."""
        there = [f"{record['name']} =={record['version']}" for record in map(read_json, self.prefix.glob("conda-meta/*.json"))]
        empty = {"virtual_packages": {}, "platform": "", "optional": False, "explicit": [], "reinstall": [], "install": True, "solve": True}
        place = {"prefix": str(self.prefix), "cache": str(self.folder / "student"), "channels": [f"{self.alias}/forge"]}
        request, command = json.dumps(empty | place | {"specs": [*there, spec]}), [sys.executable, "-m", conda_engine.__name__]
        subprocess.run(command, input=request, env=ENVIRON, text=True, check=True, capture_output=True)
        assert list(self.prefix.glob(f"conda-meta/{spec}-*.json"))

    def uv(self, *arguments: str) -> None:
        source = ("--no-cache", "--no-index", f"--find-links={self.wheels}", f"--python={self.prefix}/bin/python")
        subprocess.run([f"{sys.prefix}/bin/uv", "pip", *arguments, "--quiet", *source], check=True)

    def versions(self) -> dict[str, str]:
        """What the environment's own Python imports."""
        code = "import json, importlib as i\nprint(json.dumps({n: i.import_module(n).version for n in ('tool', 'shared', 'brought')}))"
        return json.loads(subprocess.check_output([self.prefix / "bin/python", "-c", code]))


@pytest.fixture
def seat(tmp_path: Path, content: Path):
    server = build.serve(content, "127.0.0.1", 0)
    yield Seat(tmp_path, content, server)
    server.close()


@pytest.fixture
def made(seat: Seat) -> Seat:
    assert seat.run()["changed"]
    return seat


WANTED = {"tool": "1.0", "shared": "2.0", "brought": "1.0"}


def test_check_mode_says_what_a_run_then_does(seat: Seat) -> None:
    forecast = seat.run(check=True)
    assert forecast["changed"] and not seat.prefix.exists()
    result = seat.run()
    assert result["added"] == forecast["added"] == ["brought 1.0", f"python {PYTHON}.0", "shared 2.0", "tool 1.0"]
    assert seat.versions() == WANTED


def test_a_second_run_changes_nothing_and_needs_no_network(made: Seat) -> None:
    made.server.close()
    before = {path: path.stat().st_ctime_ns for path in made.prefix.rglob("*") if path.is_file()}
    for check in (False, True):
        assert not made.run(check)["changed"]
    assert {path: path.stat().st_ctime_ns for path in before} == before


def test_files_of_both_makers_are_repaired(made: Seat) -> None:
    site = made.prefix / SITE
    (site / "tool/__init__.py").unlink()
    (site / "brought/__init__.py").write_text("raise SystemExit\n")
    (site / "shared-2.0.dist-info/RECORD").unlink()
    forecast = made.run(check=True)
    result = made.run()
    assert result["repaired"] == forecast["repaired"] == ["brought", "shared", "tool"]
    assert made.versions() == WANTED
    assert not made.run()["changed"]


@pytest.fixture
def many(seat: Seat) -> Seat:
    seat.specs.append("many")
    assert "many 1.0" in seat.run()["added"]
    return seat


def test_a_repair_needs_no_channel_and_no_engine(many: Seat) -> None:
    before = contents(many.prefix)
    many.server.close()
    many.options = {"tools": str(many.folder / "no-tools")}
    for lost in (f"{SITE}/tool/__init__.py", f"{SITE}/many", "bin/many-script", "lib/many.so.1", "bin/python"):
        path, package = many.prefix / lost, next(name for name in ("tool", "many", "python") if name in lost.removeprefix(SITE))
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert (many.run()["repaired"], contents(many.prefix)) == ([package], before)
    assert not many.run()["changed"]


def test_what_was_written_at_the_installation_is_written_again(many: Seat) -> None:
    """An entry point, and the prefix in a text and in a library: the engine's work."""
    before = contents(many.prefix)
    many.server.close()
    for lost in ("bin/many", "etc/many", "lib/many"):
        assert str(many.prefix).encode() in (many.prefix / lost).read_bytes()
        (many.prefix / lost).write_text("damaged\n")
        assert (many.run()["repaired"], contents(many.prefix)) == (["many"], before)
    assert not many.run()["changed"]


@pytest.mark.parametrize("harm", ["damaged", ""])
def test_a_damaged_package_in_the_cache_is_not_used(made: Seat, harm: str) -> None:
    """Neither altered bytes, nor what a killed copy has left."""
    cached, own = next(made.folder.glob("pkgs/tool-1.0-*/site-packages/tool/__init__.py")), made.prefix / SITE / "tool/__init__.py"
    cached.write_text(harm) if harm else cached.unlink()
    own.with_name("__init__.py.new").write_text("half a copy")
    own.unlink()
    assert made.run()["repaired"] == ["tool"]
    assert made.versions() == WANTED
    assert not made.run()["changed"]


def test_a_student_who_alters_what_was_repaired_leaves_the_cache_as_it_is(made: Seat) -> None:
    own = made.prefix / SITE / "tool/__init__.py"
    for _ in range(2):
        with own.open("a") as file:
            file.write("raise SystemExit\n")
        assert made.run()["repaired"] == ["tool"]
        assert made.versions() == WANTED


def test_what_changes_right_after_a_run_is_seen(made: Seat) -> None:
    path = made.prefix / SITE / "tool/__init__.py"
    for _ in range(2):
        path.write_text(path.read_text().replace("1.0", "6.6"))
        os.utime(path, (0, 0))
        assert made.run()["repaired"] == ["tool"]


def test_a_repair_that_does_not_last_is_an_error(made: Seat) -> None:
    """A process of the student's goes on writing into a package, whose copy in the cache is lost as well."""
    own = made.prefix / SITE / "tool/__init__.py"
    next(made.folder.glob("pkgs/tool-1.0-*/site-packages/tool/__init__.py")).unlink()
    own.unlink()
    done = threading.Event()

    def write() -> None:
        while not done.wait(0.001):
            with suppress(FileNotFoundError):  # between the old folder and the new
                own.write_text("mine\n")

    with ThreadPoolExecutor() as pool:
        writer = pool.submit(write)
        result = made.run()
        done.set()
    assert writer.exception() is None
    assert result["failed"] and "tool was damaged again at once" in result["msg"]
    assert made.run()["changed"]
    assert made.versions() == WANTED


def test_an_environment_whose_python_is_gone_is_repaired(made: Seat) -> None:
    shutil.rmtree(made.prefix / "bin")
    shutil.rmtree(made.prefix / SITE)
    assert made.run()["changed"]
    assert made.versions() == WANTED
    assert not made.run()["changed"]


def test_changed_versions_are_put_back_and_additions_kept(made: Seat) -> None:
    made.uv("install", "brought==2.0", "tool==2.0", "extra")
    forecast = made.run(check=True)
    result = made.run()
    assert result.get("changed"), result
    assert forecast["changed"]
    assert result["kept"] == ["extra"]
    assert made.versions() == WANTED
    assert (made.prefix / SITE / "extra/__init__.py").exists()
    assert not made.run()["changed"]


def test_a_lost_record_of_conda_is_written_again(made: Seat) -> None:
    next(made.prefix.glob("conda-meta/tool-*.json")).write_text("{")
    assert made.run()["changed"]
    assert made.versions() == WANTED
    assert not made.run()["changed"]


@pytest.mark.parametrize(
    "sign", [*(pytest.param(one, marks=pytest.mark.slow) for one in ("bin/python", "conda-meta/shared-1.0-pyh0_0.json")), f"{SITE}/brought"]
)
def test_a_killed_run_is_completed_by_the_next(seat: Seat, sign: str) -> None:
    process = seat.start()
    deadline = time.monotonic() + 60
    while process.is_alive() and not (seat.prefix / sign).exists():
        assert time.monotonic() < deadline
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    seat.run()
    assert seat.versions() == WANTED
    assert not seat.run()["changed"]


def test_two_runs_at_once_take_turns(seat: Seat) -> None:
    runs = [seat.start(), seat.start()]
    assert sorted(run.result()["changed"] for run in runs) == [False, True]
    assert [run.exitcode for run in runs] == [0, 0]
    assert seat.versions() == WANTED


def test_the_solver_explains_what_cannot_be(seat: Seat) -> None:
    seat.specs = ["python", "broken"]
    result = seat.run()
    assert result["failed"] and "tool >=99, for which no candidates were found" in result["msg"]
    assert not seat.prefix.exists()


def test_a_channel_that_does_not_answer_is_named(seat: Seat) -> None:
    seat.alias = "http://127.0.0.1:9/conda"
    result = seat.run()
    assert result["failed"] and "http://127.0.0.1:9/conda/forge" in result["msg"]


@pytest.mark.parametrize(
    ("fault", "names"), [pytest.param(("--corrupt", "tool"), "tool-1.0", marks=pytest.mark.slow), (("--die-after", "1"), "")]
)
def test_a_mirror_that_fails_is_named_and_the_next_run_completes(seat: Seat, fault: tuple[str, ...], names: str) -> None:
    good, upstream = seat.alias, seat.alias.removesuffix("/conda")
    with subprocess.Popen([sys.executable, FAULTY_MIRROR, "0", upstream, *fault], stdout=subprocess.PIPE, text=True) as mirror:
        seat.alias = f"http://127.0.0.1:{mirror.stdout.readline().strip()}/conda"
        result = seat.run()
        mirror.kill()
    assert result["failed"] and "\n" not in result["msg"] and f"{seat.alias}/forge/" in result["msg"] and names in result["msg"]
    seat.alias = good
    seat.run()
    assert seat.versions() == WANTED
    assert not seat.run()["changed"]


def test_a_students_conda_package_is_kept(made: Seat) -> None:
    made.conda_install("extra")
    (made.prefix / SITE / "tool/__init__.py").unlink()
    result = made.run()
    assert (result["kept"], result["repaired"], result["removed"]) == (["extra"], ["tool"], [])
    assert (made.prefix / SITE / "extra/__init__.py").exists()
    assert not made.run()["changed"]


def test_a_removed_package_is_installed_and_one_that_the_stack_drops_goes(made: Seat) -> None:
    for path in [*(made.prefix / SITE).glob("tool*"), *made.prefix.glob("conda-meta/tool-*.json")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert made.run()["added"] == ["tool 1.0"]
    made.specs = ["python", "shared"]
    assert made.run()["removed"] == ["tool 1.0"]


def test_what_nobody_seems_to_have_touched_is_read_when_asked(made: Seat) -> None:
    path, state = made.prefix / SITE / "tool/__init__.py", made.prefix / conda_prefix.STATE
    path.write_text(path.read_text().replace("1.0", "6.6"))
    state.write_text(json.dumps(read_json(state) | {"since": time.time() + 3600}))
    assert not made.run()["changed"]
    made.options = {"deep": True}
    assert made.run()["repaired"] == ["tool"]
    assert made.versions() == WANTED


def test_a_lock_is_installed_without_a_solver(seat: Seat, content: Path, tmp_path: Path) -> None:
    assert seat.lock_conda(_ansible_check_mode=True)["changed"] and not (tmp_path / "conda.lock").exists()
    assert [seat.lock_conda()["changed"] for _ in range(2)] == [True, False]
    lock = (tmp_path / "conda.lock").read_text()
    assert f"https://conda.anaconda.org/forge/{PLATFORM}/python-{PYTHON}.0-0.conda#" in lock
    seat.server.close()
    shutil.copytree(content / "conda", tmp_path / "unsolvable/conda")
    for index in tmp_path.glob("unsolvable/conda/forge/*/repodata*"):
        index.unlink()
    seat.server = build.serve(tmp_path / "unsolvable", "127.0.0.1", 0)
    seat.alias, seat.options = f"http://127.0.0.1:{seat.server.port}/conda", {"explicit": lock}
    forecast, result = seat.run(check=True), seat.run()
    assert result["added"] == forecast["added"] == ["brought 1.0", f"python {PYTHON}.0", "shared 2.0", "tool 1.0"]
    assert read_json(next(seat.prefix.glob("conda-meta/tool-*.json")))["depends"] == ["python >=3.9"]
    assert not seat.run()["changed"]
    (seat.prefix / SITE / "tool/__init__.py").unlink()
    assert seat.run()["repaired"] == ["tool"]
    assert seat.versions() == WANTED


def test_a_lock_keeps_what_a_student_added_by_conda(made: Seat, tmp_path: Path) -> None:
    made.conda_install("extra")
    made.lock_conda()
    made.options = {"explicit": (tmp_path / "conda.lock").read_text()}
    assert made.run()["kept"] == ["extra"]
    assert (made.prefix / SITE / "extra/__init__.py").exists()
    assert not made.run()["changed"]


@pytest.mark.parametrize(("cuda", "ending"), [("12.9", ""), ("11.8", "__cuda >=12"), ("", "__cuda >=12")])
def test_cuda_is_what_the_stack_says_whatever_the_machine_has(seat: Seat, cuda: str, ending: str) -> None:
    own, seat.specs = {"virtual_packages": {"__cuda": cuda}}, ["accelerated"]
    seat.options = own | {"environment": None, "lock": "", "specs": seat.specs, "channels": ["forge"]}
    forecast = seat.run(check=True)
    assert forecast.get("added") == (None if ending else ["accelerated 1.0"]) and ending in forecast.get("msg", "")
    seat.options = {}
    locked = seat.lock_conda(**own)
    assert locked.get("packages") == (None if ending else {"accelerated": "1.0"}) and ending in locked.get("msg", "")


def test_an_environment_of_specs_comes_and_goes(seat: Seat) -> None:
    seat.options = {"environment": None, "lock": "", "specs": ["tool"], "channels": ["forge"]}
    assert seat.run()["added"] == [f"python {PYTHON}.0", "tool 1.0"]
    seat.options |= {"state": "absent"}
    forecast, result = seat.run(check=True), seat.run()
    assert result["removed"] == forecast["removed"] == [f"python {PYTHON}.0", "tool 1.0"]
    assert not seat.prefix.exists() and not seat.run()["changed"]


def test_one_call_keeps_an_environment_beside_it(seat: Seat) -> None:
    beside = seat.folder / "beside"
    beside.mkdir()
    seat.options = {"also": [{"path": str(beside), "specs": ["tool", "nobody-has-this"], "channels": ["forge"], "optional": True}]}
    assert [seat.run(check=True)["also"][0]["added"], seat.run()["also"][0]["added"]] == [[f"python {PYTHON}.0", "tool 1.0"]] * 2
    again = seat.run()
    assert (again["changed"], again["also"][0]["changed"], len(again["diff"])) == (False, False, 2)
    (beside / "bin/python").unlink()
    result = seat.run()
    assert (result["changed"], result["repaired"], result["also"][0]["repaired"]) == (True, [], ["python"])


def test_a_folder_that_is_no_environment_is_not_deleted(seat: Seat) -> None:
    write_tree(seat.prefix, {"thesis.tex": "years of work"})
    seat.options = {"state": "absent", "environment": None}
    assert "is no conda environment" in seat.run()["msg"] and (seat.prefix / "thesis.tex").exists()
    seat.options |= {"path": str(seat.folder)}
    assert "holds other environments" in seat.run()["msg"]


def test_check_mode_without_a_working_tool_environment_says_so(seat: Seat, tmp_path: Path) -> None:
    for tools in (tmp_path / "none", tmp_path / "damaged"):
        seat.options = {"tools": str(tools)}
        forecast = seat.run(check=True)
        assert forecast["changed"] and f"first makes the tool environment {tools}" in forecast["msg"]
        assert "brought 1.0" in forecast["added"] and "tool (unsolved)" in forecast["added"]
        write_tree(tmp_path / "damaged/bin", {"python": "#!/bin/sh\nexit 1\n", "uv": ""})


@pytest.mark.parametrize("commands", [["conda", "mamba"], ["mamba"]])
def test_source_activate_works_with_conda_and_without(made: Seat, tmp_path: Path, commands: list[str]) -> None:
    """The channel offers (a stand-in for) conda, but no mamba."""
    base = {"path": str(tmp_path), "environment": None, "lock": "", "specs": commands, "channels": ["forge"], "optional": True}
    made.options = base
    assert made.run()["added"] == (["conda 1.0"] if "conda" in commands else [])
    assert not made.run()["changed"]
    templates = {"shim/activate": "activate.j2", "profile": "profile.j2"}
    names = {"ansible_managed": "", "conda_env_root": tmp_path, "conda_env_name": "dl_aws"}
    folder = ROOT / "roles/conda_env/templates"
    write_tree(tmp_path, {path: jinja2.Template((folder / name).read_text()).render(names) for path, name in templates.items()})

    def shell(script: str) -> subprocess.CompletedProcess:
        environment = {"PATH": f"{tmp_path}/shim:{os.environ['PATH']}"}
        return subprocess.run(["bash", "-euc", f". {tmp_path}/profile\n{script}"], env=environment, capture_output=True, text=True)

    for words in ("activate dl_aws", "activate", "activate dl_aws; source activate dl_aws"):
        done = shell(f'source {words}; echo "${{ACTIVATED_BY:-$CONDA_PREFIX $(command -v python) $PS1}}"')
        shim = f"{made.prefix} {made.prefix}/bin/python (dl_aws) "
        assert done.stdout.rstrip("\n") == ("a stand-in for conda: dl_aws" if "conda" in commands else shim), done.stderr
    unknown = shell("source activate nothing")
    assert unknown.returncode == 1 and unknown.stderr.strip() == "activate: there is no environment nothing; choose one of: dl_aws"
    assert shell("conda --version").stdout == ("a stand-in for conda --version\n" if "conda" in commands else "")


@pytest.mark.slow
def test_fifty_creates_in_a_row(seat: Seat) -> None:
    for _ in range(50):
        result = seat.run()
        assert result.get("added"), result
        assert seat.versions() == WANTED
        shutil.rmtree(seat.prefix)


# --- what the system refuses -----------------------------------------------------------------------------------------------------------

NOBODY = 65534
for_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def students(made: Seat) -> Seat:
    """An environment of a student's, who is no root: its folders can be closed. There is no engine, and no channel."""
    made.server.close()
    made.options = {"tools": str(made.folder / "no-tools")}
    ours = (path for path in (made.folder, *made.folder.parents) if path.parent not in (Path("/"), path))
    for above in ours:
        above.chmod(0o755)
    subprocess.run(["chown", "-R", str(NOBODY), made.folder], check=True)
    return made


@for_root
@pytest.mark.parametrize("lost", [("",), ("lib",), (SITE, f"{SITE}/tool"), ("conda-meta",)])
def test_folders_that_lost_their_rights_are_given_back(students: Seat, lost: tuple[str, ...]) -> None:
    for name in reversed(lost):
        (students.prefix / name).chmod(0)
    given = Forked(conda_env, students.arguments, NOBODY).result()
    assert given["changed"] and not given.get("failed"), given
    more = " and 1 more in it" if len(lost) > 1 else ""
    assert f"{students.prefix / lost[0]}{more} had lost owner or rights: given back." in json.dumps(given["warnings"])
    assert students.versions() == WANTED
    assert not Forked(conda_env, students.arguments, NOBODY).result()["changed"]


@for_root
def test_what_another_user_took_is_named_with_the_command(students: Seat) -> None:
    os.chown(students.prefix / "lib", 0, 0)
    (students.prefix / "lib").chmod(0o700)
    engine = students.folder / "no-tools/bin/python"
    engine.parent.mkdir(parents=True)
    engine.write_text("""#!/bin/sh\necho '{"error": "failed to link tool"}'\n""")
    engine.chmod(0o755)
    refused = Forked(conda_env, students.arguments, NOBODY).result()
    lib = students.prefix / "lib"
    assert refused["failed"] and f"nobody may not use {lib} on " in refused["msg"], refused
    assert refused["msg"].endswith(f"it is root's, mode 0700. Type `sudo chown nobody {lib} && sudo chmod u+rwX {lib}` there.")


@for_root
def test_check_mode_foresees_what_is_given_back(students: Seat) -> None:
    (students.folder / "no-tools").mkdir(mode=0o700)
    (students.prefix / "lib").chmod(0)
    foreseen = Forked(conda_env, students.arguments | {"_ansible_check_mode": True}, NOBODY).result()
    assert foreseen["changed"] and "had lost owner or rights: to be given back." in json.dumps(foreseen["warnings"])


@for_root
def test_a_file_that_cannot_be_read_is_repaired(students: Seat) -> None:
    path = students.prefix / SITE / "tool/__init__.py"
    path.chmod(0)
    os.chown(path, 0, 0)
    assert Forked(conda_env, students.arguments, NOBODY).result()["repaired"] == ["tool"]
    assert students.versions() == WANTED


def test_an_immutable_file_is_named_whichever_engine_met_it(made: Seat) -> None:
    path = made.prefix / SITE / "tool/__init__.py"
    path.write_text("altered")
    if subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode:
        pytest.skip("this disk knows no attributes")
    try:
        refused = made.run()
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
    assert refused["failed"] and f"{path} on " in refused["msg"] and f"`sudo chattr -i {path}`" in refused["msg"], refused
    assert made.run()["repaired"] == ["tool"]
