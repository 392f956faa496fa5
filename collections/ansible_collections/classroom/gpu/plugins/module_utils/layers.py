"""A seat's GPU layers: what was seen of driver, toolkits, cuDNN and framework, against what its stack wants."""

from __future__ import annotations


def same_version(wanted: str, found: str) -> bool:
    """Tell whether two versions agree as far as both are told: 580 and 580.126.09 do, 9.28.0.42 and 9.28.0 too."""
    pairs = zip(wanted.split("."), found.partition("+")[0].partition("-")[0].split("."), strict=False)
    return bool(found) and all(one == other for one, other in pairs)


def checked(name: str, expected: str, found: str, trouble: str = "") -> dict:
    """Return a check; `trouble` is the sentence that says what is wrong, empty if nothing is."""
    return {"name": name, "expected": expected or "none", "found": found or "none", "ok": not trouble, "trouble": trouble}


def driver(seen: dict, stack: dict) -> dict:
    """Check that the stack's driver branch is installed and, where a GPU is, at work."""
    wanted, installed, loaded = stack.get("driver") or "", seen["driver"]["installed"], seen["driver"]["loaded"]
    trouble = ""
    if wanted and not same_version(wanted, installed):
        trouble = f"NVIDIA driver {wanted} is wanted and {installed or 'none'} is installed: run site.yml, which installs it"
    elif seen["gpus"] and installed != loaded:
        mend = "end the notebooks and run site.yml, which loads it or reboots"
        trouble = f"{seen['gpus'][0].get('model') or 'the GPU'}: driver {installed} is installed and {loaded or 'none'} is loaded: {mend}"
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


def framework(report: dict, stack: dict) -> dict:
    """Check the framework by the GPU proof's report: the stack's version, and on the GPU where one is or must be."""
    wanted, facts = stack["framework"], report.get("framework")
    found = f"{facts['name']} {facts['version']} on {place(report)}" if facts else ""
    trouble = "" if report["verdict"]["ok"] else report["verdict"]["sentence"]
    if not trouble and not same_version(wanted["version"], facts["version"]):
        trouble = f"{facts['version']} of {facts['name']} is here, and the stack wants {wanted['version']}: run site.yml, which installs it"
    if not trouble and stack.get("gpu") == "required" and report["device"] == "cpu":
        trouble = "the stack needs a GPU, and this machine shows none: end this seat, and site.yml launches another"
    where = "the GPU" if report["gpus"] or stack.get("gpu") == "required" else "CPU (no GPU)"
    outcome = checked("framework", f"{wanted['name']} {wanted['version']} on {where}", found, trouble)
    return outcome | {"report": report}
