#!/usr/bin/env python3
"""Prove which device this environment's framework really computes on: a report in JSON, exit status 1 where it is not as it should be.

Stands alone: `python gpu_proof.py` runs wherever TensorFlow or PyTorch is, on a machine that knows nothing of GPU Classroom.
Without a GPU a framework on the CPU is right; with a GPU in the machine it is not.
"""

from __future__ import annotations

import argparse
import ctypes
import glob
import importlib
import json
import math
import os
import platform
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

PCI = Path("/sys/bus/pci/devices")
DRIVER = Path("/proc/driver/nvidia/version")
NVIDIA, DISPLAYS = "0x10de", ("0x0300", "0x0302")  # PCI's vendor, and its classes "VGA" and "3D controller"
NO_GPU = "no GPU: framework on CPU"
SIZE = 256  # rows and columns of the matrices, whose entries lie between -1 and 1
# What a sum of SIZE such products may be off by, rounding at each step: https://en.wikipedia.org/wiki/Machine_epsilon
TOLERANCES = {"float64": 1e-10, "float32": 1e-3, "float16": 0.25}
RATE = 0.1  # of learning: small enough that a step never goes uphill
IMAGES, FILTERS, WEIGHTS = (32, 16, 16), (3, 3, 4), (4, 1)
# https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html
CU_ERRORS = {100: "sees no GPU", 803: "does not match the loaded driver, which a reboot cures", 999: "fails for a reason unknown to it"}


class TensorFlow:
    """TensorFlow, used as a course uses it: it chooses the device itself."""

    name = "tensorflow"
    package = "tensorflow"

    def __init__(self) -> None:
        """Import it, quietly; take GPU memory as it is needed, so that a second notebook finds some, and compute float32 as such."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        self.tf = importlib.import_module("tensorflow")
        for gpu in self.tf.config.list_physical_devices("GPU"):
            self.tf.config.experimental.set_memory_growth(gpu, True)
        self.tf.config.experimental.enable_tensor_float_32_execution(False)

    def about(self) -> dict:
        """Return its version and what it was built with."""
        build = self.tf.sysconfig.get_build_info()
        libraries = {"cuda": build.get("cuda_version", ""), "cudnn": build.get("cudnn_version", "")}
        return {"version": self.tf.__version__, "for_gpus": bool(build.get("is_cuda_build")), **libraries}

    def random(self, shape: tuple, seed: int, dtype: str = "float32"):
        """Return a tensor between -1 and 1 on the CPU, the same in every run."""
        with self.tf.device("CPU:0"):
            return self.tf.cast(self.tf.random.stateless_uniform(shape, (seed, 0), -1, 1, "float64"), dtype)

    def product(self, dtype: str) -> tuple[str, float]:
        """Return the device of a matrix product, and its greatest difference from the CPU's in float64."""
        left, right = (self.random((SIZE, SIZE), seed, dtype) for seed in (1, 2))
        found = self.tf.linalg.matmul(left, right)
        with self.tf.device("CPU:0"):
            expected = self.tf.linalg.matmul(*(self.tf.cast(one, "float64") for one in (left, right)))
            return found.device, float(self.tf.reduce_max(self.tf.abs(self.tf.cast(found, "float64") - expected)))

    def loss(self, weights: list):
        """Return how far a small net is from answering 1 to every image; its convolution is cuDNN's on a GPU."""
        seen = self.tf.nn.conv2d(self.random((*IMAGES, 1), 3), weights[0], 1, "SAME")
        answers = self.tf.linalg.matmul(self.tf.reduce_mean(self.tf.nn.relu(seen), (1, 2)), weights[1])
        return self.tf.reduce_mean((answers - 1.0) ** 2)

    def step(self) -> tuple[str, float, float]:
        """Take one step of training; return the parameters' device, and the loss before and after."""
        shapes = ((*FILTERS[:2], 1, FILTERS[2]), WEIGHTS)
        weights = [self.tf.Variable(self.random(shape, seed)) for seed, shape in enumerate(shapes, start=4)]
        with self.tf.GradientTape() as tape:
            before = self.loss(weights)
        for weight, slope in zip(weights, tape.gradient(before, weights), strict=True):
            weight.assign_sub(RATE * slope)
        return weights[0].device, float(before), float(self.loss(weights))


