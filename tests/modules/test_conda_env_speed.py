"""How long classroom.gpu.conda_env takes for sixty real packages, beside what every Python can do: ratios of one run.

No time is judged here, because machines differ and are busy; the figures go to test-results/conda_env.json.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rehearsal.mirrors import build, conda_channel

ROOT = Path(__file__).parents[2]
PACKAGES = 60
ENVIRON = os.environ | {"PYTHONPATH": str(ROOT / "collections")}
RUN = """
import importlib, sys, json
from ansible.module_utils.testing import patch_module_args
module = importlib.import_module(sys.argv[1])
with patch_module_args(json.load(sys.stdin)):
    module.main()
"""
MODULE = "ansible_collections.classroom.gpu.plugins.modules.conda_env"


def wheels(folder: Path) -> list[Path]:
    """Sixty of JupyterLab's wheels, compiled and pure; pip checks their hashes."""
    lock = ROOT / "roles/jupyter/files/requirements.txt"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    subprocess.run([*pip, "--only-binary=:all:", f"--dest={folder}", f"--requirement={lock}"], check=True)
    return sorted(folder.glob("*.whl"), key=lambda path: path.name.lower())[:PACKAGES]


def real_channel(folder: Path, work: Path, chosen: list[Path]) -> dict[str, str]:
    """A channel of CPython and these wheels; returns version by name."""
    empty = work / "empty"
    empty.mkdir(parents=True)
    conda_channel.write(conda_channel.python_package(work), folder)
    generic = {"subdir": "noarch", "index": {"noarch": "generic"}}
    conda_channel.write(conda_channel.Package("python_abi", "3.11", "4_cp311", empty, depends=("python 3.11.*",), **generic), folder)
    packages = [conda_channel.wheel_package(wheel, work / wheel.stem) for wheel in chosen]
    for package in packages:
        conda_channel.write(package, folder)
    conda_channel.index(folder)
    return {package.name: package.version for package in packages}


def timed(work: Callable[[], object]) -> tuple[dict[str, float], object]:
    """What some work in other processes takes, by the clock and of processors (which a busy machine blurs less), and its result."""
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    result = work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"clock": round(time.monotonic() - begin, 2), "processor": round(used, 2)}, result


def venv_and_pip(folder: Path, chosen: list[Path]) -> None:
    """The same packages as every Python installs them, from files on this disk."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--no-cache-dir", *chosen], check=True)


def least(work: Callable[[], object]) -> tuple[dict[str, float], object]:
    """The one of three times that took the processors least, for what is so short that a busy machine shows."""
    return min((timed(work) for _ in range(3)), key=lambda run: run[0]["processor"])


def conda_env(arguments: dict, module: str = MODULE) -> dict:
    """Run the module, or another, as Ansible does."""
    done = subprocess.run([sys.executable, "-c", RUN, module], env=ENVIRON, input=json.dumps(arguments), capture_output=True, text=True)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_sixty_packages(tmp_path: Path) -> None:
    chosen = wheels(tmp_path / "wheels")
    versions = real_channel(tmp_path / "mirror/conda/forge", tmp_path / "work", chosen)
    server = build.serve(tmp_path / "mirror", "127.0.0.1", 0)
    arguments = {
        "path": str(tmp_path / "env"),
        "specs": ["python=3.11", *(f"{name}=={version}" for name, version in versions.items())],
        "channels": ["forge"],
        "channel_alias": f"http://127.0.0.1:{server.port}/conda",
        "tools": sys.prefix,
        "cache": str(tmp_path / "cache"),
    }
    pip, _ = timed(lambda: venv_and_pip(tmp_path / "venv", chosen))
    create, created = timed(lambda: conda_env(arguments))
    server.close()
    broken = next(path for path in sorted((tmp_path / "env").glob("lib/python3.11/site-packages/*/__init__.py")) if path.stat().st_size)

    def repair_of_one_file() -> dict:
        broken.unlink()
        return conda_env(arguments)

    nothing, _ = least(lambda: conda_env({}, "ansible.modules.ping"))
    no_op, same = least(lambda: conda_env(arguments))
    deep, read = timed(lambda: conda_env(arguments | {"deep": True}))
    repair, repaired = least(repair_of_one_file)
    assert len(created["added"]) == PACKAGES + 2, created
    assert (same["changed"], read["changed"]) == (False, False)
    assert len(repaired["repaired"]) == 1 and broken.is_file(), repaired
    seconds = {"venv_and_pip": pip, "create": create, "no_op": no_op, "no_op_that_reads_all": deep, "repair_of_one_file": repair}
    figures = {
        "packages": PACKAGES,
        "seconds": seconds | {"a_module_that_does_nothing": nothing},
        "create_beside_venv_and_pip": {by: round(create[by] / pip[by], 3) for by in pip},
        "repair_beside_create": {by: round(repair[by] / create[by], 3) for by in pip},
        "a_module_that_does_nothing_beside_create": {by: round(nothing[by] / create[by], 3) for by in pip},
    }
    (ROOT / "test-results").mkdir(exist_ok=True)
    (ROOT / "test-results/conda_env.json").write_text(json.dumps(figures, indent=1) + "\n")
