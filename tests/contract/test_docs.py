"""Pages and project hold together: links and paths lead somewhere, and what a page promises to list is listed whole."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COLLECTION = ROOT / "collections/ansible_collections/classroom/gpu"
PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "tests/*.md", "molecule/*.md", "examples/*/*.md") for path in ROOT.glob(pattern)
)
# A page may name a file from the top, as the code calls it, or as its own folder does.
BASES = (ROOT, COLLECTION, COLLECTION / "plugins", ROOT / "playbooks", ROOT / "roles/base")
PLACES = "docs|roles|playbooks|tests|molecule|rehearsal|stacks|group_vars|inventory|rosters|collections|plugins|tasks"
PLACES += "|module_utils|plugin_utils|action|callback|connection|filter|modules|shell|defaults|meta"
NAMED = re.compile(rf"(?:{PLACES})/[\w<>*./…-]*")
# What stands for any name: classes of examples, and names that a reader fills in.
ANY = re.compile(r"<[\w-]+>|NAME|CLASS|mri2027|thesis|…")
MADE = ("conda-linux-64.lock",)  # by a run, so not there yet
WIDTH = 110
WINGS = sorted(path.name for path in (COLLECTION / "plugins/module_utils").iterdir() if list(path.glob("*.py")))


def text(path: str) -> str:
    """Return a file of the project."""
    return (ROOT / path).read_text(encoding="utf-8")


def prose(page: Path) -> Iterator[str]:
    """Yield the lines of a page that are wrapped: no tables, no code."""
    fenced = False
    for line in page.read_text(encoding="utf-8").splitlines():
        fenced ^= line.lstrip().startswith("```")
        if not fenced and not line.startswith(("|", "    ", "#")):
            yield line


def without_code(page: Path) -> str:
    """Return a page without blocks and spans of code, in which nothing is a link."""
    return re.sub(r"(?s)```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return what can stand after a `#` for the headings of a page, as GitHub makes it."""
    heads = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links(page: Path) -> list[str]:
    """Return the links of a page that lead into the project."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_code(page))
    return [link for link in found if "://" not in link and not link.startswith("mailto:")]


def leads(page: Path, link: str) -> bool:
    """Tell whether a link of a page leads to a file, and to a heading of it."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def paths(page: Path) -> set[str]:
    """Return the files and folders that a page names in code."""
    code = re.findall(r"(?s)```.*?```|`[^`]+`", page.read_text(encoding="utf-8"))
    words = {word.strip("`.,;:()") for one in code for word in one.split()}
    return {word for word in words if NAMED.fullmatch(word) and not word.endswith(MADE)}


