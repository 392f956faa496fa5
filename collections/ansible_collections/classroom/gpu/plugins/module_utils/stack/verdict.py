"""Tell whether a stack can run on an instance type under a system, and if not, which two things clash and what works instead.

Pure functions over the tables of compatibility.py: no cloud, no file. A stack is its decoded stack.yml.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import NamedTuple

from ansible_collections.classroom.gpu.plugins.module_utils.gpu import models as gpu_models
from ansible_collections.classroom.gpu.plugins.module_utils.stack import compatibility as tables

TEXTS, LISTS = ("name", "description", "python", "driver", "cudnn"), ("toolkits",)
FRAMEWORK = ("name", "version", "cuda", "cudnn")
IMAGES = re.compile(r"/canonical/ubuntu/server/(?P<ubuntu>[\d.]+)/|/debian/release/(?P<debian>\d+)/")
CODENAMES = {"22.04": "22.04", "jammy": "22.04", "24.04": "24.04", "noble": "24.04"}
ARM = re.compile(r"[a-z]+\d+[a-z]*g[a-z]*(-\w+)?\.")  # t4g, m7gd, c8gn: a g after the generation


class Verdict(NamedTuple):
    """reasons: why not, one sentence each without its full stop; nearest: what works instead; gpu: the machine's, for the plan."""

    reasons: list[str]
    nearest: str
    gpu: str

    @property
    def ok(self) -> bool:
        return not self.reasons


class Machine(NamedTuple):
    """An instance type, its family in the table and its NVIDIA GPU, None where it has none."""

    kind: str
    family: tables.Family | None
    gpu: gpu_models.Model | None


def number(version: str) -> tuple[int, ...]:
    """Return a version as numbers, for comparison."""
    return tuple(int(part) for part in version.split("."))


def between(first: str, version: str, last: str) -> bool:
    return number(first) <= number(version) <= number(last)


def system_of(image: str) -> str:
    """Return the system that the SSM parameter of an image names, as in `Ubuntu 24.04`; empty where it tells none of the table."""
    found = IMAGES.search(image)
    if not found:
        return ""
    name = f"Debian {found['debian']}" if found["debian"] else f"Ubuntu {CODENAMES.get(found['ubuntu'], found['ubuntu'])}"
    return name if name in tables.SYSTEMS else ""


def stack_problems(stack: object) -> list[str]:
    """Return what is wrong with the form of a stack.yml, one sentence each."""
    if not isinstance(stack, dict):
        return ["it holds no settings (see stacks/tensorflow-2026/stack.yml)."]
    wrong = [f"`{key}` has to be a text in quotes." for key in TEXTS if not isinstance(stack.get(key), str)]
    if not isinstance(stack.get("toolkits"), list) or not all(isinstance(one, str) for one in stack["toolkits"]):
        wrong.append("`toolkits` has to be a list of texts in quotes.")
    if stack.get("gpu") not in ("required", "optional"):
        wrong.append("`gpu` has to be required or optional.")
    if not isinstance(stack.get("tf1_kernel", False), bool):
        wrong.append("`tf1_kernel` has to be true or false.")
    if not isinstance(stack.get("data_root", ""), str):
        wrong.append("`data_root` has to be a path.")
    proofs = stack.get("proofs", [])
    if not isinstance(proofs, list) or not all(isinstance(one, dict) and {*one} == {"notebook", "expect"} for one in proofs):
        wrong.append("`proofs` has to be a list, each with `notebook` and `expect`.")
    wrong += framework_problems(stack.get("framework"))
    return wrong or unknown_parts(stack)


def framework_problems(framework: object) -> list[str]:
    """Return what is wrong with a stack's framework; `{}` is none."""
    if framework == {}:
        return []
    if not isinstance(framework, dict) or not all(isinstance(framework.get(key), str) for key in FRAMEWORK):
        return ["`framework` has to be {}, or hold name, version, cuda and cudnn as texts in quotes."]
    return []


def unknown_parts(stack: dict) -> list[str]:
    """Return which parts of a stack the tables do not know: such a stack cannot be judged."""
    framework = stack["framework"]
    unknown = [f"CUDA {one}" for one in [*stack["toolkits"], framework.get("cuda", "")] if one and one not in tables.CUDA]
    unknown += [f"cuDNN {one}" for one in [stack["cudnn"], framework.get("cudnn", "")] if one and not cudnn(one)]
    unknown += [f"{framework['name']} {framework['version']}"] if framework and not wheels(framework) else []
    unknown += [] if stack["driver"].isdigit() else [f"driver branch {stack['driver']!r}"]
    return [f"{one} is not in module_utils/stack/compatibility.py: add a row with its source." for one in dict.fromkeys(unknown)]


