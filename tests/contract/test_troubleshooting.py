"""docs/troubleshooting.md and the program hold together: each sentence there is one that the program says, and that a test has seen.

A row needs nothing but itself. Its words are looked up in the strings of the plugins, roles and playbooks, and in those of the tests,
with `…` for whatever differs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/troubleshooting.md"
PLUGINS = ROOT / "collections/ansible_collections/classroom/gpu/plugins"
HEAD, RULE = "What you see", "---"
# What programs of others say, which ours hand on as they found it.
HANDED_ON = ["Cannot solve the request"]
LEAST, RUN = 10, 3  # characters and words of a test's string, so that it is a part of a sentence


def cells(line: str) -> list[str]:
    """Return the cells of a line of a table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@cache
def rows() -> list[list[str]]:
    """Return the rows of all tables of the page."""
    found = [cells(line) for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [row for row in found if row[0] != HEAD and not row[0].startswith(RULE)]


def literal(cell: str) -> str:
    """Return the words of a cell as a teacher sees them: its outer marks go, those within are the sentence's own."""
    return cell[1:-1]


def text_of(node: ast.AST) -> str:
    """Return a string of a program with `…` where something is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def strings(path: Path) -> Iterator[str]:
    """Yield every string of a file: of Python those of its code, of YAML every text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from filter(None, map(text_of, ast.walk(ast.parse(text))))
    else:
        yield from re.sub(r"\s+", " ", text).split('"')


@cache
def program() -> list[str]:
    """Return all strings of the program."""
    written = [path for folder in ("roles", "playbooks", "group_vars") for path in (ROOT / folder).rglob("*.yml")]
    found = [string for path in [*PLUGINS.rglob("*.py"), *written] for string in strings(path)]
    return [re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\{\w*\}", "…", string) for string in found] + HANDED_ON


@cache
def strings_of_tests() -> str:
    """Return the words of all strings of the tests that may be part of a sentence."""
    paths = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    paths += [path for path in (ROOT / "molecule").rglob("*.yml") if path.is_file()]
    return "\n".join({words(string) for path in paths for string in strings(path) if len(string) >= LEAST})


def words(text: str) -> str:
    """Return the words of a text alone: expressions of tests write marks in their own way."""
    return f" {' '.join(re.findall(r'[A-Za-z0-9_]+', text))} "


def chunks(sentence: str) -> list[str]:
    """Return the parts of a sentence that do not differ."""
    return [chunk for chunk in sentence.split("…") if chunk.strip()]


def says(string: str, sentence: str) -> bool:
    """Tell whether a string has all parts of a sentence, in their order."""
    begin = 0
    for chunk in chunks(sentence):
        begin = string.find(chunk, begin) + len(chunk) if chunk in string[begin:] else -1
        if begin < 0:
            return False
    return True


def is_seen(sentence: str) -> bool:
    """Tell whether a test has some words of a sentence, as many as make it that one."""
    parts = [words(part).split() for part in chunks(sentence)]
    runs = [" ".join(part[start : start + RUN]) for part in parts for start in range(max(1, len(part) - RUN + 1))]
    return any(words(run) in strings_of_tests() for run in runs if len(run) >= LEAST)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:60])
def test_a_sentence_of_the_page_is_one_that_the_program_says_and_a_test_has_seen(row: list[str]) -> None:
    sentence, meaning, step = literal(row[0]), *row[1:]
    assert row[0].startswith("`") and row[0].endswith("`") and meaning and step, "a row is: `what one sees`, what it means, what to type"
    assert any(says(string, sentence) for string in program()), f"nothing says: {sentence}"
    assert is_seen(sentence), f"no test has seen: {sentence}"


def test_no_sentence_is_there_twice() -> None:
    told = [row[0] for row in rows()]
    assert len(told) == len(set(told)) and len(told) > 60


@pytest.mark.parametrize("command", sorted({found for row in rows() for found in re.findall(r"playbooks/\w+\.yml", " ".join(row))}))
def test_what_is_to_be_typed_is_there(command: str) -> None:
    assert (ROOT / command).is_file()


def test_a_setting_that_is_named_is_one() -> None:
    known = yaml.safe_load((ROOT / "group_vars/all/classroom.yml").read_text(encoding="utf-8"))
    named = {word for row in rows() for word in re.findall(r"\bclassroom_[a-z_]+", " ".join(row[1:]))}
    assert named <= {*known, "classroom_request_quota"}, named - {*known}