def is_there(path: str) -> bool:
    """Tell whether a file is there, from any of the places from which pages name files; a name that stands for any is one that exists."""
    return any(next(base.glob(ANY.sub("*", path).rstrip("/")), None) for base in BASES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not leads(page, link)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_file_that_a_page_names_is_there(page: Path) -> None:
    assert sorted(path for path in paths(page) if not is_there(path)) == []
    named = set(re.findall(r"\bplaybooks/\w+\.yml", page.read_text(encoding="utf-8")))
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped(page: Path) -> None:
    assert [line for line in prose(page) if len(line) > WIDTH and " " in line[:WIDTH].strip()] == []


def test_the_start_page_is_one_screen() -> None:
    assert len(text("README.md").splitlines()) <= 70


def rows(page: str) -> list[list[str]]:
    """Return the rows of all tables of a page, without their heads."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text(page).splitlines() if line.startswith("|")]
    return [row for row in found if not row[0].startswith("-")]


def scenario(name: str) -> set[str]:
    """Return the roles that a scenario needs first."""
    settings = yaml.safe_load(text(f"molecule/{name}/molecule.yml")) or {}
    return set(settings.get("ansible", {}).get("env", {}).get("MOLECULE_NEEDS", "").split())


def test_each_scenario_of_molecule_is_listed_with_what_it_needs() -> None:
    listed = {row[0].strip("`"): set(re.findall("`([a-z_]+)`", row[2])) for row in rows("molecule/README.md")[1:]}
    there = {path.parent.name: scenario(path.parent.name) for path in (ROOT / "molecule").glob("*/molecule.yml")}
    assert listed == there


def test_a_scenario_that_make_molecule_leaves_out_is_called_slow() -> None:
    slow = {row[0].strip("`") for row in rows("molecule/README.md") if "*slow*" in row[1]}
    assert slow == set(re.search(r"(?m)^SKIP = (.+)$", text("Makefile"))[1].split())


def folders(*places: str) -> set[str]:
    """Return the folders with Python in them, from tests/."""
    found = {path.parent for place in places for path in (ROOT / "tests" / place).glob("*/*.py")}
    return {f"{path.relative_to(ROOT / 'tests')}/" for path in found} | ({"unit/"} if "." in places else set())


def test_each_folder_of_tests_is_listed() -> None:
    listed = {one for row in rows("tests/README.md") for one in re.findall("`([a-z0-9/]+/)`", row[0])}
    assert listed == folders(".", "unit")


@pytest.mark.parametrize("page", ["tests/README.md", "molecule/README.md", "README.md", "CONTRIBUTING.md"])
def test_what_make_is_asked_for_is_a_target(page: str) -> None:
    targets = set(re.search(r"(?m)^\.PHONY: (.+)$", text("Makefile"))[1].split()) | {"test-all"}
    asked = re.findall(r"(?m)(?:`|^ +)make ([a-z -]+?)(?=[`A-Z]| {2}|$)", text(page))
    assert {word for words in asked for word in words.split()} <= targets


def picture() -> str:
    """Return the picture of site.yml's steps."""
    return re.search(r"(?s)```(.*?)```", text("docs/architecture.md"))[1]


def test_the_picture_has_the_roles_of_a_run_in_their_order() -> None:
    plays = yaml.safe_load(text("playbooks/configure.yml"))
    roles = [task["ansible.builtin.import_role"]["name"] for task in plays[1]["tasks"]]
    drawn = re.findall(r"(?m)^ ([a-z_]+(?:, [a-z_]+)*)  ", picture().partition("playbooks/configure.yml")[2])
    assert [role for line in drawn for role in line.split(", ") if role in roles] == roles


def test_the_picture_has_each_tag_that_the_code_knows() -> None:
    files = [*COLLECTION.rglob("*.py"), *(ROOT / "roles").rglob("*.yml")]
    known = {tag for path in files for tag in re.findall(r"\bclassroom:[a-z]+", path.read_text(encoding="utf-8"))}
    assert set(re.findall(r"\bclassroom:[a-z]+", picture())) == known


def test_the_map_has_each_playbook_wing_and_file_of_a_class() -> None:
    page = text("docs/architecture.md")
    missing = [f"playbooks/{path.name}" for path in (ROOT / "playbooks").glob("*.yml") if path.name not in page]
    missing += [f"{wing}/" for wing in WINGS if f"| `{wing}/` |" not in page]
    removed = re.findall(r'"([^"]+)"', yaml.safe_load(text("roles/class_secrets/vars/main.yml"))["class_secrets_files"])
    missing += [name for name in removed if name not in page and name not in ("ca.csr", "known_hosts.old")]
    assert missing == []


def test_each_decision_is_listed_and_has_its_parts() -> None:
    pages = sorted(path.name for path in (ROOT / "docs/decisions").glob("0*.md"))
    assert re.findall(r"\]\((0[^)]+)\)", text("docs/decisions/README.md")) == pages
    for page in pages:
        assert re.findall("(?m)^## (.+)$", text(f"docs/decisions/{page}")) == ["Context", "Decision", "Consequence"], page


def test_the_glossary_is_in_order() -> None:
    words = [row[0] for row in rows("docs/glossary.md")[1:]]
    assert words == sorted(words, key=str.lower) and len(words) == len(set(words))


def test_the_template_of_a_class_has_settings_that_exist() -> None:
    template = text("group_vars/classroom_example.yml.template")
    asked = yaml.safe_load(re.sub(r"(?m)^# (?=[a-z_]+:|  )", "", template))
    known = yaml.safe_load(text("group_vars/all/classroom.yml"))
    assert asked.keys() > yaml.safe_load(text("group_vars/classroom_dress.yml")).keys() - {"classroom_name"}
    assert sorted(asked.keys() - known.keys()) == []


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("group_vars/classroom_mri2027.yml", True),
        ("group_vars/classroom_dress.yml", False),
        ("group_vars/classroom_rehearsal.yml", False),
        ("group_vars/classroom_example.yml.template", False),
        ("group_vars/all/classroom.yml", False),
        ("rosters/mri2027.csv", True),
        ("rosters/example.csv", False),
        ("classes/123456789012-us-west-2/mri2027/secret", True),
    ],
)
def test_git_keeps_away_from_a_class_of_ones_own(path: str, ignored: bool, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text(text(".gitignore"))
    asked = subprocess.run(["git", "check-ignore", "--quiet", path], cwd=tmp_path, check=False)
    assert asked.returncode == (0 if ignored else 1)
