"""The kernels that Jupyter offers: the course's environment, and beside it, where the stack asks, TensorFlow 1 in the same one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment, StrictUndefined

ROLE = Path(__file__).parents[2] / "roles/jupyter"
TASKS = yaml.safe_load((ROLE / "tasks/kernels.yml").read_text())
SETTINGS = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
OWN = yaml.safe_load((ROLE / "vars/main.yml").read_text())
FILTERS = {"to_json": json.dumps, "ternary": lambda value, yes, no: yes if value else no}


def render(text: str, **names: object) -> str:
    """Fill a text in as Ansible does."""
    environment = Environment(trim_blocks=True, undefined=StrictUndefined)
    environment.filters |= FILTERS
    return environment.from_string(text).render(SETTINGS | {"jupyter_tf1_dir": OWN["jupyter_tf1_dir"]} | names)


def items(module: str, tf1: bool) -> list[dict]:
    """Return what the role's loop with a module does: each item, filled in."""
    loop = next(task["loop"] for task in TASKS if module in task and "loop" in task)
    return [{key: yaml.safe_load(render(str(value), jupyter_tf1_kernel=tf1)) for key, value in item.items()} for item in loop]


def kernels(tf1: bool) -> dict[str, dict]:
    """Return the kernelspecs that the role writes, by name."""
    wanted = [item for item in items("ansible.builtin.template", tf1) if item["wanted"]]
    template = (ROLE / "templates/kernel.json.j2").read_text()
    return {item["name"]: json.loads(render(template, item=item)) for item in wanted}


def test_only_a_stack_that_asks_has_the_second_kernel() -> None:
    assert SETTINGS["jupyter_tf1_kernel"] is False
    assert list(kernels(tf1=False)) == ["dl_aws"]
    assert list(kernels(tf1=True)) == ["dl_aws", "python3"]
    assert kernels(tf1=False)["dl_aws"] == kernels(tf1=True)["dl_aws"]


def test_the_second_kernel_differs_in_its_name_and_in_what_tensorflow_is() -> None:
    plain, tf1 = kernels(tf1=True).values()
    assert (plain.pop("display_name"), tf1.pop("display_name")) == ("dl_aws", "TF1 course")
    assert "PYTHONPATH" not in plain["env"]
    assert tf1["env"].pop("PYTHONPATH") == OWN["jupyter_tf1_dir"]
    assert plain == tf1


@pytest.mark.parametrize("tf1", [False, True])
def test_the_kernels_that_are_written_are_those_that_are_allowed(tf1: bool) -> None:
    assert yaml.safe_load(render(OWN["jupyter_kernels"], jupyter_tf1_kernel=tf1)) == list(kernels(tf1))


def test_where_it_is_not_wanted_nothing_of_it_stays() -> None:
    gone = [item["path"] for item in items("ansible.builtin.file", tf1=False) if not item.get("wanted", True)]
    assert gone == ["/etc/jupyter/kernels/python3", OWN["jupyter_tf1_dir"]]
    assert all(item.get("wanted", True) for item in items("ansible.builtin.file", tf1=True))
