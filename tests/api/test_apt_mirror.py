"""The rehearsal's APT repositories, with the programs that a seat's APT trusts: dpkg-deb and gpgv."""

import ctypes
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal.mirrors import apt, apt_packages, package_contents
from rehearsal.mirrors import build as mirrors_build

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a rehearsal needs Linux")
REPOSITORIES = [*(f"good/{system}" for system in apt.SYSTEMS), "ubuntu-archive"]
OF_DEBIAN = {"dkms", "kmod", "libc6", "xserver-xorg-core"}  # names of Debian's and Ubuntu's own that stand-ins depend on


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All repositories, and their keys beside them."""
    folder = tmp_path_factory.mktemp("apt")
    apt.build(folder / "apt", folder / "apt-keys")
    return folder


def place(built: Path, name: str) -> Path:
    """The folder of `good/debian12` or `ubuntu-archive`."""
    if name == "ubuntu-archive":
        return built / "apt/ubuntu-archive/noble"
    return apt.place(built / "apt", *name.split("/"))


def output(*command: object, folder: Path | None = None) -> str:
    return subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout


def stanzas(folder: Path) -> list[dict[str, str]]:
    """The index, a dictionary a package."""
    paragraphs = (folder / "Packages").read_text().strip().split("\n\n")
    return [dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.M)) for paragraph in paragraphs]


def unpack(built: Path, name: str, version: str, out: Path) -> Path:
    """Unpack a package of Debian's repository."""
    output("dpkg-deb", "-x", place(built, "good/debian12") / f"{name}_{version}_amd64.deb", out)
    return out


@pytest.mark.parametrize(
    ("repository", "name", "version"),
    [
        *(("good/debian12", name, f"{version}-1") for version in ("580.126.09", "580.173.02", "595.91.07")
          for name in ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-kernel-dkms", "libcuda1", "nvidia-persistenced")),
        ("good/ubuntu2204", "libnvidia-compute-580", "580.173.02-0ubuntu1"),
        ("good/ubuntu2404", "nvidia-dkms-580-open", "580.126.09-0ubuntu1"),
        ("good/ubuntu2404", "nvidia-dkms-open", "595.91.07-1ubuntu1"),
        *((f"good/{system}", name, version) for system in ("debian12", "ubuntu2204", "ubuntu2404") for name, version in (
            ("cuda-toolkit-12-9", "12.9.1-1"), ("cuda-toolkit-13-0", "13.0.2-1"), ("cuda", "13.0.2-1"),
            ("cudnn9-cuda-12", "9.20.0.48-1"), ("cudnn9-cuda-13", "9.28.0.42-1"), ("nvidia-driver-pinning-580", "580-1"))),
        ("ubuntu-archive", "linux-modules-nvidia-580-server-open-aws", "6.17.0-1010.10+580.173.02"),
        ("ubuntu-archive", "nvidia-headless-no-dkms-595-server-open", "595.91.07-0ubuntu0.24.04.1"),
    ],
)  # fmt: skip
def test_packages_have_the_real_names(built: Path, repository: str, name: str, version: str) -> None:
    assert (name, version) in {(one["Package"], one["Version"]) for one in stanzas(place(built, repository))}


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_each_package_says_what_it_is(built: Path, repository: str) -> None:
    maker = "Ubuntu" if repository == "ubuntu-archive" else "NVIDIA"
    files = list(place(built, repository).glob("*.deb"))
    for file in files:
        name, description = output("dpkg-deb", "--show", "--showformat", "${Package}\t${Description}", file).split("\t")
        assert description.startswith(f"Stand-in for {maker}'s {name}: ") and f"holds nothing of {maker}'s" in description
    assert len(files) == len(stanzas(place(built, repository))) > 20


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_what_a_package_needs_is_there(built: Path, repository: str) -> None:
    known = [(one["Package"], one["Version"]) for one in stanzas(place(built, repository))]
    for one in stanzas(place(built, repository)):
        for need in filter(None, one.get("Depends", "").split(", ")):
            assert any(met(alternative, known) for alternative in need.split(" | ")), f"{one['Package']} needs {need}"


def met(need: str, known: list[tuple[str, str]]) -> bool:
    """Tell whether a dependency such as `libcuda1 (= 580.126.09-1)` is met."""
    name, operator, version = re.fullmatch(r"(\S+)(?: \((\S+) (\S+)\))?", need).groups()
    versions = [other for package, other in known if package == name]
    if operator is None:
        return name in OF_DEBIAN or bool(versions)
    return any(subprocess.run(["dpkg", "--compare-versions", other, operator, version]).returncode == 0 for other in versions)


@pytest.mark.parametrize(
    ("twin", "wrong"),
    [
        ("good", set()),
        ("bad-key", {"signature"}),
        ("other-key", {"key"}),
        ("tampered-index", {"index"}),
        ("tampered-package", {"packages"}),
    ],
)
def test_a_twin_is_wrong_in_one_way_only(built: Path, tmp_path: Path, twin: str, wrong: set[str]) -> None:
    folder = place(built, f"{twin}/debian12")
    found = {"signature": signed(folder, tmp_path), "key": known(built, folder), "index": indexed(folder), "packages": whole(folder)}
    assert {name for name, right in found.items() if not right} == wrong


def signed(folder: Path, work: Path) -> bool:
    """Do both signatures hold with the key in the folder?"""
    (work / "home").mkdir(mode=0o700)
    output("gpg", "--homedir", work / "home", "--output", work / "key.gpg", "--dearmor", folder / apt.KEY)
    gpgv = ["gpgv", "--quiet", "--keyring", str(work / "key.gpg")]
    signatures = [["InRelease"], ["Release.gpg", "Release"]]
    codes = {subprocess.run([*gpgv, *files], cwd=folder, capture_output=True, timeout=60).returncode for files in signatures}
    assert len(codes) == 1, "InRelease and Release.gpg must agree"
    return codes == {0}


def known(built: Path, folder: Path) -> bool:
    """Has the key in the folder the fingerprint that is told?"""
    shown = output("gpg", "--homedir", built / "apt-keys", "--with-colons", "--show-keys", folder / apt.KEY)
    return f"\nfpr:::::::::{(built / 'apt/fingerprint').read_text().strip()}:\n" in shown


def indexed(folder: Path) -> bool:
    """Are the indexes those of the signed Release?"""
    lines = re.findall(r"^ ([0-9a-f]{64}) (\d+) (\S+)$", (folder / "InRelease").read_text(), re.M)
    assert [name for *_, name in lines] == ["Packages", "Packages.gz"]
    return all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for digest, _, name in lines)


