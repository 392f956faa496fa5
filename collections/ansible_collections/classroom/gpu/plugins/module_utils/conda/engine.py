"""Solve for and install conda packages with py-rattler: a program of its own, which runs in the seat's tool environment.

It reads one JSON object from its input and prints one. It leaves by os._exit, because py-rattler 0.28 aborts in one of eight
ordinary exits.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

PACKAGE = re.compile(
    r"(?P<channel>.+/)(?P<subdir>[^/]+)/(?P<file>(?P<name>[^/]+)-(?P<version>[^-/]+)-(?P<build>[^-/]+?)\.(?:conda|tar\.bz2))"
)
RETRY = "Run again when it can be"
# What a package says of itself and a lock does not; conda reads it in conda-meta.
OWN_WORDS = ("arch", "platform", "build_number", "constrains", "depends", "license", "license_family", "noarch", "timestamp")
OWN_WORDS += ("features", "track_features", "python_site_packages_path")


def reply(stdout: str, stderr: str, status: int) -> dict:
    """Read what this program printed when it was run as one; a death without words is an error, too."""
    try:
        return json.loads(stdout)
    except ValueError:
        return {"error": f"py-rattler ended with status {status}: {stderr.strip()[-1500:]}"}


def records(prefix: Path) -> tuple[list, list[Path]]:
    """conda's records of what is installed, and the files of those that cannot be read."""
    from rattler import PrefixRecord

    found, broken = [], []
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            found.append(PrefixRecord.from_path(path))
        except Exception:  # py-rattler has no common class for what a damaged file raises
            broken.append(path)
    return found, broken


def machine(instead: dict[str, str]) -> list:
    """The machine as packages count with it (`__cuda`, `__glibc`, ...), with versions said `instead` of those found; none where empty."""
    import rattler

    found = [package.into_generic() for package in rattler.VirtualPackage.detect(rattler.VirtualPackageOverrides.from_env())]
    own = [package for package in found if package.name.normalized not in instead]
    build = {"__archspec": "x86_64"}
    said = [
        rattler.GenericVirtualPackage(rattler.PackageName(name), rattler.Version(version), rattler.BuildString(build.get(name, "0")))
        for name, version in instead.items()
        if version
    ]
    return own + said


async def offered(request: dict, gateway, platforms: list) -> list:
    """The specs; where that is allowed, without those whose package no channel has."""
    import rattler

    specs = [rattler.MatchSpec(spec) for spec in request["specs"]]
    if not request["optional"]:
        return specs
    names = [spec.split()[0] for spec in request["specs"]]
    found = await gateway.query(request["channels"], platforms, names, recursive=False)
    there = {record.name.normalized for channel in found for record in channel}
    return [spec for spec, name in zip(specs, names, strict=True) if re.split(r"[^\w.-]", name)[0] in there]


async def solve(request: dict) -> tuple[list, list]:
    """Find the packages that meet the specs, staying with those installed where they do."""
    import rattler

    gateway = rattler.Gateway(cache_dir=Path(request["cache"]) / "repodata")
    platforms = [rattler.Platform(request["platform"]) if request["platform"] else rattler.Platform.current(), rattler.Platform("noarch")]
    specs = await offered(request, gateway, platforms)
    solution = await rattler.solve(
        sources=request["channels"],
        specs=specs,
        gateway=gateway,
        platforms=platforms,
        locked_packages=records(Path(request["prefix"]))[0],
        virtual_packages=machine(request["virtual_packages"]),
    )
    return specs, solution


def locked(request: dict) -> tuple[list, list]:
    """The packages of a lock, each URL#SHA256, and those installed that stay. Nothing is asked of a channel."""
    import rattler

    made = []
    for line in request["explicit"]:
        url, _, digest = line.partition("#")
        part = PACKAGE.fullmatch(url).groupdict()
        noarch = "python" if part["subdir"] == "noarch" else None  # installed again when Python's version changes
        build = rattler.BuildString(part["build"])
        sha256 = bytes.fromhex(digest)
        record = rattler.PackageRecord(part["name"], part["version"], build, 0, part["subdir"], noarch=noarch, sha256=sha256)
        made.append(rattler.RepoDataRecord(record, part["file"], url, part["channel"]))
    named = {record.name.normalized for record in made}
    extras = [record for record in records(Path(request["prefix"]))[0] if record.name.normalized in set(request["extras"]) - named]
    return [rattler.MatchSpec(spec) for spec in request["specs"]], made + extras


async def install(request: dict, specs: list, solution: list) -> None:
    """Make the prefix hold the solution. Files are copied: a student's edit must not reach the cache that repairs it."""
    import rattler

    for path in records(Path(request["prefix"]))[1]:
        path.unlink()
    cache = rattler.PackageCacheLayer(Path(request["cache"])).with_validation_mode(rattler.ValidationMode.full())
    try:
        await rattler.install(
            solution,
            target_prefix=request["prefix"],
            package_cache=rattler.PackageCache.from_layers([cache]),
            show_progress=False,
            config=rattler.Config.from_toml("allow-hard-links = false"),
            requested_specs=[spec._match_spec for spec in specs],  # 0.28 does not take the public class
            reinstall_packages=set(request["reinstall"]) or None,
        )
    except Exception as error:
        raise RuntimeError(explanation(str(error), {record.file_name: record.url for record in solution})) from error


def explanation(error: str, urls: dict[str, str]) -> str:
    """py-rattler's chain of causes as one sentence, which names the address of a package that could not be had."""
    first, *causes = error.strip().split("\nCaused by: ")
    package = re.fullmatch(r"failed to fetch (\S+)", first)
    if package and package[1] in urls:
        return f"{urls[package[1]]} could not be fetched whole: {causes[-1]}. {RETRY}; what is there already is used."
    return f"{first}: {causes[-1]}" if causes else first


def complete(prefix: Path) -> None:
    """Give records that were made from a lock what the package says of itself, so that conda knows who needs whom."""
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        index = Path(record.get("extracted_package_dir") or "/nowhere") / "info/index.json"
        if "depends" in record and not record["depends"] and index.is_file():
            own = json.loads(index.read_text(encoding="utf-8"))
            draft = path.with_suffix(".new")
            draft.write_text(json.dumps(record | {key: own[key] for key in OWN_WORDS if own.get(key) is not None}), encoding="utf-8")
            draft.replace(path)


async def answer(request: dict) -> dict:
    """Do what is asked; the answer is name and version of each package, and its address with its sha256."""
    specs, solution = await solve(request) if request["solve"] else locked(request)
    if request["install"]:
        await install(request, specs, solution)
    if request["install"] and request["explicit"]:
        complete(Path(request["prefix"]))
    urls = sorted(f"{record.url}#{record.sha256.hex()}" for record in solution if record.sha256)
    return {"packages": {record.name.normalized: str(record.version) for record in solution}, "urls": urls}


def main() -> None:
    import asyncio  # takes as long as the look at an environment, and a run that finds nothing to do asks no engine

    try:
        said = asyncio.run(answer(json.load(sys.stdin)))
    except Exception as error:  # whatever the engine says is the answer
        said = {"error": explanation(str(error), {}), "again": "failed to fetch" in str(error) or RETRY in str(error)}
    print(json.dumps(said), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
