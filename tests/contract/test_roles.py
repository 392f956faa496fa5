"""What every role of this repository promises, held against its files."""

from __future__ import annotations

import json
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
SEAT_ROLES = [
    task["ansible.builtin.import_role"]["name"] for task in yaml.safe_load((ROOT / "playbooks/configure.yml").read_text())[1]["tasks"]
]
LONGEST_TASKS_FILE = 60


def read(path: Path) -> dict:
    """Return a YAML file's content; an absent or empty file is empty."""
    return (yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None) or {}


def options(role: str) -> dict[str, dict]:
    """Return all options of all entries of a role's specification."""
    entries = read(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"].values()
    return {name: option for entry in entries for name, option in entry.get("options", {}).items()}


def assigned(node: object) -> set[str]:
    """Return the names that a tree of tasks registers, sets as facts or gives as vars."""
    if isinstance(node, list):
        return set().union(*(assigned(item) for item in node))
    if not isinstance(node, dict):
        return set()
    here = {node["register"]} if isinstance(node.get("register"), str) else set()
    for key in ("vars", "set_fact", "ansible.builtin.set_fact"):
        here |= set(node.get(key) or {}) - {"cacheable"}
    return here.union(*(assigned(value) for value in node.values()))


def tasks_files(role: str) -> list[Path]:
    """Return the tasks and handlers of a role."""
    return sorted(path for folder in ("tasks", "handlers") for path in (ROOT / "roles" / role / folder).glob("*.yml"))


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_those_of_the_specification(role: str) -> None:
    specified = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert read(ROOT / "roles" / role / "defaults/main.yml") == specified


@pytest.mark.parametrize("role", ROLES)
def test_an_option_is_described_and_has_a_default_or_is_required(role: str) -> None:
    for name, option in options(role).items():
        assert option.get("description") and option.get("type"), name
        assert ("default" in option) != bool(option.get("required")), name


@pytest.mark.parametrize("role", ROLES)
def test_variables_bear_the_name_of_their_role(role: str) -> None:
    names = set(options(role)) | set(read(ROOT / "roles" / role / "vars/main.yml"))
    names = names.union(*(assigned(read(path)) for path in tasks_files(role)))
    assert [name for name in sorted(names) if not name.lstrip("_").startswith(f"{role}_")] == []


@pytest.mark.parametrize("role", SEAT_ROLES)
def test_a_role_of_the_seats_verifies_itself(role: str) -> None:
    assert "verify" in read(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]
    assert read(ROOT / "roles" / role / "tasks/verify.yml")


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_of_the_specification_is_a_tasks_file(role: str) -> None:
    entries = set(read(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"])
    assert "main" in entries
    assert entries <= {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")}


@pytest.mark.parametrize("role", ROLES)
def test_tasks_files_can_be_read_at_a_glance(role: str) -> None:
    for path in tasks_files(role):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_TASKS_FILE, path


def test_the_settings_reach_options_that_exist() -> None:
    shared = {"classroom_root", "classroom_classes", "classroom_dir", "classroom_stack_parts"}
    known = {name for role in ROLES for name in options(role)} | shared
    assert [name for name in read(ROOT / "group_vars/all/roles.yml") if name not in known] == []


def test_collections_are_pinned_at_the_versions_that_ansible_brings() -> None:
    for collection in read(ROOT / "requirements.yml")["collections"]:
        manifest = "ansible_collections/{}/MANIFEST.json".format(collection["name"].replace(".", "/"))
        installed = json.loads(Path(distribution("ansible").locate_file(manifest)).read_text(encoding="utf-8"))
        assert installed["collection_info"]["version"] == collection["version"], collection["name"]


def test_collections_that_are_used_are_pinned() -> None:
    text = "".join(path.read_text(encoding="utf-8") for part in ("roles", "playbooks") for path in (ROOT / part).rglob("*.yml"))
    pinned = {collection["name"] for collection in read(ROOT / "requirements.yml")["collections"]}
    for name in ("amazon.aws", "ansible.posix", "ansible.utils", "community.crypto", "community.general"):
        assert (f"{name}." in text) == (name in pinned), name
