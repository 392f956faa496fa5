"""A real conda channel, small enough to build in seconds: what conda-forge is to a class on AWS.

CPython 3.11 is Debian 12's, repacked; pip and friends are wheels, repacked as conda-forge packs them. py-rattler, which installs
from it on a seat, writes the index. The same inputs give the same packages, byte for byte; only the index says when it was written.
"""

from __future__ import annotations

import asyncio
import configparser
import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import zstandard
from rattler.index import index_fs

REQUIREMENTS = Path(__file__).with_name("channel-requirements.txt")
DEBS = "libpython3.11-minimal,libpython3.11-stdlib,python3.11-minimal"
ABI = ("python >=3.11,<3.12.0a0", "python_abi 3.11.* *_cp311")
NEEDS = {"pip": ("setuptools", "wheel"), "wheel": ("packaging",)}  # as on conda-forge, so that wheels meet them there already
TIMEOUT = 300  # seconds for one download
PLACEHOLDER = "/opt/conda-build/" + "_placehold" * 20  # stands in a package's files for the environment that they are installed into


class ChannelError(Exception):
    """The channel cannot be built; the text says what to do."""


@dataclass(frozen=True)
class Package:
    """One conda package: its names, the folder that holds its files, and what index.json and link.json say beyond them."""

    name: str
    version: str
    build: str
    tree: Path
    subdir: str = "linux-64"
    depends: tuple[str, ...] = ()
    build_number: int = 0
    index: dict = field(default_factory=dict)
    link: dict = field(default_factory=dict)

    @property
    def stem(self) -> str:
        return f"{self.name}-{self.version}-{self.build}"


def build(out: Path) -> None:
    """Write the channel into the empty folder `out`.

    Raises ChannelError where a download fails.
    """
    with tempfile.TemporaryDirectory(prefix="rehearsal-channel-") as folder:
        work = Path(folder)
        (work / "empty").mkdir()
        write(python_package(work), out)
        write(Package("python_abi", "3.11", "4_cp311", work / "empty", "noarch", ("python 3.11.*",), index={"noarch": "generic"}), out)
        for wheel in download_wheels(work / "wheels"):
            write(wheel_package(wheel, work / wheel.stem), out)
    index(out)


def index(out: Path) -> None:
    """Write repodata.json and repodata.json.zst of every subdir, as conda's own indexer does."""
    (out / "noarch").mkdir(parents=True, exist_ok=True)
    asyncio.run(index_fs(out, write_zst=True, write_shards=False))


