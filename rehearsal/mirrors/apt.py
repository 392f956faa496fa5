"""Builds signed APT repositories of NVIDIA's layout from the stand-ins of apt_packages, each with twins that must be refused.

A repository lies at <twin>/compute/cuda/repos/<system>/x86_64/, as on developer.download.nvidia.com. The keys are made at the first build,
kept apart from what is served, and used again: seats that know them stay content when the mirror is built anew.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

from rehearsal.mirrors import apt_packages, package_contents
from rehearsal.mirrors.apt_packages import Package
from rehearsal.mirrors.package_contents import Compiled, Link

KEY = "3bf863cc.pub"  # NVIDIA names its key so, after the end of its fingerprint
SIGNER, STRANGER = "Stand-in for NVIDIA's cudatools", "Somebody else"
SYSTEMS = {"debian12": apt_packages.debian, "ubuntu2204": apt_packages.ubuntu, "ubuntu2404": apt_packages.ubuntu}
TWINS = ("bad-key", "other-key", "tampered-index", "tampered-package")  # of debian12
TAMPERED = ("libcuda1_", "cuda-nvcc-", "libcudnn9-cuda-")  # one package of each set is enough
BEFORE, AFTER = b"Stand-in for", b"Tampered: fo"  # same length: the package still unpacks, only its checksum tells
URL = "http://198.19.0.1:8080/apt/good/compute/cuda/repos/{}/x86_64/"
TIMEOUT = 60  # seconds for one program
DATE = "1700000000"  # seconds since 1970, fixed: the same package is the same bytes everywhere


class AptError(Exception):
    """The repositories cannot be built; the text says what to do."""


def recipe() -> bytes:
    """All that decides what is built, but for the keys."""
    return b"".join(Path(file).read_bytes() for file in (__file__, apt_packages.__file__, package_contents.__file__))


def build(out: Path, keys: Path) -> None:
    """Write all repositories into the new folder `out`, signed by the keys in the private folder `keys`.

    Raises AptError.
    """
    out.mkdir(parents=True)
    with Keys(keys) as ring, tempfile.TemporaryDirectory(prefix="pool-", dir=out.parent) as folder:  # on one disk, for its files are linked
        pool = Pool(Path(folder))
        for system, packages in SYSTEMS.items():
            keyring = apt_packages.keyring(URL.format(system), ring.export(SIGNER))
            repository(place(out, "good", system), pool.debs([*packages(), keyring]), ring)
        repository(out / "ubuntu-archive/noble", pool.debs(apt_packages.ubuntu_archive()), ring, "Ubuntu")
        for twin in TWINS:
            spoil(twin, copy(place(out, "good", "debian12"), place(out, twin, "debian12")), ring)
        (out / "fingerprint").write_text(f"{ring.fingerprint(SIGNER)}\n")


def place(out: Path, twin: str, system: str) -> Path:
    return out / twin / "compute/cuda/repos" / system / "x86_64"


class Keys:
    """Two key pairs in a folder that only root reads: the mirror's own and a stranger's. The agent that gpg starts ends with the block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Keys:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = self.gpg("--with-colons", "--list-secret-keys").decode()
        for name in (SIGNER, STRANGER):
            if name not in known:
                self.gpg("--passphrase", "", "--quick-generate-key", name, "rsa3072", "sign", "never")
        return self

    def __exit__(self, *_: object) -> None:
        run("gpgconf", "--homedir", str(self.folder), "--kill", "gpg-agent")

    def gpg(self, *arguments: str, text: bytes = b"") -> bytes:
        return run("gpg", "--homedir", str(self.folder), "--batch", "--quiet", "--no-tty", *arguments, text=text)

    def export(self, name: str, *options: str) -> bytes:
        """The public half. options: --armor for text."""
        return self.gpg(*options, "--export-options", "export-minimal", "--export", f"={name}")

    def fingerprint(self, name: str) -> str:
        """40 hexadecimal digits."""
        listed = self.gpg("--with-colons", "--list-keys", f"={name}").decode()
        return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))

    def sign(self, release: Path, name: str) -> None:
        """Write InRelease and Release.gpg beside a Release."""
        text = release.read_bytes()
        for file, how in (("InRelease", "--clearsign"), ("Release.gpg", "--detach-sign")):
            signed = self.gpg("--armor", "--digest-algo", "SHA512", "--local-user", f"={name}", how, text=text)
            release.with_name(file).write_bytes(signed)


def run(*command: str, text: bytes = b"", **environment: str) -> bytes:
    """Run a program and return what it prints; its last line of complaint becomes the error."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, check=True, timeout=TIMEOUT, env=os.environ | environment)
    except FileNotFoundError as error:
        raise AptError(f"{command[0]} is missing: run `make setup`.") from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        lines = (error.stderr or b"").decode(errors="replace").strip().splitlines() or [str(error)]
        raise AptError(f"{command[0]} could not make the rehearsal's APT packages: {lines[-1]}") from error
    return done.stdout


class Pool:
    """Packages that are built once and linked into every repository that holds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def debs(self, packages: list[Package]) -> dict[Path, Package]:
        """Build what is new; return every package by its file."""
        files = {self.folder / f"{digest(package)}/{package.file_name}": package for package in packages}
        with ThreadPoolExecutor() as pool:
            list(pool.map(deb, *zip(*((file, package) for file, package in files.items() if not file.exists()), strict=True)))
        return files