def whole(folder: Path) -> bool:
    """Are the packages those of the index?"""
    files = [(one, (folder / one["Filename"]).read_bytes()) for one in stanzas(folder)]
    assert all(int(one["Size"]) == len(data) for one, data in files)
    return all(hashlib.sha256(data).hexdigest() == one["SHA256"] for one, data in files)


def test_a_tampered_package_could_be_installed(built: Path, tmp_path: Path) -> None:
    """Only checksums tell it from the real one, so whoever does not look installs it."""
    file = next(place(built, "tampered-package/debian12").glob("libcuda1_580.126.09-1_*"))
    assert output("dpkg-deb", "--field", file, "Description").startswith("Tampered")
    output("dpkg-deb", "-x", file, tmp_path)
    assert (tmp_path / package_contents.LIBRARIES / "libcuda.so.1").is_file()


def test_private_keys_are_apart_and_private(built: Path) -> None:
    assert (built / "apt-keys").stat().st_mode & 0o777 == 0o700
    served = [path for path in (built / "apt").rglob("*") if path.is_file() and path.suffix != ".deb"]
    assert served and not any(b"PRIVATE" in path.read_bytes() for path in served)
    sockets = [path.name for path in (built / "apt-keys").iterdir() if path.is_socket()]
    assert sockets == [], "gpg's agent still runs"


def test_keys_stay_when_the_mirror_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "SYSTEMS", {"debian12": lambda: apt_packages.debian()[:3]})
    monkeypatch.setattr(apt_packages, "ubuntu_archive", list)
    seen = []
    for recipe in (b"one", b"one", b"two"):
        monkeypatch.setattr(apt, "recipe", lambda text=recipe: text)
        mirrors_build.prepare_apt(tmp_path / "apt", tmp_path / "apt-keys")
        seen.append(((tmp_path / "apt/fingerprint").read_text(), (tmp_path / "apt/fingerprint").stat().st_ino))
    assert seen[0] == seen[1] and seen[1][0] == seen[2][0] and seen[1][1] != seen[2][1]
    assert {path.name for path in tmp_path.iterdir()} == {"apt", "apt-keys"}


def test_a_failed_build_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(out: Path, keys: Path) -> None:
        out.mkdir()
        raise apt.AptError("tcc is missing")

    (tmp_path / "apt").mkdir()
    (tmp_path / "apt/fingerprint").write_text("old")
    monkeypatch.setattr(apt, "build", build)
    with pytest.raises(apt.AptError):
        mirrors_build.prepare_apt(tmp_path / "apt", tmp_path / "apt-keys")
    assert (tmp_path / "apt/fingerprint").read_text() == "old"


