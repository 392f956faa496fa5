"""The GPU proof: its verdict on what was seen, GPUs found in sysfs, and the script itself where a framework is broken or absent.

A framework that works is asked by tests/rehearsal/test_story.py (TensorFlow on a seat) and by hand on a machine with a GPU.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import proof as gpu_proof

SCRIPT = gpu_proof.__file__
GPU = {"address": "0000:00:1e.0", "device": "0x1eb8"}
DRIVER = {"cuda": "13.0", "status": 0, "devices": [{"name": "Tesla T4", "memory_bytes": 15828320256}]}
FOR_GPUS = {"name": "tensorflow", "version": "2.21.0", "for_gpus": True, "cuda": "12.5.1", "cudnn": "9"}
FOR_CPUS = {"name": "tensorflow", "version": "2.21.0", "for_gpus": False, "cuda": "", "cudnn": ""}


def product(device="cpu", difference=1e-5, ok=True):
    return {"device": device, "max_abs_difference": difference, "tolerance": 1e-3, "ok": ok, "seconds": 0.1}


def step(device="cpu", before=1.0, after=0.5, ok=True):
    return {"device": device, "loss_before": before, "loss_after": after, "finite": True, "ok": ok, "seconds": 0.1}


def report(device="cpu", gpus=(), driver="", cuda_driver=None, framework=FOR_CPUS, **more):
    seen = {"gpus": list(gpus), "driver": driver, "cuda_driver": cuda_driver or {}, "framework": framework, "device": device}
    return seen | {"product": {"float32": product(device)}, "training": step(device)} | more


ON_GPU = {"device": "gpu:0", "gpus": [GPU], "driver": "580.126.09", "cuda_driver": DRIVER, "framework": FOR_GPUS}
IDLE_GPU = ON_GPU | {"device": "cpu"}


@pytest.mark.parametrize(
    ("seen", "ok", "says"),
    [
        pytest.param({}, True, "no GPU: framework on CPU", id="no GPU"),
        pytest.param(ON_GPU, True, "tensorflow computes on Tesla T4", id="GPU"),
        pytest.param(ON_GPU | {"gpus": []}, True, "tensorflow computes on Tesla T4", id="GPU in a container without sysfs"),
        pytest.param(IDLE_GPU | {"framework": FOR_CPUS}, False, "this tensorflow was built for CPUs only", id="CPU build"),
        pytest.param(IDLE_GPU | {"driver": ""}, False, "the NVIDIA driver is not loaded", id="no driver"),
        pytest.param(IDLE_GPU | {"cuda_driver": {}}, False, "libcuda.so.1 is missing", id="no libcuda"),
        pytest.param(IDLE_GPU | {"cuda_driver": DRIVER | {"status": 803}}, False, "does not match the loaded driver", id="mismatch"),
        pytest.param(IDLE_GPU | {"cuda_driver": DRIVER | {"status": 46}}, False, "answers 46", id="unknown error"),
        pytest.param(IDLE_GPU | {"cuda_driver": DRIVER | {"cuda": "11.4"}}, False, "knows CUDA 11.4, and tensorflow needs 12.5", id="old"),
        pytest.param(ON_GPU | {"product": {"float32": product("gpu:0", 7.0, False)}}, False, "float32 is off by 7 on gpu:0", id="product"),
        pytest.param(ON_GPU | {"training": step("gpu:0", 1, 2, False)}, False, "the loss from 1 to 2 on gpu:0", id="uphill"),
        pytest.param(ON_GPU | {"training": step("cpu")}, False, "different devices: cpu, gpu:0", id="parameters on the CPU"),
        pytest.param({"error": "tensorflow fails to compute: no"}, False, "fails to compute: no", id="error"),
    ],
)
def test_the_verdict_says_why(seen, ok, says):
    outcome = gpu_proof.verdict(report(**seen))
    assert outcome["ok"] is ok
    assert says in outcome["sentence"]


def test_a_hidden_gpu_and_missing_libraries_are_named(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    wanted = FOR_GPUS | {"cuda": "97.1", "cudnn": "98"}
    sentence = "; ".join(gpu_proof.reasons(report(**IDLE_GPU | {"framework": wanted, "cuda_driver": DRIVER | {"cuda": "97.0"}})))
    assert "CUDA_VISIBLE_DEVICES hides it" in sentence
    assert "libcudart.so.97, libcublas.so.97, libcudnn.so.98 cannot be found" in sentence


def test_a_wheels_libraries_are_found(tmp_path, monkeypatch):
    for name in ("cuda_runtime/lib/libcudart.so.97", "cublas/lib/libcublas.so.97", "cudnn/lib/libcudnn.so.98"):
        (tmp_path / "nvidia" / name).parent.mkdir(parents=True)
        (tmp_path / "nvidia" / name).touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert gpu_proof.missing_libraries(FOR_GPUS | {"cuda": "97.1", "cudnn": "98"}) == []


@pytest.mark.parametrize(
    ("device", "called"),
    [
        ("/job:localhost/replica:0/task:0/device:GPU:1", "gpu:1"),
        ("/job:localhost/replica:0/task:0/device:CPU:0", "cpu"),
        ("cuda:0", "gpu:0"),
        ("cuda", "gpu:0"),
        ("cpu", "cpu"),
        ("mps:0", "mps"),
    ],
)
def test_devices_have_one_name(device, called):
    assert gpu_proof.short(device) == called


@pytest.mark.parametrize(("number", "written"), [(92800, "9.28.0"), (91002, "9.10.2"), (8907, "8.9.7"), (7005, "7.0.5")])
def test_cudnns_number_is_written_as_people_do(number, written):
    assert gpu_proof.cudnn_version(number) == written


@pytest.mark.parametrize(("number", "written"), [(13000, "13.0"), (12090, "12.9"), (9000, "9.0")])
def test_cudas_number_is_written_as_people_do(number, written):
    assert gpu_proof.cuda_version(number) == written


OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.126.09  Release Build  (root@seat)  Thu Jan  1 00:00:00 UTC 2026"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.309.01  Mon Jun  1 00:00:00 UTC 2026\nGCC version:  gcc 12.2.0"


@pytest.mark.parametrize(("line", "version"), [(OPEN, "580.126.09"), (CLOSED, "535.309.01"), ("", "")])
def test_the_loaded_drivers_version_is_read(tmp_path, monkeypatch, line, version):
    path = tmp_path / "version"
    path.write_text(line)
    monkeypatch.setattr(gpu_proof, "DRIVER", path)
    assert gpu_proof.loaded_driver() == version


def card(folder: Path, address: str, vendor: str, kind: str) -> None:
    (folder / address).mkdir()
    for name, value in {"vendor": vendor, "class": kind, "device": "0x1eb8"}.items():
        (folder / address / name).write_text(value + "\n")


def test_gpus_are_nvidias_displays_and_nothing_else(tmp_path, monkeypatch):
    card(tmp_path, "0000:00:1e.0", "0x10de", "0x030200")
    card(tmp_path, "0000:00:1d.0", "0x10de", "0x030000")
    card(tmp_path, "0000:00:1d.1", "0x10de", "0x040300")  # the sound of its HDMI
    card(tmp_path, "0000:00:1c.0", "0x10de", "0x068000")  # an NVSwitch
    card(tmp_path, "0000:00:02.0", "0x1d0f", "0x030000")  # EC2's own display
    monkeypatch.setattr(gpu_proof, "PCI", tmp_path)
    assert [gpu["address"] for gpu in gpu_proof.gpus()] == ["0000:00:1d.0", "0000:00:1e.0"]


class Framework:
    """Computes as it is told to: its products' device and difference, its step of training."""

    name = "tensorflow"
    package = "tensorflow"
    device, difference, losses = "cpu", 0.0, (1.0, 0.5)

    def about(self):
        return {"version": "2.21.0", "for_gpus": True, "cuda": "12.5.1", "cudnn": "9"}

    def product(self, dtype):
        return self.device, self.difference

    def step(self):
        return self.device, *self.losses