class PyTorch:
    """PyTorch, used as a course uses it: on `cuda` where that is available."""

    name = "pytorch"
    package = "torch"

    def __init__(self) -> None:
        """Import it, choose the device and compute float32 as such."""
        self.torch = importlib.import_module("torch")
        self.device = "cuda" if self.torch.cuda.is_available() else "cpu"
        self.torch.backends.cuda.matmul.allow_tf32 = False

    def about(self) -> dict:
        """Return its version and what it was built with."""
        built, cudnn = self.torch.version.cuda, self.torch.backends.cudnn.version()
        libraries = {"cuda": built or "", "cudnn": cudnn_version(cudnn) if cudnn else ""}
        return {"version": self.torch.__version__, "for_gpus": built is not None, **libraries}

    def random(self, shape: tuple, seed: int, dtype: str = "float32"):
        """Return a tensor between -1 and 1 on the CPU, the same in every run."""
        chance = self.torch.Generator().manual_seed(seed)
        return (2 * self.torch.rand(shape, generator=chance, dtype=self.torch.float64) - 1).to(getattr(self.torch, dtype))

    def product(self, dtype: str) -> tuple[str, float]:
        """Return the device of a matrix product, and its greatest difference from the CPU's in float64."""
        left, right = (self.random((SIZE, SIZE), seed, dtype) for seed in (1, 2))
        found = left.to(self.device) @ right.to(self.device)
        return str(found.device), float((found.cpu().double() - left.double() @ right.double()).abs().max())

    def loss(self, weights: list):
        """Return how far a small net is from answering 1 to every image; its convolution is cuDNN's on a GPU."""
        images = self.random((IMAGES[0], 1, *IMAGES[1:]), 3).to(self.device)
        seen = self.torch.nn.functional.conv2d(images, weights[0], padding="same")
        return ((seen.relu().mean((2, 3)) @ weights[1] - 1.0) ** 2).mean()

    def step(self) -> tuple[str, float, float]:
        """Take one step of training; return the parameters' device, and the loss before and after."""
        shapes = ((FILTERS[2], 1, *FILTERS[:2]), WEIGHTS)
        weights = [self.random(shape, seed).to(self.device).requires_grad_() for seed, shape in enumerate(shapes, start=4)]
        before = self.loss(weights)
        before.backward()
        with self.torch.no_grad():
            for weight in weights:
                weight -= RATE * weight.grad
            return str(weights[0].device), float(before), float(self.loss(weights))


FRAMEWORKS = {one.name: one for one in (TensorFlow, PyTorch)}


def text(path: Path) -> str:
    """Return what a file holds, without white space at its ends; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def gpus() -> list[dict]:
    """Return the NVIDIA GPUs that the machine has, whether or not any driver knows them."""
    cards = (path for path in sorted(PCI.glob("*")) if text(path / "vendor") == NVIDIA and text(path / "class")[:6] in DISPLAYS)
    return [{"address": path.name, "device": text(path / "device")} for path in cards]


def loaded_driver() -> str:
    """Return the version of the NVIDIA driver in the running kernel, or nothing."""
    found = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)*)\s", text(DRIVER))
    return found.group(1) if found else ""


def cuda_version(number: int) -> str:
    """Return CUDA's number, such as 12090, as people write it."""
    return f"{number // 1000}.{number % 1000 // 10}"


def cudnn_version(number: int) -> str:
    """Return cuDNN's number, such as 92800 (before version 9, such as 8907), as people write it."""
    major = 10000 if number >= 90000 else 1000
    return f"{number // major}.{number % major // 100}.{number % 100}"


def device_of(cuda: ctypes.CDLL, index: int) -> dict:
    """Return the name and the memory of one of CUDA's devices, in bytes."""
    device, memory, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(128)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return {"name": name.value.decode(), "memory_bytes": memory.value}


