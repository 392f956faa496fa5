"""The kernels that Jupyter offers: the course's environment, and beside it, where the stack asks, TensorFlow 1 in the same one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment, StrictUndefined

ROLE = Path(__file__).parents[2] / "roles/jupyter"
TASKS = yaml.safe_load((ROLE / "tasks/main.yml").read_text())
FILES = next(task["classroom.gpu.managed_files"]["files"] for task in TASKS if "classroom.gpu.managed_files" in task)
SETTINGS = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
OWN = yaml.safe_load((ROLE / "vars/main.yml").read_text())
FILTERS = {"to_json": json.dumps, "ternary": lambda value, yes, no: yes if value else no}
OF_KERNELS = re.compile("/etc/jupyter/kernels|jupyter_tf1_dir")
KERNEL = re.compile(r"/etc/jupyter/kernels/(\w+)/kernel.json")


def render(text: str, names: dict) -> str:
    """Fill a text in as Ansible does."""
    environment = Environment(trim_blocks=True, undefined=StrictUndefined)
    environment.filters |= FILTERS
    return environment.from_string(text).render(names)


def content(item: dict, names: dict) -> str:
    """Return the text that an entry names."""
    if "src" in item:
        return (ROLE / "files" / item["src"]).read_text(encoding="utf-8")
    own = {key: yaml.safe_load(render(value, names)) for key, value in item.get("vars", {}).items()}
    return render((ROLE / "templates" / item["template"]).read_text(encoding="utf-8"), names | own)


def files(**settings: object) -> list[dict]:
    """Return what the role wants of each of the kernels' paths."""
    names = SETTINGS | {"jupyter_tf1_dir": OWN["jupyter_tf1_dir"]} | settings
    for name in ("jupyter_kernels", "jupyter_kernel_is_tf1"):
        names[name] = yaml.safe_load(render(OWN[name], names))
    wanted = []
    for item in (item for item in FILES if OF_KERNELS.search(item["path"])):
        filled = {"path": render(item["path"], names), "state": render(item.get("state", "file"), names)}
        wanted.append(filled | ({"content": content(item, names)} if filled["state"] == "file" else {}))
    return wanted


def kernels(**settings: object) -> dict[str, dict]:
    """Return the kernelspecs that the role writes, by name."""
    written = [item for item in files(**settings) if item["state"] == "file"]
    return {match[1]: json.loads(item["content"]) for item in written if (match := KERNEL.fullmatch(item["path"]))}


def test_only_a_stack_that_asks_has_the_second_kernel() -> None:
    assert SETTINGS["jupyter_tf1_kernel"] is False
    plain, both = kernels(), kernels(jupyter_tf1_kernel=True)
    assert (list(plain), list(both)) == (["dl_aws"], ["dl_aws", "python3"])
    assert plain["dl_aws"] == both["dl_aws"]


def test_the_second_kernel_differs_in_its_name_and_in_what_tensorflow_is() -> None:
    plain, tf1 = kernels(jupyter_tf1_kernel=True).values()
    assert (plain.pop("display_name"), tf1.pop("display_name")) == ("dl_aws", "TF1 course")
    assert (plain["env"].pop("PYTHONPATH"), tf1["env"].pop("PYTHONPATH")) == ("", OWN["jupyter_tf1_dir"])
    assert plain == tf1


def test_no_kernel_reads_what_a_student_has_installed_or_set_for_every_python() -> None:
    for kernel in kernels(jupyter_tf1_kernel=True).values():
        own = {key: value for key, value in kernel["env"].items() if key.startswith("PYTHON") and key != "PYTHONPATH"}
        assert own == {"PYTHONHOME": "", "PYTHONSTARTUP": "", "PYTHONNOUSERSITE": "1", "PYTHONUSERBASE": SETTINGS["jupyter_kernel_env"]}


@pytest.mark.parametrize("tf1", [False, True])
@pytest.mark.parametrize("kernel", ["dl_aws", "python3"])
def test_the_kernels_that_are_written_are_those_that_are_allowed(kernel: str, tf1: bool) -> None:
    settings = {"jupyter_kernel": kernel, "jupyter_tf1_kernel": tf1}
    allowed = yaml.safe_load(render(OWN["jupyter_kernels"], SETTINGS | settings))
    assert allowed == list(kernels(**settings))


@pytest.mark.parametrize("tf1", [False, True])
@pytest.mark.parametrize("kernel", ["dl_aws", "python3"])
def test_no_path_is_wanted_in_two_ways(kernel: str, tf1: bool) -> None:
    wanted: dict[str, dict] = {}
    for item in files(jupyter_kernel=kernel, jupyter_tf1_kernel=tf1):
        assert wanted.setdefault(item["path"], item) == item


def test_where_it_is_not_wanted_nothing_of_it_stays() -> None:
    folders = ("/etc/jupyter/kernels/python3", OWN["jupyter_tf1_dir"])
    state = {item["path"]: item["state"] for item in files()}
    assert [state[folder] for folder in folders] == ["absent", "absent"]
    assert "absent" not in {item["state"] for item in files(jupyter_tf1_kernel=True)}
