"""The seat image: built once, found again by a digest of everything that goes into it."""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from rehearsal import state

NAME = "localhost/rehearsal-seat"
LABEL = "classroom.rehearsal=1"
SOURCE = Path(__file__).with_name("seat_image")
# Where distributions keep CAs that were added by hand: Debian and Ubuntu, Fedora, Arch, openSUSE.
CA_FOLDERS = (
    "/usr/local/share/ca-certificates",
    "/etc/pki/ca-trust/source/anchors",
    "/etc/ca-certificates/trust-source/anchors",
    "/etc/pki/trust/anchors",
)
PULL_SECONDS = 60
BUILD_SECONDS = 900


class ImageError(Exception):
    """The image cannot be built; the text says why and what to type."""


def certificates() -> list[Path]:
    """Return the PEM files of the CAs that this machine trusts beyond those of its distribution."""
    files = [path for folder in CA_FOLDERS for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    return [path for path in files if b"-----BEGIN CERTIFICATE-----" in path.read_bytes()]


def tag() -> str:
    """Return the image's name; its tag changes with the folder seat_image/ and with this machine's CAs."""
    digest = hashlib.sha256()
    for path in sorted(path for path in SOURCE.rglob("*") if not path.is_dir()):
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        digest.update(str(path.relative_to(SOURCE)).encode() + b"\0" + content)
    for path in certificates():
        digest.update(path.read_bytes())
    return f"{NAME}:{digest.hexdigest()[:16]}"


def ensure() -> str:
    """Build the image unless it is there, remove older ones that no running cloud needs, and return its name. Raises ImageError."""
    name = tag()
    if _podman("image", "exists", name).returncode == 0:
        return name
    with tempfile.TemporaryDirectory(prefix="rehearsal-image-") as folder:
        _context(Path(folder) / "context")
        base = _base(Path(folder))
        print("seat image: installing packages", flush=True)
        _must(
            "build",
            "--isolation",
            "chroot",
            "--layers=false",
            "--quiet",
            "--label",
            LABEL,
            "--build-arg",
            f"BASE={base}",
            "--tag",
            name,
            f"{folder}/context",
        )
    if not state.MACHINE.alive():
        _remove_older(name)
    print(f"seat image: {name} is ready", flush=True)
    return name


def _context(folder: Path) -> None:
    """Lay out what the Containerfile copies: the folder seat_image/ and the CAs under ca/."""
    shutil.copytree(SOURCE, folder, symlinks=True)
    (folder / "ca").mkdir()
    for number, path in enumerate(certificates()):
        shutil.copy(path, folder / "ca" / f"{number:02}-{path.stem}.crt")


def _base(folder: Path) -> str:
    """Return the name of a Debian 12 base image: the public one where a registry answers, one of our own elsewhere."""
    public = "debian:12"
    print("seat image: asking a container registry for Debian 12", flush=True)
    if _podman("pull", "--quiet", public, timeout=PULL_SECONDS).returncode == 0:
        return public
    print("seat image: no registry answers; making Debian 12 with mmdebstrap", flush=True)
    archive = folder / "base.tar"
    _bootstrap(archive)
    own = f"{NAME}-base:12"
    _must("import", "--quiet", str(archive), own)
    return own


def _bootstrap(archive: Path) -> None:
    """Write a minimal Debian 12 to a tar file, from the mirror that mmdebstrap takes by default."""
    if shutil.which("mmdebstrap") is None:
        raise ImageError("no container registry answers and mmdebstrap is missing; type: make setup")
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates", "bookworm", str(archive)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)
    if result.returncode:
        raise ImageError(f"mmdebstrap cannot make Debian 12 (on Ubuntu it also needs debian-archive-keyring): {_last(result.stderr)}")


def _remove_older(name: str) -> None:
    """Remove the base made here and images of earlier digests."""
    listed = _podman("images", "--filter", f"reference={NAME}*", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    for old in listed:
        if old != name:
            _podman("image", "rm", old)


def _podman(*arguments: str, timeout: int = BUILD_SECONDS) -> subprocess.CompletedProcess:
    """Run podman; a run past its time counts as failed."""
    try:
        return subprocess.run(["podman", *arguments], capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(arguments, 124, "", f"no answer within {timeout} s")


def _must(*arguments: str) -> None:
    """Run podman and raise ImageError with its last line if it fails."""
    result = _podman(*arguments)
    if result.returncode:
        raise ImageError(f"podman {arguments[0]} of the seat image failed: {_last(result.stderr)}")


def _last(text: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
