"""A seat's GPU layers: what was seen of driver, toolkits, cuDNN and framework, against what its stack wants."""

from __future__ import annotations

# What M(classroom.gpu.gpu_info) tells that a proof is a proof of: all but what differs with how it was asked.
FACTS = ("gpus", "kernels", "running", "driver", "nouveau", "secure_boot", "toolkits", "cudnn")


def facts(seen: dict) -> dict:
    """Return what was seen of the layers, without what Ansible adds to a result."""
    return {key: seen[key] for key in FACTS if key in seen}


def same_version(wanted: str, found: str) -> bool:
    """Tell whether two versions agree as far as both are told: 580 and 580.126.09 do, 9.28.0.42 and 9.28.0 too."""
    pairs = zip(wanted.split("."), found.partition("+")[0].partition("-")[0].split("."), strict=False)
    return bool(found) and all(one == other for one, other in pairs)


def checked(name: str, expected: str, found: str, trouble: str = "") -> dict:
    """Return a check; `trouble` is the sentence that says what is wrong, empty if nothing is."""
    return {"name": name, "expected": expected or "none", "found": found or "none", "ok": not trouble, "trouble": trouble}


def at_boot(seen: dict) -> str:
    """Return what keeps the driver from the kernel that boots next, or nothing; a container has none of its own."""
    installed = seen["driver"]["installed"]
    for kernel in seen["kernels"]:
        if kernel["next_boot"] and (kernel["module"] or {}).get("version") != installed:
            return f"kernel {kernel['version']}, which boots next, has no module of driver {installed}: run site.yml, which builds it"
    return ""


def not_loaded(seen: dict) -> str:
    """Return what keeps the driver from the GPU that the machine has, or nothing."""
    installed, loaded = seen["driver"]["installed"], seen["driver"]["loaded"]
    if not seen["gpus"] or installed == loaded:
        return ""
    reason = seen.get("reason") or f"driver {installed} is installed and {loaded or 'none'} is loaded"
    return f"the {seen['gpus'][0]['model']} is idle, as {reason}; site.yml loads the driver or reboots"


def driver(seen: dict, stack: dict) -> dict:
    """Check that the stack's driver branch is installed, fits the next boot's kernel and, where a GPU is, is at work."""
    wanted, installed = stack.get("driver") or "", seen["driver"]["installed"]
    if wanted and not same_version(wanted, installed):
        trouble = f"NVIDIA driver {wanted} is wanted and {installed or 'none'} is installed: run site.yml, which installs it"
    else:
        trouble = (not_loaded(seen) or at_boot(seen)) if wanted else ""
    return checked("driver", f"{wanted}, loaded" if wanted and seen["gpus"] else wanted, installed, trouble)


def toolkit(seen: dict, stack: dict) -> dict:
    """Check that every CUDA toolkit of the stack is there; others do no harm."""
    wanted, found = stack.get("toolkits") or [], seen["toolkits"]
    missing = [one for one in wanted if not any(same_version(one, other) for other in found)]
    trouble = f"CUDA {', '.join(missing)} is missing: run site.yml, which installs it" if missing else ""
    return checked("toolkit", " and ".join(wanted), " and ".join(found), trouble)


def cudnn(seen: dict, stack: dict) -> dict:
    """Check the version that the system's cuDNN itself tells."""
    wanted, found = stack.get("cudnn") or "", seen["cudnn"]
    missing = wanted and not same_version(wanted, found)
    return checked("cudnn", wanted, found, f"cuDNN {wanted} is wanted and {found or 'none'} is there: run site.yml" if missing else "")


def wanted_framework(stack: dict) -> str:
    """Return the name of the stack's framework as the GPU proof knows it, `none` where it has none."""
    return (stack.get("framework") or {}).get("name") or "none"


def place(report: dict) -> str:
    """Say where a framework computed, from the GPU proof's report."""
    if "device" not in report:
        return "nothing"
    if report["device"] == "cpu":
        return "CPU" if report["gpus"] else "CPU (no GPU)"
    return (report["cuda_driver"].get("devices") or [{"name": "the GPU"}])[0]["name"]


def misplaced(report: dict, seen: dict, stack: dict) -> str:
    """Return why a framework that does its work on the CPU must not, or nothing."""
    if report["device"] != "cpu":
        return ""
    if seen["gpus"]:
        return f"the notebooks do not see the {seen['gpus'][0]['model']} that the machine has: run site.yml with -e interrupt=true"
    return "the stack needs a GPU, and this machine shows none: end this seat, and site.yml launches another" if needs_gpu(stack) else ""


def needs_gpu(stack: dict) -> bool:
    """Tell whether a stack is of no use without a GPU."""
    return stack.get("gpu") == "required"


def framework(report: dict, seen: dict, stack: dict) -> dict:
    """Check the framework by the GPU proof's report: the stack's version, and on the GPU where one is or must be."""
    wanted, told = stack["framework"], report.get("framework")
    trouble = "" if report["verdict"]["ok"] else report["verdict"]["sentence"]
    if not trouble and not same_version(wanted["version"], told["version"]):
        trouble = f"{told['name']} {told['version']} is installed, and the stack wants {wanted['version']}: run site.yml, which installs it"
    where = "the GPU" if seen["gpus"] or needs_gpu(stack) else "CPU (no GPU)"
    found = f"{told['name']} {told['version']} on {place(report)}" if told else ""
    trouble = trouble or misplaced(report, seen, stack)
    return checked("framework", f"{wanted['name']} {wanted['version']} on {where}", found, trouble) | {"report": report}