def cudnn(version: str) -> tables.Cudnn | None:
    """Return the row that a cuDNN version counts as: the newest that is not newer than it."""
    rows = [row for row in tables.CUDNN if re.fullmatch(r"\d+(\.\d+)+", version) and number(row) <= number(version)]
    return tables.CUDNN[rows[-1]] if rows else None


def wheels(framework: dict) -> tables.Framework | None:
    """Return the row of a framework, by its name and the first two parts of its version."""
    return tables.FRAMEWORKS.get((framework["name"], ".".join(framework["version"].split(".")[:2])))


def machine(kind: str) -> Machine:
    """Return what the table knows of an instance type."""
    family = tables.FAMILIES.get(kind.partition(".")[0])
    return Machine(kind, family, tables.gpu(family) if family else None)


def no_such_type(kind: str) -> str:
    """Return why there is no such instance type, with the nearest one; empty where there is, or where the table cannot tell."""
    name, _, size = kind.partition(".")
    family = tables.FAMILIES.get(name)
    if family and size in family.sizes.split():
        return "" if family.sold else f"EC2 does not sell {kind} any more"
    near = difflib.get_close_matches(name, [other.partition(".")[0] for other in tables.instance_types()], n=1, cutoff=0.75)
    if not family and not (near and name[:1] in ("g", "p")):
        return ""
    sizes = difflib.get_close_matches(f"{(near or [name])[0]}.{size}", tables.instance_types(), n=1, cutoff=0.6)
    return f"EC2 has no instance type {kind}" + (f": did you mean {sizes[0]}?" if sizes else "")


def on_machine(stack: dict, at: Machine) -> Iterator[str]:
    """Yield what clashes between a stack and the kind of machine as such."""
    arm = at.family.machine == "arm64" if at.family else bool(ARM.match(at.kind))
    if arm:
        yield f"{at.kind} has Arm processors, and the stack's packages are for x86_64"
    if not at.gpu and stack["gpu"] == "required":
        has = "an AMD GPU" if at.family else "no GPU"
        yield f"{at.kind} has {has}, and the stack needs one of NVIDIA's"


def of_driver(stack: dict, at: Machine) -> Iterator[str]:
    """Yield what clashes between the stack's driver branch and the machine's GPU."""
    branch, limits = int(stack["driver"]), gpu_models.limits(at.gpu.architecture)
    oldest = max(limits.oldest, at.family.oldest)
    newest = min(one for one in (limits.newest, at.family.newest, branch) if one is not None)
    card = f"the {at.gpu.name} of {at.kind}"
    if branch < oldest:
        yield f"driver {branch} is too old for {card}, which needs {oldest} or newer"
    if branch > newest:
        yield f"driver {branch} is too new for {card}, which {newest} is the last for"


def parts(stack: dict) -> Iterator[tuple[str, tables.Cuda | tables.Cudnn | tables.Framework]]:
    """Yield the parts of a stack that compute on a GPU, each with its name and its row; what is there twice is told once."""
    framework = stack["framework"]
    for version in dict.fromkeys(one for one in [framework.get("cuda", ""), *stack["toolkits"]] if one):
        yield f"CUDA {version}", tables.CUDA[version]
    for version in dict.fromkeys(one for one in [framework.get("cudnn", ""), stack["cudnn"]] if one):
        yield f"cuDNN {version}", cudnn(version)
    if framework.get("cuda"):
        yield f"{framework['name']} {framework['version']}", wheels(framework)


def of_capability(stack: dict, at: Machine) -> Iterator[str]:
    """Yield what clashes between the GPU's compute capability and the parts of the stack."""
    for name, row in parts(stack):
        if not between(row.first, at.gpu.capability, row.last):
            card = f"compute capability {at.gpu.capability} of {at.kind} ({at.gpu.name})"
            yield f"{card} is outside of what {name} knows: {row.first} to {row.last}"


