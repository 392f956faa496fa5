"""Solve for and install conda packages with py-rattler: a program of its own, which runs in the seat's tool environment.

It reads one JSON object from its input and prints one. It leaves by os._exit, because py-rattler 0.28 aborts in one of eight
ordinary exits.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path


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


async def solve(request: dict) -> tuple[list, list]:
    """Find the packages that meet the specs, staying with those installed where they do."""
    import rattler

    specs = [rattler.MatchSpec(spec) for spec in request["specs"]]
    solution = await rattler.solve(
        sources=request["channels"],
        specs=specs,
        gateway=rattler.Gateway(cache_dir=Path(request["cache"]) / "repodata"),
        platforms=[rattler.Platform.current(), rattler.Platform("noarch")],
        locked_packages=records(Path(request["prefix"]))[0],
        virtual_packages=rattler.VirtualPackage.detect(rattler.VirtualPackageOverrides.from_env()),
    )
    return specs, solution


async def install(request: dict, specs: list, solution: list) -> None:
    """Make the prefix hold the solution. Files are copied: a student's edit must not reach the cache that repairs it."""
    import rattler

    for path in records(Path(request["prefix"]))[1]:
        path.unlink()
    cache = rattler.PackageCacheLayer(Path(request["cache"])).with_validation_mode(rattler.ValidationMode.full())
    await rattler.install(
        solution,
        target_prefix=request["prefix"],
        package_cache=rattler.PackageCache.from_layers([cache]),
        show_progress=False,
        config=rattler.Config.from_toml("allow-hard-links = false"),
        requested_specs=[spec._match_spec for spec in specs],  # 0.28 does not take the public class
        reinstall_packages=set(request["reinstall"]) or None,
    )


async def answer(request: dict) -> dict:
    """Do what is asked; the answer is name and version of each package."""
    specs, solution = await solve(request)
    if request["install"]:
        await install(request, specs, solution)
    return {"packages": {record.name.normalized: str(record.version) for record in solution}}


def main() -> None:
    try:
        reply = asyncio.run(answer(json.load(sys.stdin)))
    except Exception as error:  # whatever the engine says is the answer
        reply = {"error": str(error)}
    print(json.dumps(reply), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
