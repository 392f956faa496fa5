"""Wings of shared code: each folder of module_utils imports only from those below it; the rehearsal's folders likewise."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = "ansible_collections.classroom.gpu.plugins"
FOLDER = ROOT / "collections" / PLUGINS.replace(".", "/")
# From the cloud down to text: a wing may import from itself and from those after it.
WINGS = ["ec2", "cost", "classroom", "stack", "gpu", "apt", "conda", "course", "jupyter", "seat", "common"]
# Inside plugins, too, imports go one way: what people call may use what the controller shares, and that what all share.
LAYERS = ["modules", "action", "callback", "connection", "filter", "inventory", "shell", "test", "plugin_utils", "module_utils"]
# Parts that the controller alone runs.
CONTROLLER = LAYERS[1:-2]


def imported(path: Path) -> set[str]:
    """Return the dotted names that a file imports, also inside functions; `from a import b` counts as a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def upward(order: list[str], folder: Path, package: str) -> list[str]:
    """Return each import of a package's folders that does not go down a list, as a sentence."""
    wrong = []
    for place, name in enumerate(order):
        for path in sorted((folder / name).rglob("*.py")):
            theirs = {one.removeprefix(f"{package}.").split(".")[0] for one in imported(path) if one.startswith(f"{package}.")}
            wrong += [f"{name}/{path.name} imports {other}, which is above it" for other in order[:place] if other in theirs]
    return wrong


def test_each_file_of_module_utils_lies_in_a_wing() -> None:
    folder = FOLDER / "module_utils"
    lying = {str(path.relative_to(folder)) for path in folder.rglob("*.py")}
    assert {name.split("/")[0] for name in lying} == set(WINGS), "a new wing goes into WINGS, where its imports allow it"


def test_imports_between_wings_go_down_only() -> None:
    assert upward(WINGS, FOLDER / "module_utils", f"{PLUGINS}.module_utils") == []


@pytest.mark.parametrize("layer", ["plugin_utils", "module_utils"])
def test_what_is_shared_knows_nothing_of_what_shares_it(layer: str) -> None:
    above = LAYERS[: LAYERS.index(layer)]
    assert upward([*above, layer], FOLDER, PLUGINS) == []


def test_a_module_runs_without_the_controllers_parts() -> None:
    theirs = {
        path.name: {name for name in imported(path) for part in (*CONTROLLER, "plugin_utils") if name.startswith(f"{PLUGINS}.{part}.")}
        for path in (FOLDER / "modules").glob("*.py")
    }
    assert {name: found for name, found in theirs.items() if found} == {}


def test_the_rehearsals_folders_import_down_only() -> None:
    assert upward(["api", "mirrors", "hosts"], ROOT / "rehearsal", "rehearsal") == []