def within(stack: dict) -> Iterator[str]:
    """Yield what clashes inside a stack, whatever it runs on."""
    framework, branch = stack["framework"], int(stack["driver"])
    for name, row in parts(stack):
        floor = getattr(row, "driver", 0)
        if branch < floor:
            yield f"driver {branch} is too old for {name}, which needs {floor} or newer"
    if stack["python"] not in tables.PYTHONS:
        yield f"Python {stack['python']} is not built any more: conda-forge has {tables.PYTHONS[0]} to {tables.PYTHONS[-1]}"
    row = wheels(framework) if framework else None
    name = f"{framework['name']} {framework['version']}" if row else ""
    if row and not between(row.pythons[0], stack["python"], row.pythons[1]):
        yield f"{name} has wheels for Python {row.pythons[0]} to {row.pythons[1]}, not {stack['python']}"
    if row and framework["cuda"] and framework["cuda"].split(".")[0] != row.cuda:
        yield f"{name} is built with CUDA {row.cuda}, not {framework['cuda']}"


def on_system(stack: dict, name: str) -> Iterator[str]:
    """Yield what clashes between a stack and the system of the image: parts that it is not, or no longer, offered."""
    system, branch = tables.SYSTEMS[name], int(stack["driver"])
    if branch not in system.drivers:
        yield f"driver {branch} does not exist for {name}, which has {', '.join(map(str, system.drivers))}"
    last = tables.LAST_KERNELS.get(branch)
    if last and number(system.kernel) > number(last):
        yield f"driver {branch} does not build for Linux {system.kernel} of {name}: {last} was the last"
    for version in stack["toolkits"]:
        if name not in tables.CUDA[version].systems:
            yield f"CUDA {version} is not packaged for {name}"
    if stack["cudnn"] and not cudnn(stack["cudnn"]).packaged:
        yield f"cuDNN {stack['cudnn']} is not packaged for {name}"


def reasons(stack: dict, kind: str, system: str) -> list[str]:
    """Return all that keeps a stack from running on an instance type under a system (empty: unknown, not judged)."""
    missing = no_such_type(kind)
    if missing.startswith("EC2 has no"):
        return [missing]
    at = machine(kind)
    found = [*([missing] if missing else []), *on_machine(stack, at)]
    found += [*of_driver(stack, at), *of_capability(stack, at)] if at.gpu else []
    return [*found, *within(stack), *(on_system(stack, system) if system else [])]


def nearest(stack: dict, kind: str, system: str, stacks: list[dict]) -> str:
    """Return what works instead: the nearest stack on this type, the cheapest type for this stack; else any; empty where nothing does."""
    others = [one for one in stacks if one["name"] != stack["name"] and one["framework"] and not reasons(one, kind, system)]
    if stack["gpu"] == "required":
        others = [one for one in others if one["gpu"] == "required"]
    alike = difflib.get_close_matches(stack["name"], [one["name"] for one in others], n=1, cutoff=0)
    types = [one for one in tables.instance_types() if not reasons(stack, one, system)]
    found = [f"stack {alike[0]} on {kind}"] if alike else []
    found += [f"stack {stack['name']} on {types[0]}"] if types else []
    found += [] if found else [f"stack {one['name']} on {best}" for one, best in working(stacks, system) if one["gpu"] == "required"][:1]
    return ", or ".join(found)


def working(stacks: list[dict], system: str) -> Iterator[tuple[dict, str]]:
    """Yield each stack that runs anywhere, with the cheapest type for it."""
    for one in stacks:
        types = [kind for kind in tables.instance_types() if not reasons(one, kind, system)]
        if types:
            yield one, types[0]


def described(stack: dict, kind: str, against: list[str]) -> str:
    """Return the line of the plan that tells the GPU; where something speaks against it, that, as the refusal does."""
    card = machine(kind).gpu
    if against:
        more = f" (and {len(against) - 1} more)" if len(against) > 1 else ""
        return f"stack {stack['name']} cannot run on {kind}: {against[0]}{more}"
    if not card:
        return "no GPU: framework on CPU"
    return f"{kind} has the {card.name} (compute capability {card.capability}), driver {stack['driver']}"


def verdict(stack: dict, kind: str, system: str = "", stacks: list[dict] | None = None) -> Verdict:
    """Judge a stack (whose form stack_problems found right) on an instance type under a system as in `Ubuntu 24.04`, empty if unknown.

    `stacks` are all stacks that there are, among which another is suggested.
    """
    found = reasons(stack, kind, system)
    return Verdict(found, nearest(stack, kind, system, stacks or []) if found else "", described(stack, kind, found))