def cuda_driver() -> dict:
    """Ask the driver's library what it can: its CUDA version, the status of cuInit, and its devices; nothing where it is missing."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return {}
    version, count, status = ctypes.c_int(), ctypes.c_int(), cuda.cuInit(0)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    if status == 0:
        cuda.cuDeviceGetCount(ctypes.byref(count))
    return {"cuda": cuda_version(version.value), "status": status, "devices": [device_of(cuda, one) for one in range(count.value)]}


def loaded_library(name: str) -> str:
    """Return the path of a library that this process has loaded, or nothing."""
    found = re.search(rf"\s(/\S*/{name}\.so\S*)$", text(Path("/proc/self/maps")), re.M)
    return found.group(1) if found else ""


def loaded_libraries() -> dict:
    """Return the versions of CUDA and cuDNN that this process really uses, asked of themselves; nothing on a CPU."""
    cuda, cudnn, number, versions = loaded_library("libcudart"), loaded_library("libcudnn"), ctypes.c_int(), {}
    if cuda and ctypes.CDLL(cuda).cudaRuntimeGetVersion(ctypes.byref(number)) == 0:
        versions["cuda"] = cuda_version(number.value)
    if cudnn:
        versions["cudnn"] = cudnn_version(ctypes.CDLL(cudnn).cudnnGetVersion())
    return versions


def short(device: str) -> str:
    """Return a framework's name of a device (`/job:localhost/…/device:GPU:0`, `cuda:0`, `cpu`) as `gpu:0` or `cpu`."""
    kind, _, number = device.rpartition("/")[2].replace("device:", "").lower().replace("cuda", "gpu").partition(":")
    return f"{kind}:{number or 0}" if kind == "gpu" else kind


def measured_product(framework, dtype: str) -> dict:
    """Multiply two matrices and compare them with the CPU's product."""
    begin = time.monotonic()
    device, difference = framework.product(dtype)
    outcome = {"device": short(device), "max_abs_difference": difference, "tolerance": TOLERANCES[dtype]}
    return outcome | {"ok": difference <= TOLERANCES[dtype], "seconds": round(time.monotonic() - begin, 3)}


def measured_step(framework) -> dict:
    """Take one step of training, which must go downhill."""
    begin = time.monotonic()
    device, before, after = framework.step()
    finite = math.isfinite(before) and math.isfinite(after)
    outcome = {"device": short(device), "loss_before": before, "loss_after": after, "finite": finite}
    return outcome | {"ok": finite and after < before, "seconds": round(time.monotonic() - begin, 3)}


def measure(framework) -> dict:
    """Compute with a framework; return on what, and how well. Half precision is for GPUs: a CPU may not know it."""
    products = {dtype: measured_product(framework, dtype) for dtype in ("float64", "float32")}
    device = products["float32"]["device"]
    if device != "cpu":
        products["float16"] = measured_product(framework, "float16")
    return {"device": device, "product": products, "training": measured_step(framework), "loaded": loaded_libraries()}


def said(error: Exception) -> str:
    """Return an exception in one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def imported(wanted: str) -> tuple[object | None, str]:
    """Return the wanted framework, or the first that is installed (`auto`), and what went wrong where there is none."""
    for name in FRAMEWORKS if wanted == "auto" else [wanted]:
        try:
            return FRAMEWORKS[name](), ""
        except ModuleNotFoundError as error:
            if error.name != FRAMEWORKS[name].package:
                return None, f"{name} cannot be imported: {said(error)}"
        except Exception as error:  # A framework fails in its own ways: that is what is to be told.
            return None, f"{name} cannot be imported: {said(error)}"
    return None, "neither TensorFlow nor PyTorch is installed here" if wanted == "auto" else f"{wanted} is not installed here"


def seen_by(framework) -> dict:
    """Return what a framework says of itself and what it does; `error` where it fails at it."""
    facts = {"name": framework.name} | framework.about()
    try:
        return {"framework": facts} | measure(framework)
    except Exception as error:  # such as CUDA's "no kernel image is available", which each framework wraps differently
        return {"framework": facts, "error": f"{framework.name} fails to compute: {said(error)}"}


def missing_libraries(framework: dict) -> list[str]:
    """Return CUDA's libraries that a framework needs and that are neither among its wheels nor known to the system."""
    wanted = {"libcudart": framework["cuda"], "libcublas": framework["cuda"], "libcudnn": framework["cudnn"]}
    names = [f"{name}.so.{version.split('.')[0]}" for name, version in wanted.items() if version]
    wheels = {Path(path).name for folder in sys.path for path in glob.glob(f"{folder}/nvidia/*/lib/*.so*")}
    return [name for name in names if name not in wheels and not loadable(name)]