def run(*command: str) -> None:
    """Run a download; its last line of complaint becomes the error."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT)
    except FileNotFoundError as error:
        raise ChannelError(f"{command[0]} is missing: run `make setup`.") from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        lines = str(error.stderr or error).strip().splitlines()
        raise ChannelError(f"{Path(command[0]).name} could not fetch the rehearsal's conda packages: {lines[-1]}") from error


def download_wheels(folder: Path) -> list[Path]:
    """Fetch the pinned wheels; pip checks their hashes."""
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
    run(*pip, "--no-deps", "--require-hashes", "--only-binary=:all:", "--dest", str(folder), "--requirement", str(REQUIREMENTS))
    return sorted(folder.glob("*.whl"))


def python_package(work: Path) -> Package:
    """Debian's CPython as a conda package: mmdebstrap unpacks the debs on any distribution, from Debian's own archive."""
    debian = work / "debian"
    run("mmdebstrap", "--quiet", "--variant=extract", f"--include={DEBS}", "bookworm", str(debian))
    version, revision = debian_version(debian / "usr/share/doc/libpython3.11-minimal/changelog.Debian.gz")
    tree = work / "python"
    shutil.copytree(debian / "usr/lib/python3.11", tree / "lib/python3.11", symlinks=True)
    (tree / "bin").mkdir()
    shutil.copy2(debian / "usr/bin/python3.11", tree / "bin/python3.11")
    for name in ("python", "python3"):
        (tree / "bin" / name).symlink_to("python3.11")
    undo_debian_layout(tree / "lib/python3.11")
    needs = ("python_abi 3.11.* *_cp311", "__glibc >=2.36")
    return Package("python", version, f"deb12u{revision}_cpython", tree, depends=needs, build_number=revision)


def debian_version(changelog: Path) -> tuple[str, int]:
    """Upstream version and security revision of a Debian 12 package, such as ("3.11.2", 9) for 3.11.2-6+deb12u9."""
    head = gzip.decompress(changelog.read_bytes()).decode().split("\n", 1)[0]
    found = re.search(r"\(([\d.]+)-\d+(?:\+deb12u(\d+))?\)", head)
    if not found:
        raise ChannelError(f"Debian's Python has an unknown version: {head}")
    return found[1], int(found[2] or 0)


def undo_debian_layout(lib: Path) -> None:
    """Make Debian's library behave as CPython's own: packages in site-packages, no "externally managed" refusal.

    Debian's `site` is frozen into the interpreter and looks into dist-packages only, hence the link.
    """
    (lib / "EXTERNALLY-MANAGED").unlink(missing_ok=True)
    (lib / "sitecustomize.py").unlink(missing_ok=True)
    (lib / "dist-packages").symlink_to("site-packages")
    sysconfig = lib / "sysconfig.py"
    text = sysconfig.read_text()
    text = text.replace("os.environ.get('DEB_PYTHON_INSTALL_LAYOUT', 'posix_local')", "'posix_prefix'")
    sysconfig.write_text(text.replace("prefix_scheme = 'posix_local'", "prefix_scheme = 'posix_prefix'"))


def wheel_package(wheel: Path, tree: Path) -> Package:
    """A wheel as conda-forge packs it: `noarch: python` where it is pure, else for this platform."""
    name, version = wheel.name.split("-")[:2]
    needs = ("python >=3.9", *NEEDS.get(name.lower(), ()))
    pure = wheel.name.endswith("-none-any.whl")
    site = tree / ("site-packages" if pure else "lib/python3.11/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for info in site.glob("*.dist-info"):
        (info / "INSTALLER").write_text("conda\n")
        with (info / "RECORD").open("a") as record:
            record.write(f"{info.name}/INSTALLER,,\n")
    if not pure:
        return Package(name.lower(), version, "py311_0", tree, depends=ABI)
    link = {"noarch": {"type": "python", "entry_points": entry_points(site)}, "package_metadata_version": 1}
    return Package(name.lower(), version, "pyh0_0", tree, "noarch", needs, index={"noarch": "python"}, link=link)


def entry_points(site: Path) -> list[str]:
    """Console scripts of an unpacked wheel, as link.json wants them: `pip = pip._internal:main`."""
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read(site.glob("*.dist-info/entry_points.txt"))
    return [f"{name} = {target}" for name, target in parser["console_scripts"].items()] if "console_scripts" in parser else []


def write(package: Package, channel: Path) -> Path:
    """Write one .conda file: a zip of two tar archives, files and metadata (conda's CEP "conda package format 2")."""
    paths = [describe(path, package.tree) for path in sorted(package.tree.rglob("*")) if path.is_symlink() or not path.is_dir()]
    out = channel / package.subdir / f"{package.stem}.conda"
    out.parent.mkdir(parents=True, exist_ok=True)
    members = {
        "metadata.json": json.dumps({"conda_pkg_format_version": 2}).encode(),
        f"pkg-{package.stem}.tar.zst": compress(tar_files(package.tree, paths)),
        f"info-{package.stem}.tar.zst": compress(tar_texts(metadata(package, paths))),
    }
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2023, 11, 14, 0, 0, 0)), data)
    return out


def metadata(package: Package, paths: list[dict]) -> dict[str, str]:
    """The files under info/ that conda reads."""
    about = {"name": package.name, "version": package.version, "build": package.build, "build_number": package.build_number}
    index = about | {"subdir": package.subdir, "depends": list(package.depends), "timestamp": 1700000000000} | package.index
    texts = {
        "about.json": json.dumps({"summary": f"{package.name}, repacked for a rehearsal"}),
        "files": "".join(f"{path['_path']}\n" for path in paths),
        "index.json": json.dumps(index),
        "paths.json": json.dumps({"paths": paths, "paths_version": 1}),
    }
    return texts | ({"link.json": json.dumps(package.link)} if package.link else {})


def describe(path: Path, tree: Path) -> dict:
    """One entry of paths.json; a link counts with the bytes that it points to."""
    data = path.read_bytes() if path.is_file() else b""
    kind = "softlink" if path.is_symlink() else "hardlink"
    name = path.relative_to(tree).as_posix()
    entry = {"_path": name, "path_type": kind, "sha256": hashlib.sha256(data).hexdigest(), "size_in_bytes": len(data)}
    if path.is_symlink() or PLACEHOLDER.encode() not in data:
        return entry
    return entry | {"prefix_placeholder": PLACEHOLDER, "file_mode": "binary" if b"\0" in data else "text"}


def compress(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=6).compress(data)


def tar_files(tree: Path, paths: list[dict]) -> bytes:
    """The package's files, without owner and times."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in paths:
            archive.add(tree / path["_path"], path["_path"], recursive=False, filter=anonymous)
    return buffer.getvalue()


def tar_texts(texts: dict[str, str]) -> bytes:
    """The metadata as info/NAME."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(f"info/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()
