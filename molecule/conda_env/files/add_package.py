"""Install a package beside those of an environment, as a student's `conda install` does: add_package.py PREFIX CHANNEL PACKAGE."""

import asyncio
import os
import sys
from pathlib import Path

import rattler


async def main() -> None:
    prefix, channel, package = sys.argv[1:]
    there = [rattler.PrefixRecord.from_path(path) for path in Path(prefix, "conda-meta").glob("*.json")]
    specs = [rattler.MatchSpec(f"{record.name.normalized} =={record.version}") for record in there] + [rattler.MatchSpec(package)]
    machine = rattler.VirtualPackage.detect(rattler.VirtualPackageOverrides.from_env())
    solution = await rattler.solve(sources=[channel], specs=specs, locked_packages=there, virtual_packages=machine)
    await rattler.install(solution, target_prefix=prefix, show_progress=False)


asyncio.run(main())
os._exit(0)  # py-rattler 0.28 aborts in one of eight ordinary exits