def digest(package: Package) -> str:
    return hashlib.sha256(repr(package).encode()).hexdigest()[:16]


def deb(file: Path, package: Package) -> None:
    """Build one .deb."""
    tree = file.parent / package.name
    (tree / "DEBIAN").mkdir(parents=True)
    write(tree / "DEBIAN/control", package.control)
    write(tree / "DEBIAN/conffiles", "".join(f"/{path}\n" for path in package.contents.files if path.startswith("etc/")))
    for name, script in package.contents.scripts.items():
        write(tree / "DEBIAN" / name, script)
    for path, content in package.contents.files.items():
        write(tree / path, content)
    for folder in (path for path in tree.rglob("*") if path.is_dir() and not path.is_symlink()):
        folder.chmod(0o755)
    tree.chmod(0o755)
    run("dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(file), SOURCE_DATE_EPOCH=DATE)
    shutil.rmtree(tree)


def write(path: Path, content: str | bytes | Link | Compiled) -> None:
    """Write a file of a package: a script is executable, all else is not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Link):
        path.symlink_to(content.target)
    elif isinstance(content, Compiled):
        compile_c(content, path)
    else:
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(data)
        path.chmod(0o755 if data.startswith(b"#!") else 0o644)


def compile_c(code: Compiled, out: Path) -> None:
    """Compile without any C library, so that tcc is all that is needed."""
    source = out.with_name(f"{out.name}.c")
    source.write_text(code.source)
    how = ("-shared", "-nostdlib", f"-Wl,-soname={code.soname}") if code.soname else ("-c",)
    run("tcc", *how, "-o", str(out), str(source))
    source.unlink()
    out.chmod(0o644)


def repository(folder: Path, debs: dict[Path, Package], ring: Keys, origin: str = "NVIDIA") -> None:
    """Lay out a flat repository: packages, index, signatures and key."""
    folder.mkdir(parents=True)
    for file in debs:
        os.link(file, folder / file.name)
    index(folder, "\n".join(stanza(file, package) for file, package in debs.items()))
    release(folder, origin)
    ring.sign(folder / "Release", SIGNER)
    (folder / KEY).write_bytes(ring.export(SIGNER, "--armor"))


def stanza(file: Path, package: Package) -> str:
    """A package's paragraph in the index."""
    data = file.read_bytes()
    found = {"Filename": f"./{file.name}", "Size": len(data), "SHA256": hashlib.sha256(data).hexdigest()}
    return package.control + "".join(f"{key}: {value}\n" for key, value in found.items())


def index(folder: Path, text: str) -> None:
    """Write the index, plain and compressed; the same text is the same bytes."""
    (folder / "Packages").write_text(text)
    (folder / "Packages.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def release(folder: Path, origin: str) -> None:
    """Write what is signed: checksums of the index."""
    label = {"NVIDIA": "NVIDIA CUDA"}.get(origin, origin)
    data = {name: (folder / name).read_bytes() for name in ("Packages", "Packages.gz")}
    sums = "".join(f" {hashlib.sha256(content).hexdigest()} {len(content)} {name}\n" for name, content in data.items())
    head = f"Origin: {origin}\nLabel: {label}\nArchitecture: x86_64 amd64\nDate: {formatdate(usegmt=True)}\n"
    (folder / "Release").write_text(f"{head}SHA256:\n{sums}")


def copy(good: Path, twin: Path) -> Path:
    """A copy whose files are links: whoever changes one replaces it."""
    shutil.copytree(good, twin, copy_function=os.link)
    return twin


def spoil(twin: str, folder: Path, ring: Keys) -> None:
    """Make a twin wrong in one way, its name's, and in no other."""
    if twin in ("bad-key", "other-key"):
        for name in ("InRelease", "Release.gpg"):
            (folder / name).unlink()
        ring.sign(folder / "Release", STRANGER)
    if twin == "other-key":
        replace(folder / KEY, ring.export(STRANGER, "--armor"))
    if twin == "tampered-index":
        text = (folder / "Packages").read_bytes().replace(BEFORE, AFTER)
        replace(folder / "Packages", text)
        replace(folder / "Packages.gz", gzip.compress(text, mtime=0))
    if twin == "tampered-package":
        for file in folder.glob("*.deb"):
            if file.name.startswith(TAMPERED):
                replace(file, file.read_bytes().replace(BEFORE, AFTER))


def replace(file: Path, data: bytes) -> None:
    """Write a new file in an old one's place; other links to the old one keep it."""
    file.unlink()
    file.write_bytes(data)