def loadable(name: str) -> bool:
    """Tell whether the system's loader finds a library."""
    with suppress(OSError):
        return bool(ctypes.CDLL(name))
    return False


def too_old(driver: dict, framework: dict) -> bool:
    """Tell whether a framework wants a newer major version of CUDA than the driver has; minor ones get on with each other."""
    versions = driver.get("cuda", ""), framework["cuda"]
    return all(versions) and int(versions[0].split(".")[0]) < int(versions[1].split(".")[0])


def driver_reasons(driver: dict, loaded: str) -> list[str]:
    """Return what about the driver keeps a framework from the GPU."""
    if not loaded:
        return ["the NVIDIA driver is not loaded"]
    if not driver:
        return ["the driver's library libcuda.so.1 is missing"]
    status = driver["status"]
    return [f"the driver's library {CU_ERRORS.get(status, f'answers {status}')}"] if status else []


def reasons(report: dict) -> list[str]:
    """Return why a framework does not use the GPU that the machine has, as far as that can be seen."""
    framework, driver = report["framework"], report["cuda_driver"]
    if not framework["for_gpus"]:
        return [f"this {framework['name']} was built for CPUs only"]
    found = driver_reasons(driver, report["driver"])
    if too_old(driver, framework):
        found.append(f"the driver is too old: it knows CUDA {driver['cuda']}, and {framework['name']} needs {framework['cuda']}")
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        found.append("the variable CUDA_VISIBLE_DEVICES hides it")
    missing = missing_libraries(framework)
    return found + ([f"{', '.join(missing)} cannot be found"] if missing else [])


def wrong(report: dict) -> str:
    """Return what was computed wrongly, or nothing."""
    for dtype, product in report["product"].items():
        if not product["ok"]:
            return f"a product in {dtype} is off by {product['max_abs_difference']:.2g} on {product['device']}"
    step = report["training"]
    if not step["ok"]:
        return f"a step of training takes the loss from {step['loss_before']:.4g} to {step['loss_after']:.4g} on {step['device']}"
    used = {step["device"], *(product["device"] for product in report["product"].values())}
    return f"the work went to different devices: {', '.join(sorted(used))}" if len(used) > 1 else ""


def verdict(report: dict) -> dict:
    """Return whether all is as it should be, and one sentence that says so or why not."""
    if "error" in report or wrong(report):
        return {"ok": False, "sentence": report.get("error") or wrong(report)}
    if report["device"] != "cpu":
        names = [device["name"] for device in report["cuda_driver"].get("devices", [])] or ["a GPU"]
        return {"ok": True, "sentence": f"{report['framework']['name']} computes on {names[0]}"}
    if not report["gpus"]:
        return {"ok": True, "sentence": NO_GPU}
    why = "; ".join(reasons(report)) or "nothing that can be seen keeps it from it"
    return {"ok": False, "sentence": f"there is a GPU, but {report['framework']['name']} computes on the CPU: {why}"}


def examine(wanted: str = "auto") -> dict:
    """Return the report, for the framework that is wanted (`auto`: the one that is there; `none`: none is)."""
    python = {"version": platform.python_version(), "executable": sys.executable}
    report = {"python": python, "gpus": gpus(), "driver": loaded_driver(), "cuda_driver": cuda_driver()}
    if wanted == "none":
        return report | {"verdict": {"ok": True, "sentence": "no framework was asked for"}}
    framework, trouble = imported(wanted)
    report |= seen_by(framework) if framework else {"error": trouble}
    return report | {"verdict": verdict(report)}


def main() -> int:
    """Print the report; return 0 where all is as it should be, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = ["auto", *FRAMEWORKS, "none"]
    parser.add_argument("--framework", choices=choices, default="auto", help="which one to ask; by default the first that is there")
    report = examine(parser.parse_args().framework)
    print(json.dumps(report, indent=1))
    return 0 if report["verdict"]["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
