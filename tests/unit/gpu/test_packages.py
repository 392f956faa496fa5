"""Which packages are the driver that is asked for, on which system and for which GPU, and what is refused in which words."""

from fnmatch import fnmatchcase

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.classroom.gpu.plugins.filter.nvidia import nvidia_driver_plan
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import models as gpu_models
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import packages as gpu_packages

DEBIAN = {"distribution": "Debian", "distribution_major_version": "12", "distribution_version": "12.15", "distribution_release": "bookworm"}
TRIXIE = DEBIAN | {"distribution_major_version": "13", "distribution_version": "13.2", "distribution_release": "trixie"}
NOBLE = {"distribution": "Ubuntu", "distribution_major_version": "24", "distribution_version": "24.04", "distribution_release": "noble"}
JAMMY = NOBLE | {"distribution_major_version": "22", "distribution_version": "22.04", "distribution_release": "jammy"}
FEDORA = {"distribution": "Fedora", "distribution_major_version": "42", "distribution_version": "42", "distribution_release": ""}
SETTINGS = {"source": "", "branch": "580", "version": "", "repository": "http://mirror.invalid/repos", "fingerprint": "F" * 40}
KERNELS = {"Debian": ["6.1.0-55-cloud-amd64"], "Ubuntu": ["6.14.0-1018-aws"], "Fedora": []}


def plan(system, device=None, kernels=None, sources=(), **settings):
    """The plan for a system with one GPU or none."""
    gpus = [] if device is None else [{"model": gpu_models.model(device).name, "architecture": gpu_models.model(device).architecture}]
    names = KERNELS[system["distribution"]] if kernels is None else kernels
    found = {"gpus": gpus, "kernels": [{"version": name} for name in names], "sources": list(sources)}
    return nvidia_driver_plan(found, system, SETTINGS | settings)


T4, V100, K80, M60, B200, L4 = 0x1EB8, 0x1DB1, 0x102D, 0x13F2, 0x2901, 0x27B8
DEBIAN_OPEN = ["nvidia-driver-cuda", "nvidia-kernel-open-dkms"]
DEBIAN_CLOSED = ["nvidia-driver-cuda", "nvidia-kernel-dkms"]
DEBIAN_OWN = ["nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-ml1", "nvidia-persistenced", "nvidia-modprobe"]
SUFFIXED = ["libnvidia-compute-580", "nvidia-utils-580", "nvidia-compute-utils-580"]
PLAIN = ["libnvidia-compute", "nvidia-utils", "nvidia-compute-utils"]
META = ["dkms", "linux-headers-cloud-amd64"]


@pytest.mark.parametrize(
    ("system", "device", "settings", "packages", "unpinned", "version"),
    [
        (DEBIAN, None, {}, DEBIAN_OPEN, META, "580.*-1"),
        (DEBIAN, T4, {}, DEBIAN_OPEN, META, "580.*-1"),
        (DEBIAN, L4, {"version": "580.126.09"}, DEBIAN_OPEN, META, "580.126.09-1"),
        (DEBIAN, V100, {}, DEBIAN_CLOSED, META, "580.*-1"),
        (DEBIAN, M60, {}, DEBIAN_CLOSED, META, "580.*-1"),
        (DEBIAN, B200, {}, DEBIAN_OPEN, META, "580.*-1"),
        (DEBIAN, T4, {"branch": "595"}, DEBIAN_OPEN, ["nvidia-driver-pinning-595", *META], "595.*-1"),
        (DEBIAN, T4, {"source": "debian", "branch": "535"}, DEBIAN_OWN, META, "535.*"),
        (TRIXIE, None, {"source": "debian", "branch": "550"}, DEBIAN_OWN, META, "550.*"),
        (NOBLE, T4, {"source": "nvidia"}, ["nvidia-dkms-580-open", *SUFFIXED], ["dkms", "linux-headers-aws"], "580.*-0ubuntu1"),
        (NOBLE, V100, {"source": "nvidia"}, ["nvidia-dkms-580", *SUFFIXED], ["dkms", "linux-headers-aws"], "580.*-0ubuntu1"),
        (
            JAMMY,
            T4,
            {"source": "nvidia", "branch": "595"},
            ["nvidia-dkms-open", *PLAIN],
            ["nvidia-driver-pinning-595", "dkms", "linux-headers-aws"],
            "595.*-1ubuntu1",
        ),
        (
            NOBLE,
            None,
            {},
            ["linux-modules-nvidia-580-server-open-aws", "nvidia-headless-no-dkms-580-server-open", "nvidia-utils-580-server"],
            [],
            "",
        ),
        (NOBLE, V100, {}, ["linux-modules-nvidia-580-server-aws", "nvidia-headless-no-dkms-580-server", "nvidia-utils-580-server"], [], ""),
    ],
)
def test_packages(system, device, settings, packages, unpinned, version):
    found = plan(system, device, **settings)
    assert (found["packages"], found["unpinned"], found["version"]) == (packages, unpinned, version)