def test_a_package_is_the_same_bytes_each_time(built: Path, tmp_path: Path) -> None:
    package = next(one for one in apt_packages.debian() if one.name == "libcuda1")
    apt.deb(tmp_path / "again/again.deb", package)
    assert (tmp_path / "again/again.deb").read_bytes() == (place(built, "good/debian12") / package.file_name).read_bytes()


def test_a_missing_program_is_named() -> None:
    with pytest.raises(apt.AptError, match="no-such-program is missing: run `make setup`"):
        apt.run("no-such-program")


@pytest.mark.parametrize(
    ("package", "version", "library", "call", "answer"),
    [
        ("libcuda1", "580.126.09-1", "libcuda.so.1", "cuInit", 100),
        ("libcuda1", "580.126.09-1", "libcuda.so.1", "cuDriverGetVersion", 13000),
        ("libcuda1", "595.91.07-1", "libcuda.so.1", "cuDriverGetVersion", 13020),
        ("libnvidia-ml1", "595.91.07-1", "libnvidia-ml.so.1", "nvmlInit_v2", 9),
        ("libcudnn9-cuda-12", "9.20.0.48-1", "libcudnn.so.9", "cudnnGetVersion", 92000),
        ("libcudnn9-cuda-12", "9.28.0.42-1", "libcudnn.so.9", "cudnnGetCudartVersion", 12090),
        ("libcudnn9-cuda-13", "9.28.0.42-1", "libcudnn.so.9", "cudnnGetVersion", 92800),
        ("libcudnn9-cuda-13", "9.28.0.42-1", "libcudnn.so.9", "cudnnGetCudartVersion", 13000),
    ],
)
def test_libraries_answer(built: Path, tmp_path: Path, package: str, version: str, library: str, call: str, answer: int) -> None:
    path = unpack(built, package, version, tmp_path) / package_contents.LIBRARIES / library
    function = getattr(ctypes.CDLL(str(path)), call)
    if call == "cuDriverGetVersion":
        number = ctypes.c_int()
        assert function(ctypes.byref(number)) == 0 and number.value == answer
    else:
        assert function(0) == answer


@pytest.mark.parametrize(
    ("source", "host_compiler", "code", "message"),
    [
        ("__global__ void kernel() {}", True, 0, ""),
        ("int main() {}", True, 1, "compiles only what holds a __global__ function"),
        ("__global__ void kernel() {}", False, 1, "Failed to preprocess host compiler properties"),
        (None, True, 1, "Could not open input file"),
    ],
)
def test_the_compiler(built: Path, tmp_path: Path, source: str | None, host_compiler: bool, code: int, message: str) -> None:
    nvcc = unpack(built, "cuda-nvcc-12-9", "12.9.86-1", tmp_path) / "usr/local/cuda-12.9/bin/nvcc"
    path = tmp_path / "path"
    path.mkdir()
    for name in ["sh", "grep", "chmod", *(["g++"] if host_compiler else [])]:
        (path / name).symlink_to("/bin/true" if name == "g++" else f"/bin/{name}")
    if source is not None:
        (tmp_path / "kernel.cu").write_text(source)
    command = [nvcc, "-arch=sm_75", "-o", "kernel", "kernel.cu"]
    done = subprocess.run(command, cwd=tmp_path, env={"PATH": str(path)}, capture_output=True, text=True, timeout=60)
    assert done.returncode == code and message in done.stderr
    if code == 0:
        ran = subprocess.run([tmp_path / "kernel"], capture_output=True, text=True, timeout=60)
        assert (ran.returncode, ran.stderr) == (1, "no CUDA-capable device is detected\n")


def test_the_compiler_says_its_version(built: Path, tmp_path: Path) -> None:
    nvcc = unpack(built, "cuda-nvcc-13-0", "13.0.88-1", tmp_path) / "usr/local/cuda-13.0/bin/nvcc"
    assert output(nvcc, "--version").splitlines()[-1] == "Cuda compilation tools, release 13.0, V13.0.88"


def test_scripts_are_shell(built: Path, tmp_path: Path) -> None:
    checked = 0
    for number, file in enumerate(place(built, "good/debian12").glob("*.deb")):
        output("dpkg-deb", "--control", file, tmp_path / str(number))
        for script in (path for path in (tmp_path / str(number)).iterdir() if os.access(path, os.X_OK)):
            output("sh", "-n", script)
            checked += 1
    assert checked > 10
