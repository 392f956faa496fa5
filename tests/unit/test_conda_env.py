"""classroom.gpu.conda_env: its pure functions as tables, and the module with real engines on a real, tiny channel on loopback."""

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils import conda_prefix

from rehearsal import channel, mirrors

ROOT = Path(__file__).parents[2]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"lib/python{PYTHON}/site-packages"
RUN = """
import sys, json
from ansible.module_utils.testing import patch_module_args
from ansible_collections.classroom.gpu.plugins.modules import conda_env
with patch_module_args(json.load(sys.stdin)):
    conda_env.main()
"""


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
    want = conda_prefix.wanted(yaml.safe_load((folder / "environment.yml").read_text()), (folder / "requirements.txt").read_text(), "http://alias")
    assert "ipykernel" in want.locked


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
    channel.write(channel.Package("python", f"{PYTHON}.0", "0", work / "python"), forge)
    (work / "broken").mkdir()
    channel.write(channel.Package("broken", "1.0", "0", work / "broken", "noarch", ("tool >=99",), index={"noarch": "generic"}), forge)
    made = {(name, version): wheel(wheels, name, version) for name in ("tool", "shared", "brought", "extra") for version in ("1.0", "2.0")}
    for name in ("tool", "shared"):
        channel.write(channel.wheel_package(made[name, "1.0"], work / name), forge)
    channel.index(forge)
    return root


class Seat:
    """One environment, and what a student does to it."""

    def __init__(self, folder: Path, content: Path, server: mirrors.Server) -> None:
        self.folder, self.wheels, self.prefix = folder, content / "wheels", folder / "envs/dl_aws"
        self.prefix.parent.mkdir()
        self.server, self.alias = server, f"http://127.0.0.1:{server.port}/conda"
        self.specs = ["python", "tool", "shared"]

    @property
    def arguments(self) -> dict:
        pins = [("brought", "1.0"), ("shared", "2.0")]
        lines = [f"{name}=={version} --hash=sha256:{self.hash(name, version)}\n" for name, version in pins]
        return {
            "path": str(self.prefix),
            "environment": {"channels": ["forge"], "dependencies": [*self.specs, {"pip": ["brought"]}]},
            "lock": f"--no-index\n--find-links {self.wheels}\n" + "".join(lines),
            "channel_alias": self.alias,
            "tools": sys.prefix,
            "cache": str(self.folder / "pkgs"),
            "patience": 60,
        }

    def hash(self, name: str, version: str) -> str:
        return hashlib.sha256((self.wheels / f"{name}-{version}-py3-none-any.whl").read_bytes()).hexdigest()

    def start(self, check: bool = False) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(ROOT / "collections")}
        process = subprocess.Popen(
            [sys.executable, "-c", RUN], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        process.stdin.write(json.dumps(self.arguments | {"_ansible_check_mode": check}))
        process.stdin.close()
        return process

    def run(self, check: bool = False) -> dict:
        with self.start(check) as process:
            return json.loads(process.stdout.read())

    def uv(self, *arguments: str) -> None:
        source = ("--no-cache", "--no-index", f"--find-links={self.wheels}", f"--python={self.prefix}/bin/python")
        subprocess.run([f"{sys.prefix}/bin/uv", "pip", *arguments, "--quiet", *source], check=True)

    def versions(self) -> dict[str, str]:
        """What the environment's own Python imports."""
        code = "import json, importlib as i\nprint(json.dumps({n: i.import_module(n).version for n in ('tool', 'shared', 'brought')}))"
        return json.loads(subprocess.check_output([self.prefix / "bin/python", "-c", code]))


@pytest.fixture
def seat(tmp_path: Path, content: Path):
    server = mirrors.serve(content, "127.0.0.1", 0)
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


@pytest.mark.parametrize("sign", ["bin/python", "conda-meta/shared-1.0-pyh0_0.json", f"{SITE}/brought"])
def test_a_killed_run_is_completed_by_the_next(seat: Seat, sign: str) -> None:
    process = seat.start()
    deadline = time.monotonic() + 60
    while process.poll() is None and not (seat.prefix / sign).exists():
        assert time.monotonic() < deadline
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    seat.run()
    assert seat.versions() == WANTED
    assert not seat.run()["changed"]


def test_two_runs_at_once_take_turns(seat: Seat) -> None:
    runs = [seat.start(), seat.start()]
    assert sorted(json.loads(run.stdout.read())["changed"] for run in runs) == [False, True]
    assert [run.wait() for run in runs] == [0, 0]
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