@pytest.mark.parametrize("system", [DEBIAN, NOBLE])
@pytest.mark.parametrize("branch", ["580", "595"])
@pytest.mark.parametrize("source", ["", "nvidia"])
def test_the_set_covers_what_it_installs_and_never_brings_x(system, branch, source):
    found = plan(system, source=source, branch=branch)
    for name in found["packages"]:
        assert any(fnmatchcase(name, glob) for glob in found["pins"]), name
        assert any(fnmatchcase(name, glob) for glob in found["purge"]), name
    assert not {"nvidia-driver", f"nvidia-driver-{branch}", "cuda-drivers", "nvidia-open"} & {*found["packages"], *found["unpinned"]}


@pytest.mark.parametrize(
    ("name", "purged"),
    [
        ("nvidia-dkms-570", True),
        ("nvidia-dkms-open", True),
        ("libnvidia-compute-535-server", True),
        ("linux-modules-nvidia-580-server-open-aws", True),
        ("nvidia-driver-pinning-595", True),
        ("cuda-drivers", True),
        ("nvidia-open", True),
        ("nvidia-container-toolkit", False),
        ("libnvidia-container1", False),
        ("nvidia-fabricmanager-580", False),
        ("nvidia-cuda-toolkit", False),
        ("nvidia-support", False),
        ("nvidia-installer-cleanup", False),
        ("cuda-toolkit-12-9", False),
        ("libcudnn9-cuda-12", False),
    ],
)
def test_what_else_of_a_driver_goes_and_what_only_has_a_like_name_stays(name, purged):
    assert any(fnmatchcase(name, glob) for glob in plan(DEBIAN)["purge"]) is purged


def test_the_pins_leave_out_what_has_a_version_of_its_own():
    pins = plan(DEBIAN, branch="595")["pins"]
    for name in ("nvidia-driver-pinning-595", "nvidia-kernel-common", "nvidia-support"):
        assert not any(fnmatchcase(name, glob) for glob in pins), name


def test_ubuntus_modules_are_held_with_the_kernels_that_they_belong_to():
    found = plan(NOBLE)
    kernels = ["linux-aws", "linux-image-aws", "linux-headers-aws"]
    for name in [*kernels, "linux-modules-nvidia-580-server-open-aws", "nvidia-utils-580-server"]:
        assert any(fnmatchcase(name, glob) for glob in found["pins"]), name
    assert found["prebuilt"] == "linux-modules-nvidia-580-server-open-"
    assert plan(NOBLE, source="nvidia")["prebuilt"] == plan(DEBIAN)["prebuilt"] == ""


@pytest.mark.parametrize(
    ("system", "uri"),
    [
        (DEBIAN, "http://mirror.invalid/repos/debian12/x86_64/"),
        (TRIXIE, "http://mirror.invalid/repos/debian13/x86_64/"),
        (NOBLE, "http://mirror.invalid/repos/ubuntu2404/x86_64/"),
        (JAMMY, "http://mirror.invalid/repos/ubuntu2204/x86_64/"),
    ],
)
def test_nvidias_repository_has_a_folder_for_the_system(system, uri):
    source = plan(system, source="nvidia")["source"]
    assert source == {"name": "nvidia-cuda", "uri": uri, "suite": "/", "key": f"{uri}3bf863cc.pub", "fingerprint": "F" * 40}