class Breaking(Framework):
    def product(self, dtype):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCompile with ...")


@pytest.mark.parametrize(
    ("change", "ok", "says"),
    [
        ({}, False, "there is a GPU, but tensorflow computes on the CPU: the NVIDIA driver is not loaded"),
        ({"device": "cuda:0"}, True, "computes on"),
        ({"device": "cuda:0", "difference": 0.2}, False, "a product in float64 is off by 0.2 on gpu:0"),
        ({"device": "cuda:0", "losses": (1.0, float("nan"))}, False, "the loss from 1 to nan"),
    ],
)
def test_what_is_measured_reaches_the_verdict(tmp_path, monkeypatch, change, ok, says):
    card(tmp_path, "0000:00:1e.0", "0x10de", "0x030200")
    monkeypatch.setattr(gpu_proof, "PCI", tmp_path)
    monkeypatch.setattr(gpu_proof, "DRIVER", tmp_path / "none")
    monkeypatch.setitem(gpu_proof.FRAMEWORKS, "tensorflow", type("Told", (Framework,), change))
    outcome = gpu_proof.examine("tensorflow")["verdict"]
    assert outcome["ok"] is ok
    assert says in outcome["sentence"]


def test_half_precision_is_for_gpus():
    assert set(gpu_proof.measure(Framework())["product"]) == {"float64", "float32"}
    assert set(gpu_proof.measure(type("OnGpu", (Framework,), {"device": "cuda:0"})())["product"]) == set(gpu_proof.TOLERANCES)


