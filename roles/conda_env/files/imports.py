"""Import what environment.yml names, with the environment's own Python, and print the version of each."""

import importlib
import json
import re
import sys
from importlib import metadata


def normal(package: str) -> str:
    """A name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def name(spec: str) -> str:
    """The name that a spec of conda or pip begins with."""
    return normal(re.split(r"[^\w.-]", spec.strip(), maxsplit=1)[0])


def module_of(package: str, owners: dict) -> str:
    """The module to import for a package: the one of its own name, else the first that it brought."""
    own = package.replace("-", "_")
    brought = sorted(module for module, names in owners.items() if package in map(normal, names) and module.isidentifier())
    return own if own in brought or not brought else brought[0]


def complaint(package: str, locked: dict, owners: dict, found: dict) -> str:
    """Import one package and note its version; what is wrong with it, if anything is."""
    try:
        found[package] = metadata.version(package)
        importlib.import_module(module_of(package, owners))
    except Exception as error:  # whatever a package raises when it is imported
        return f"{package}: {type(error).__name__}: {error}"
    wanted = locked.get(package, found[package])
    return "" if found[package] == wanted else f"{package} is {found[package]}, but the lock says {wanted}"


def main() -> None:
    asked = json.load(sys.stdin)
    pip = [name(item) for part in asked["dependencies"] if isinstance(part, dict) for item in part.get("pip") or []]
    conda = [name(item) for item in asked["dependencies"] if isinstance(item, str)]
    owners = metadata.packages_distributions()
    with_modules = {normal(owner) for names in owners.values() for owner in names}
    locked = {normal(package): version for package, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", asked["lock"], re.MULTILINE)}
    found = {}
    wrong = [complaint(package, locked, owners, found) for package in [*with_modules.intersection(conda), *pip]]
    wrong += [] if sys.prefix == asked["prefix"] else [f"this Python is that of {sys.prefix}, not of {asked['prefix']}"]
    print(json.dumps(found | {"python": sys.version.split()[0]}))
    sys.exit("\n".join(filter(None, wrong)) or None)


main()