def test_a_distributions_own_packages_need_no_other_source():
    assert plan(NOBLE)["source"] == plan(DEBIAN, source="debian", branch="535")["source"] == {}


def test_meta_packages_follow_the_sorts_of_kernels_that_are_installed():
    kernels = ["6.1.0-53-amd64", "6.1.0-55-cloud-amd64", "6.1.0-56-cloud-amd64"]
    assert plan(DEBIAN, kernels=kernels)["unpinned"] == ["dkms", "linux-headers-amd64", "linux-headers-cloud-amd64"]
    assert plan(DEBIAN, kernels=[])["unpinned"] == META
    assert plan(NOBLE, kernels=["6.8.0-45-generic"])["packages"][0] == "linux-modules-nvidia-580-server-open-generic"


def test_debian_gets_the_components_that_the_source_needs():
    main = {"file": "debian.sources", "uris": ["http://m.invalid/debian"], "suites": ["bookworm"], "components": ["main"], "signed_by": []}
    assert "Components: contrib\n" in plan(DEBIAN, sources=[main])["components"]
    assert "Components: contrib non-free non-free-firmware\n" in plan(DEBIAN, sources=[main], source="debian", branch="535")["components"]
    assert plan(NOBLE, sources=[main])["components"] == ""


@pytest.mark.parametrize(
    ("system", "device", "settings", "said"),
    [
        (DEBIAN, K80, {}, "Tesla K80 (Kepler) is driven by branch 470 at most, not 580: no source of this role has that any more"),
        (NOBLE, K80, {}, "choose an instance type with a newer GPU, such as g4dn.xlarge"),
        (DEBIAN, V100, {"branch": "595"}, "(Volta) is driven by branch 580 at most, not 595: set nvidia_driver_branch to 580"),
        (DEBIAN, M60, {"branch": "595"}, "Tesla M60 (Maxwell) is driven by branch 580 at most, not 595: set nvidia_driver_branch to 580"),
        (DEBIAN, B200, {"source": "debian", "branch": "535"}, "B200 (Blackwell) needs branch 570 or newer, not 535"),
        (DEBIAN, None, {"source": "debian"}, "Debian 12 does not have driver branch 580; it has 535: set nvidia_driver_branch to that, or"),
        (DEBIAN, None, {"source": "ubuntu"}, "nvidia_driver_source ubuntu is not for Debian, which has nvidia and debian"),
        (NOBLE, None, {"source": "debian"}, "nvidia_driver_source debian is not for Ubuntu, which has ubuntu and nvidia"),
        (FEDORA, None, {}, "The driver cannot be installed on Fedora: choose an image of Debian or Ubuntu"),
        (DEBIAN, None, {"branch": "lts"}, "'lts' is no driver branch"),
        (DEBIAN, None, {"version": "595.91.07"}, "nvidia_driver_version 595.91.07 is not of branch 580"),
        (NOBLE, None, {"version": "580.126.09"}, "Ubuntu's archive keeps only its newest of branch 580: leave nvidia_driver_version empty"),
    ],
)
def test_refusals_say_what_can_be_had(system, device, settings, said):
    with pytest.raises(AnsibleFilterError) as refusal:
        plan(system, device, **settings)
    assert said in str(refusal.value)


def test_gpus_that_need_different_modules_are_refused_together():
    both = [{"model": "Tesla V100", "architecture": "Volta"}, {"model": "B200", "architecture": "Blackwell"}]
    with pytest.raises(gpu_packages.Refused, match=r"drives both Tesla V100 \(Volta\), .* and B200 \(Blackwell\)"):
        gpu_packages.kind(both, 580)


@pytest.mark.parametrize("device", [0x2C3F, 0x9999, 0x1F02])
def test_an_unknown_gpu_gets_its_neighbours_driver(device):
    assert plan(DEBIAN, device)["packages"] == DEBIAN_OPEN