def test_an_error_while_computing_is_told_in_one_line(monkeypatch):
    monkeypatch.setitem(gpu_proof.FRAMEWORKS, "tensorflow", Breaking)
    outcome = gpu_proof.examine("tensorflow")
    assert outcome["framework"]["version"] == "2.21.0"
    assert outcome["verdict"]["sentence"] == (
        "tensorflow fails to compute: RuntimeError: CUDA error: no kernel image is available for execution on the device"
    )


# --- the script as somebody runs it: -S hides what is installed beside this test ------------------------------------------------------


def run(tmp_path, packages: dict[str, str], *arguments: str) -> tuple[int, dict]:
    for name, source in packages.items():
        (tmp_path / f"{name}.py").write_text(source)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-S", SCRIPT, *arguments], capture_output=True, text=True, env=environment)
    return done.returncode, json.loads(done.stdout)


MISSING = 'raise ImportError("libcudart.so.12: cannot open shared object file: No such file or directory")'


@pytest.mark.parametrize(
    ("packages", "arguments", "status", "says"),
    [
        ({}, [], 1, "neither TensorFlow nor PyTorch is installed here"),
        ({}, ["--framework", "pytorch"], 1, "pytorch is not installed here"),
        ({}, ["--framework", "none"], 0, "no framework was asked for"),
        ({"tensorflow": MISSING}, [], 1, "tensorflow cannot be imported: ImportError: libcudart.so.12"),
        ({"tensorflow": "import google.protobuf"}, [], 1, "tensorflow cannot be imported: ModuleNotFoundError: No module named 'google'"),
        ({"torch": MISSING}, [], 1, "pytorch cannot be imported: ImportError: libcudart.so.12"),  # the framework that is there
        ({"tensorflow": "1 / 0", "torch": MISSING}, ["--framework", "pytorch"], 1, "pytorch cannot be imported"),
    ],
)
def test_the_script_stands_alone(tmp_path, packages, arguments, status, says):
    code, outcome = run(tmp_path, packages, *arguments)
    assert (code, outcome["verdict"]["ok"]) == (status, status == 0)
    assert says in outcome["verdict"]["sentence"]
