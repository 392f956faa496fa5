"""What a proof depends on, read in one call."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.classroom.gpu.plugins.module_utils.conda import prefix as conda_prefix
from ansible_collections.classroom.gpu.plugins.module_utils.course import download
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import facts as gpu_facts
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import probe as gpu_probe
from ansible_collections.classroom.gpu.plugins.modules import gpu_info, seat_evidence, uv_env


@pytest.fixture(autouse=True)
def probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has no modinfo of a driver; what is asked of it is not what is tried here."""
    monkeypatch.setattr(gpu_probe, "modinfo", lambda module, kernel: "")


def run(module: object, **options: object) -> dict:
    """Run a module and return what it says."""
    answer = io.StringIO()
    stdout, sys.stdout = sys.stdout, answer
    try:
        with patch_module_args(options), pytest.raises(SystemExit):
            module.main()
    finally:
        sys.stdout = stdout
    return json.loads(answer.getvalue())


def test_times_are_told_as_stat_tells_them(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("file", "none", "folder", "link")]
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    told = run(seat_evidence, paths=paths)
    stat = subprocess.run(["stat", "--format=%n %.9Z", *paths], capture_output=True, text=True)
    assert told["evidence"] == stat.stdout.splitlines() and len(told["evidence"]) == 3
    assert told["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert not told["changed"]
    assert abs(told["now"] - time.time()) < 60
    assert (told["troubles"], told["inside"]) == ([], {})  # where no service is named nothing else is looked at


def test_a_repair_of_content_owner_or_mode_is_evidence_and_a_look_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "jupyter"
    (folder / "kernels/dl_aws").mkdir(parents=True)
    file = folder / "kernels/dl_aws/kernel.json"
    file.write_text("{}")
    paths = [f"{folder}/**", str(tmp_path / "none*")]
    before = seat_evidence.evidence(paths)
    assert [line.split()[0] for line in before] == [f"{folder}/", *map(str, (folder / "kernels", file.parent, file))]
    file.read_text()
    assert seat_evidence.evidence(paths) == before
    for touch in (lambda: file.chmod(0o600), lambda: file.write_text("{}"), lambda: (folder / "new").touch()):
        touch()
        assert seat_evidence.evidence(paths) != before
        before = seat_evidence.evidence(paths)


def test_what_the_roles_write_where_they_repair_is_evidence() -> None:
    """Each module's own books, by the names that the modules use, and all of Jupyter's settings and kernels."""
    root = Path(__file__).parents[2]
    paths = yaml.safe_load((root / "playbooks/tasks/prove.yml").read_text())[0]["classroom.gpu.seat_evidence"]["paths"]
    books = (f"/{conda_prefix.STATE}", f"/{uv_env.STATE}", f"/{download.PARTIAL}/verified.json", "/dpkg/status")
    assert [book for book in books if not any(path.endswith(book) for path in paths)] == []
    tasks = yaml.safe_load((root / "roles/jupyter/tasks/main.yml").read_text())
    written = [item["path"] for task in tasks for item in task.get("classroom.gpu.managed_files", {}).get("files", [])]
    served = [path for path in written if path.startswith("/etc/jupyter/") or path.endswith("/jupyter.service")]
    assert len(served) > 10 and [path for path in served if not any(fnmatchcase(path, pattern) for pattern in paths)] == []


def test_the_seat_is_looked_at_where_its_service_is_named() -> None:
    told = run(seat_evidence, paths=[], service="no-such.service", port=1, user="nobody-at-all", folders=[])
    assert set(told["inside"]) == {"listens", "answers", "rules", "startup"} and not told["inside"]["listens"]
    assert all(isinstance(sentence, str) for sentence in told["troubles"])


def test_the_layers_are_those_of_gpu_info() -> None:
    info = run(gpu_info)
    layers = run(seat_evidence, paths=[])["layers"]
    assert layers == {key: info[key] for key in layers}
    assert set(layers) == set(yaml.safe_load(gpu_info.RETURN))


def test_a_gpu_that_nobody_knows_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    device = {"address": "0000:00:1e.0", "device": "0x2c3f", "model": "device 0x2c3f", "architecture": "Blackwell", "capability": "10.0"}
    monkeypatch.setattr(gpu_facts, "gpus", lambda: [device | {"known": known} for known in (True, False)])
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda self, sentence: said.append(sentence))
    for module, options in ((gpu_info, {}), (seat_evidence, {"paths": []})):
        run(module, **options)
        assert len(said) == 1 and "The GPU 0x2c3f at 0000:00:1e.0" in said.pop()
