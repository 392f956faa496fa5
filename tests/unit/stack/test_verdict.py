"""Which stack runs on which machine: the shipped stacks on every GPU family of EC2, and what clashes where one does not."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from ansible_collections.classroom.gpu.plugins.module_utils.stack import compatibility, verdict

STACKS = {path.parent.name: yaml.safe_load(path.read_text()) for path in sorted(Path(__file__).parents[3].glob("stacks/*/stack.yml"))}
U22, U24, D12, D13, UNKNOWN = "Ubuntu 22.04", "Ubuntu 24.04", "Debian 12", "Debian 13", ""
OK: tuple[str, ...] = ()
EXACT_GONE = ("driver 384|does not build", "CUDA 9.0|not packaged", "cuDNN 7.0|not packaged", "Python 3.5|not built any more")

# Stack, instance type, system, and of each reason two words that clash; the words are looked for in one and the same reason.
CASES = [
    ("tensorflow-2026", "g4dn.xlarge", U24, OK),
    ("tensorflow-2026", "g4dn.xlarge", U22, OK),
    ("tensorflow-2026", "g4dn.xlarge", D12, OK),
    ("tensorflow-2026", "g4dn.xlarge", D13, OK),
    ("tensorflow-2026", "g4dn.xlarge", UNKNOWN, OK),
    ("tensorflow-2026", "g4dn.metal", U24, OK),
    ("tensorflow-2026", "g5.xlarge", U24, OK),
    ("tensorflow-2026", "g6.xlarge", U24, OK),
    ("tensorflow-2026", "g6.48xlarge", U24, OK),
    ("tensorflow-2026", "gr6.4xlarge", U24, OK),
    ("tensorflow-2026", "g6f.large", U24, OK),
    ("tensorflow-2026", "gr6f.4xlarge", U24, OK),
    ("tensorflow-2026", "g6e.xlarge", U24, OK),
    ("tensorflow-2026", "p4d.24xlarge", U24, OK),
    ("tensorflow-2026", "p4de.24xlarge", U24, OK),
    ("tensorflow-2026", "p5.4xlarge", U24, OK),
    ("tensorflow-2026", "p5e.48xlarge", U24, OK),
    ("tensorflow-2026", "p5en.48xlarge", U24, OK),
    ("tensorflow-2026", "g7.2xlarge", U24, ("driver 580|needs 595", "capability 12.0|tensorflow 2.21.0")),
    ("tensorflow-2026", "g7e.2xlarge", U24, ("capability 12.0|tensorflow 2.21.0",)),
    ("tensorflow-2026", "p6-b200.48xlarge", U24, ("capability 10.0|tensorflow 2.21.0",)),
    ("tensorflow-2026", "p6-b300.48xlarge", U24, ("capability 10.3|tensorflow 2.21.0",)),
    ("tensorflow-2026", "p3dn.24xlarge", U24, ("capability 7.0|cuDNN 9.28",)),
    ("tensorflow-2026", "p3.2xlarge", U24, ("not sell|p3.2xlarge", "capability 7.0|cuDNN 9.28")),
    (
        "tensorflow-2026",
        "p2.xlarge",
        U24,
        ("not sell|p2.xlarge", "driver 580|470 is the last", "3.7|CUDA 12.9", "3.7|cuDNN", "3.7|tensorflow"),
    ),
    ("tensorflow-2026", "g3.4xlarge", U24, ("not sell|g3.4xlarge", "capability 5.2|cuDNN 9.28", "capability 5.2|tensorflow 2.21.0")),
    ("tensorflow-2026", "g3s.xlarge", U24, ("not sell|g3s.xlarge", "capability 5.2|cuDNN 9.28", "capability 5.2|tensorflow 2.21.0")),
    ("tensorflow-2026", "g4ad.xlarge", U24, ("not sell|g4ad.xlarge", "AMD GPU|NVIDIA")),
    ("tensorflow-2026", "g5g.xlarge", U24, ("Arm processors|x86_64",)),
    ("tensorflow-2026", "t3.large", U24, ("no GPU|NVIDIA",)),
    ("tensorflow-2026", "t4g.large", U24, ("Arm processors|x86_64", "no GPU|NVIDIA")),
    ("tensorflow-2026", "m7i.large", D12, ("no GPU|NVIDIA",)),
    ("pytorch-2026", "g4dn.xlarge", U24, OK),
    ("pytorch-2026", "g4dn.xlarge", D13, OK),
    ("pytorch-2026", "g5.xlarge", U22, OK),
    ("pytorch-2026", "g6.xlarge", U24, OK),
    ("pytorch-2026", "g6f.large", U24, OK),
    ("pytorch-2026", "g6e.xlarge", U24, OK),
    ("pytorch-2026", "g7e.2xlarge", U24, OK),
    ("pytorch-2026", "p4d.24xlarge", U24, OK),
    ("pytorch-2026", "p5.48xlarge", U24, OK),
    ("pytorch-2026", "p6-b200.48xlarge", U24, OK),
    ("pytorch-2026", "p6-b300.48xlarge", U24, OK),
    ("pytorch-2026", "g7.2xlarge", U24, ("driver 580|needs 595",)),
    ("pytorch-2026", "p3dn.24xlarge", U24, ("7.0|CUDA 13.2", "7.0|cuDNN 9.26", "7.0|pytorch 2.15.0")),
    ("pytorch-2026", "g5g.xlarge", U24, ("Arm processors|x86_64",)),
    ("pytorch-2026", "c7i.large", U24, ("no GPU|NVIDIA",)),
    ("ismrm-2018", "g4dn.xlarge", U24, OK),
    ("ismrm-2018", "g5.xlarge", D12, OK),
    ("ismrm-2018", "g6.xlarge", U24, OK),
    ("ismrm-2018", "p3dn.24xlarge", U24, ("capability 7.0|cuDNN 9.28",)),
    ("ismrm-2018", "g7e.2xlarge", U24, ("capability 12.0|tensorflow 2.21.0",)),
    ("rehearsal", "t3.large", D12, OK),
    ("rehearsal", "t3.large", UNKNOWN, OK),
    ("rehearsal", "g4dn.xlarge", U24, OK),
    ("rehearsal", "g4dn.xlarge", D13, ("CUDA 12.9|not packaged for Debian 13",)),
    ("rehearsal", "g7.2xlarge", U24, ("driver 580|needs 595",)),
    ("rehearsal", "t4g.large", D12, ("Arm processors|x86_64",)),
    ("minimal", "t3.large", D12, OK),
    ("minimal", "p3dn.24xlarge", U24, OK),
    ("minimal", "p2.xlarge", U24, ("not sell|p2.xlarge", "driver 580|470 is the last")),
    *[
        ("ismrm-2018-exact", f"{name}.{family.sizes.split()[0]}", U24, ("driver 384|too old", "CUDA 9.0|capability", *EXACT_GONE))
        for name, family in compatibility.FAMILIES.items()
        if family.sold and name not in ("p3dn", "g5g")
    ],
    ("ismrm-2018-exact", "g5g.xlarge", U24, ("Arm processors|x86_64", "CUDA 9.0|capability", *EXACT_GONE)),
    ("ismrm-2018-exact", "p3dn.24xlarge", U24, EXACT_GONE),
    ("ismrm-2018-exact", "p3dn.24xlarge", D12, EXACT_GONE),
    ("ismrm-2018-exact", "p2.xlarge", U22, ("not sell|p2.xlarge", *EXACT_GONE)),
    ("tensorflow-2026", "g4dn.xlrge", U24, ("no instance type|g4dn.xlarge?",)),
    ("tensorflow-2026", "g4nd.xlarge", U24, ("no instance type|g4dn.xlarge?",)),
    ("rehearsal", "g5.3xlarge", U24, ("no instance type|did you mean g5.",)),
]


def judged(stack: str, kind: str, system: str) -> verdict.Verdict:
    """Return the verdict on a shipped stack."""
    return verdict.verdict(STACKS[stack], kind, system, list(STACKS.values()))


def altered(stack: str, **parts: object) -> dict:
    """Return a shipped stack with other parts."""
    return deepcopy(STACKS[stack]) | parts


@pytest.mark.parametrize(("stack", "kind", "system", "clashes"), CASES)
def test_a_stack_on_a_machine(stack: str, kind: str, system: str, clashes: tuple[str, ...]) -> None:
    found = judged(stack, kind, system)
    assert found.ok == (clashes == OK), found.reasons
    for clash in clashes:
        assert any(all(word in reason for word in clash.split("|")) for reason in found.reasons), (clash, found.reasons)
    if stack != "ismrm-2018-exact":
        assert len(found.reasons) == len(clashes), found.reasons


@pytest.mark.parametrize(("stack", "kind", "system", "clashes"), CASES)
def test_the_line_above_a_refusal_says_the_same(stack: str, kind: str, system: str, clashes: tuple[str, ...]) -> None:
    found = judged(stack, kind, system)
    more = f" (and {len(found.reasons) - 1} more)" if found.reasons[1:] else ""
    refused = f"stack {stack} cannot run on {kind}: {(found.reasons or [''])[0]}{more}"
    assert (found.gpu == refused) == (clashes != OK)
    assert "framework on CPU" not in found.gpu or STACKS[stack]["gpu"] == "optional"


def test_the_table_has_every_family_and_every_stack() -> None:
    assert len(CASES) >= 60
    assert {stack for stack, *_ in CASES} == set(STACKS)
    assert set(compatibility.FAMILIES) <= {kind.partition(".")[0] for _, kind, *_ in CASES}


def test_the_exact_stack_of_2018_runs_on_nothing_that_ec2_sells() -> None:
    for kind in compatibility.instance_types():
        for system in compatibility.SYSTEMS:
            reasons = verdict.reasons(STACKS["ismrm-2018-exact"], kind, system)
            assert any("capability" in reason for reason in reasons) == (not kind.startswith("p3dn.")), kind
            assert any("does not build" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("stack", "kind", "nearest"),
    [
        ("tensorflow-2026", "t3.large", "stack tensorflow-2026 on g4dn.xlarge"),
        ("tensorflow-2026", "g7e.2xlarge", "stack pytorch-2026 on g7e.2xlarge, or stack tensorflow-2026 on g4dn.xlarge"),
        ("ismrm-2018-exact", "g4dn.xlarge", "stack ismrm-2018 on g4dn.xlarge"),
        ("ismrm-2018-exact", "p3dn.24xlarge", "stack ismrm-2018 on g4dn.xlarge"),
        ("rehearsal", "g7.2xlarge", "stack rehearsal on g4dn.xlarge"),
        ("pytorch-2026", "g4dn.xlarge", ""),
    ],
)
def test_what_works_instead_is_named_and_works(stack: str, kind: str, nearest: str) -> None:
    assert judged(stack, kind, U24).nearest == nearest
    for choice in nearest.split(", or ") if nearest else []:
        name, _, other = choice.removeprefix("stack ").partition(" on ")
        assert judged(name, other, U24).ok


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"driver": "535"}, "driver 535|CUDA 13.2"),
        ({"driver": "550"}, "driver 550|does not exist for Ubuntu 24.04"),
        ({"python": "3.9"}, "Python 3.9|conda-forge"),
        ({"framework": {"name": "tensorflow", "version": "2.16.2", "cuda": "12.3", "cudnn": "8.9"}, "python": "3.13"}, "2.16.2|3.13"),
        ({"framework": {"name": "tensorflow", "version": "2.21.0", "cuda": "13.0", "cudnn": "9.28"}}, "built with CUDA 12|13.0"),
    ],
)
def test_what_clashes_inside_a_stack(parts: dict, words: str) -> None:
    reasons = verdict.verdict(altered("pytorch-2026", **parts), "g4dn.xlarge", U24).reasons
    assert any(all(word in reason for word in words.split("|")) for reason in reasons), reasons


@pytest.mark.parametrize(
    ("stack", "words"),
    [
        ([], "holds no settings"),
        (altered("minimal", python=3.11), "`python` has to be a text"),
        (altered("minimal", toolkits="12.9"), "`toolkits` has to be a list"),
        (altered("minimal", toolkits=["99.9"]), "CUDA 99.9 is not in module_utils/stack/compatibility.py: add a row with its source."),
        (altered("minimal", gpu="yes"), "`gpu` has to be required or optional"),
        (altered("minimal", tf1_kernel="yes"), "`tf1_kernel` has to be true or false"),
        (altered("minimal", framework={"name": "tensorflow"}), "`framework` has to be {}"),
        (altered("minimal", toolkits=["12.4"]), "CUDA 12.4 is not in"),
        (altered("minimal", cudnn="6.0"), "cuDNN 6.0 is not in"),
        (altered("minimal", driver="R580"), "driver branch 'R580' is not in"),
        (altered("minimal", framework={"name": "jax", "version": "1", "cuda": "", "cudnn": ""}), "jax 1 is not in"),
    ],
)
def test_a_malformed_stack_gets_a_sentence(stack: object, words: str) -> None:
    assert any(words in problem for problem in verdict.stack_problems(stack)), verdict.stack_problems(stack)


@pytest.mark.parametrize(
    ("image", "system"),
    [
        ("/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id", U24),
        ("/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id", U22),
        ("/aws/service/debian/release/12/latest/amd64", D12),
        ("/aws/service/debian/release/11/latest/amd64", UNKNOWN),
        ("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64", UNKNOWN),
    ],
)
def test_the_system_is_read_from_the_images_name(image: str, system: str) -> None:
    assert verdict.system_of(image) == system


@pytest.mark.parametrize("name", STACKS)
def test_a_stacks_files_agree(name: str) -> None:
    folder, stack = Path(__file__).parents[3] / "stacks" / name, STACKS[name]
    environment = yaml.safe_load((folder / "environment.yml").read_text())
    lock = (folder / "requirements.txt").read_text() if (folder / "requirements.txt").is_file() else ""
    assert verdict.stack_problems(stack) == [] and stack["name"] == name and environment["name"] == "dl_aws"
    assert f"python={stack['python']}" in environment["dependencies"]
    assert bool(lock) == (name != "ismrm-2018-exact") and "--hash=sha256:" in (lock or "--hash=sha256:")
    wheels = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "pytorch": ("torch",)}.get(stack["framework"].get("name"), ())
    locked = [f"\n{wheel}=={stack['framework']['version']} " in f"\n{lock}" for wheel in wheels]
    assert any(locked) or not wheels or not lock
    assert "\ntf-keras==" in lock or not stack.get("tf1_kernel")
    for part, wheel in (("cuda", "cuda-runtime"), ("cudnn", "cudnn")):
        version = stack["framework"].get(part)
        assert not version or not lock or any(f"\nnvidia-{wheel}{suffix}=={version}." in lock for suffix in ("", "-cu12", "-cu13")), part
