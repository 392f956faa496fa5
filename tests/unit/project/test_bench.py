"""What the bench makes of what it measured. No time is asserted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import builds, classroom, figures, processes, rows
from tests.bench.figures import FIGURES, Figure

MACHINE = "2 cores"
COMMITS, DATE = ("de00a98", "1234567+"), "2026-12-01"
CPU = Figure("noop1", "cpu", "nothing to do, 1 seat: CPU", aim=0.35)
PAIRS = [({"cpu": 40.0}, {"cpu": 10.0}), ({"cpu": 20.0}, {"cpu": 10.0}), ({"cpu": 40.0}, {"cpu": 16.0})]


# --- figures ----------------------------------------------------------------------------------------------


def test_ratios_are_taken_pair_by_pair() -> None:
    assert figures.ratios(PAIRS, "cpu") == [0.25, 0.5, 0.4]


def test_a_pair_whose_earlier_value_is_no_amount_has_no_ratio() -> None:
    assert figures.ratios([({"cpu": -0.1}, {"cpu": 1.0}), ({"cpu": 0.0}, {"cpu": 1.0}), *PAIRS[:1]], "cpu") == [0.25]


def test_further_seats_share_what_the_many_take_beyond_the_few() -> None:
    few, many = (
        [({"cpu": 45.0, "wall": 1}, {"cpu": 10.0, "wall": 1})],
        [({"cpu": 181.8, "wall": 1}, {"cpu": 46.0, "wall": 1})],
    )
    ((earlier, today),) = figures.further(few, many, 18)
    assert (earlier["cpu"], today["cpu"]) == (pytest.approx(7.6), pytest.approx(2.0))


@pytest.mark.parametrize(
    ("figure", "ratio", "today", "cell"),
    [
        (CPU, 0.35, 99.0, "≤ 0.35"),
        (CPU, 0.4, 1.0, "≤ 0.35, missed by 0.05"),
        (Figure("memory20", "pss", "", "MB", aim=600, absolute=True), 9.0, 580.0, "≤ 600 MB"),
        (
            Figure("memory20", "pss", "", "MB", aim=600, absolute=True),
            0.1,
            640.0,
            "≤ 600 MB, missed by 40 MB",
        ),
        (Figure("counts", "tasks", "", "", aim=20, absolute=True), 0.5, 23.0, "≤ 20, missed by 3"),
        (Figure("noop2", "cpu", ""), 9.0, 9.0, ""),
    ],
)
def test_an_aim_says_by_how_much_it_is_missed(figure: Figure, ratio: float, today: float, cell: str) -> None:
    assert figures.aim(figure, ratio, today) == cell


def test_a_line_has_medians_and_the_spread_of_the_ratios() -> None:
    line = figures.line(CPU, PAIRS, COMMITS, DATE)
    assert line == (
        CPU.what,
        "0.40",
        "0.25 to 0.50",
        "≤ 0.35, missed by 0.05",
        "40.0 s",
        "10.0 s",
        "3",
        *COMMITS,
        DATE,
    )


def test_a_line_without_a_ratio_says_so() -> None:
    line = figures.line(CPU, [({"cpu": 0.0}, {"cpu": 1.0})], COMMITS, DATE)
    assert line[1:6] == ("-", "-", "", "0.0 s", "1.0 s")
    assert len(line) == len(figures.HEAD)


def test_lines_that_are_not_measured_again_are_kept_in_the_order_of_the_table() -> None:
    old = {figure.what: figures.line(figure, [({figure.measure: 4.0}, {figure.measure: 2.0})], COMMITS, "earlier") for figure in FIGURES}
    lines = figures.kept(figures.page(old, MACHINE), MACHINE)
    assert lines == old
    lines[CPU.what] = figures.line(CPU, PAIRS, COMMITS, DATE)
    again = figures.kept(figures.page(dict(reversed(lines.items())), MACHINE), MACHINE)
    assert list(again) == [figure.what for figure in FIGURES]
    assert (again[CPU.what][-1], again[FIGURES[1].what][-1]) == (DATE, "earlier")


def test_lines_of_another_machine_or_of_no_figure_are_not_kept() -> None:
    page = figures.page({CPU.what: figures.line(CPU, PAIRS, COMMITS, DATE)}, MACHINE)
    assert figures.kept(page, "4 cores") == {}
    assert figures.kept(page.replace(CPU.what, "something else"), MACHINE) == {}


def test_each_figure_is_of_a_row_that_can_be_asked_for() -> None:
    assert {figure.row for figure in FIGURES} - {"further"} == {*rows.CLASS_ROWS, *rows.MAKE_ROWS}
    assert len({figure.what for figure in FIGURES}) == len(FIGURES)


# --- processes --------------------------------------------------------------------------------------------


def test_a_parent_is_read_behind_a_name_with_brackets() -> None:
    assert processes.parse_parent("42 (a) b (c)) S 7 42 42 0 -1") == 7


def test_descendants_are_all_below_a_process() -> None:
    assert processes.descendants({2: 1, 3: 2, 4: 3, 5: 1, 6: 5}, 2) == {2, 3, 4}


def test_memory_is_read_in_megabytes() -> None:
    text = "00400000-7fff ---p 00000000 00:00 0 [rollup]\nRss:  2000 kB\nPss:  1000 kB\nPss_Anon:  900 kB\n"
    assert processes.parse_rollup(text) == {"rss": 2.048, "pss": 1.024}
    assert processes.parse_rollup("") == {}


def test_the_highest_value_of_each_name_is_kept() -> None:
    assert processes.highest({"rss": 3.0, "pss": 1.0}, {"rss": 2.0, "pss": 2.0}) == {"rss": 3.0, "pss": 2.0}
    assert processes.highest({}, {"rss": 2.0}) == {"rss": 2.0}


BUSY = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"


@pytest.mark.parametrize("watch", [False, True])
def test_a_command_is_charged_with_what_it_waited_for(tmp_path: Path, watch: bool) -> None:
    child = f"import subprocess, sys; print('out'); subprocess.run([sys.executable, '-c', '''{BUSY}''']); sys.exit(3)"
    done = processes.run([sys.executable, "-c", child], tmp_path, os.environ, tmp_path / "log", watch)
    assert (done.status, done.output) == (3, "out\n")
    assert done.cpu >= 0.2
    assert (done.memory.get("rss", 0) >= done.memory.get("pss", 0) > 0) == watch


def test_an_interrupt_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(pid: int, options: int) -> None:
        started.append(pid)
        raise KeyboardInterrupt

    started: list[int] = []
    monkeypatch.setattr(os, "wait4", interrupted)
    with pytest.raises(KeyboardInterrupt):
        processes.run(["sleep", "600"], tmp_path, os.environ, tmp_path / "log")
    assert not Path(f"/proc/{started[0]}").exists()


# --- what is run ------------------------------------------------------------------------------------------


def test_modules_are_counted_once_whoever_uses_them() -> None:
    output = "Using module file /a/modules/stat.py\n<s01> EXEC\nUsing module file /a/modules/stat.py\nUsing module file /b/conda_env.py\n"
    assert classroom.modules(output) == {"/a/modules/stat.py", "/b/conda_env.py"}


def test_a_build_brings_its_own_tools_and_nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"ANSIBLE_FORKS", "AWS_PROFILE", "CLASSROOM_PAYLOAD_CACHE", "MAKEFLAGS", "MAKELEVEL"}
    for name in own:
        monkeypatch.setenv(name, "1")
    environment = builds.Build(Path("/build"), "1234567").environment()
    assert not own & environment.keys()
    assert environment["PATH"].startswith(f"/build/.venv/bin{os.pathsep}")
    assert environment["PYTHONPATH"] == "/build/collections"


def commit(path: str) -> None:
    """Commit a file of the checkout."""
    builds.git("add", path)
    builds.git("commit", "--quiet", "-m", path)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit in place of this one."""
    root = tmp_path / "checkout"
    (root / ".venv").mkdir(parents=True)
    (root / "requirements.txt").write_text("ansible\n")
    monkeypatch.setattr(builds, "ROOT", root)
    builds.git("init", "--quiet")
    builds.git("config", "user.name", "Ada")
    builds.git("config", "user.email", "ada@example.org")
    commit("requirements.txt")
    return root


def test_an_earlier_build_shares_equal_tools_and_leaves_nothing(checkout: Path, tmp_path: Path) -> None:
    with builds.earlier("HEAD", tmp_path) as build:
        assert (build.root / "requirements.txt").is_file()
        assert (build.root / ".venv").resolve() == checkout / ".venv"
    assert (checkout / ".venv").is_dir() and not build.root.exists()
    assert len(builds.git("worktree", "list").splitlines()) == 1


def test_an_earlier_build_with_other_pins_makes_its_own_tools(checkout: Path, tmp_path: Path) -> None:
    script = checkout / "setup.sh"
    script.write_text("#!/bin/sh\nmkdir .venv\n")
    script.chmod(0o755)
    commit("setup.sh")
    (checkout / "requirements.txt").write_text("ansible, newer\n")
    with builds.earlier("HEAD", tmp_path) as build:
        assert (build.root / ".venv").is_dir() and not (build.root / ".venv").is_symlink()


def test_a_commit_that_does_not_exist_is_one_sentence(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(builds.BenchError, match="no-such-commit"), builds.earlier("no-such-commit", tmp_path):
        pass


def test_the_earlier_build_is_the_last_release_if_there_is_one(checkout: Path) -> None:
    assert builds.default_base() == builds.EARLIER
    builds.git("tag", "v1.0")
    assert builds.default_base() == "v1.0"


def test_builds_are_measured_in_turn() -> None:
    both, order = (builds.Build(Path("/a"), "a"), builds.Build(Path("/b"), "b")), []

    def measure(build: builds.Build) -> dict[str, float]:
        order.append(build.commit)
        return {"cpu": float(len(order))}

    assert bench.paired("noop1", 2, measure, both) == [
        ({"cpu": 1.0}, {"cpu": 2.0}),
        ({"cpu": 3.0}, {"cpu": 4.0}),
    ]
    assert order == ["a", "b", "a", "b"]


def test_a_report_is_written_after_each_row_and_works_out_further_seats(tmp_path: Path) -> None:
    page = tmp_path / "figures.md"
    report = bench.Report(COMMITS, page)
    report.add("noop2", [({"cpu": 45.0, "wall": 70.0}, {"cpu": 10.0, "wall": 20.0})])
    assert "each further seat" not in page.read_text()
    report.add("noop20", [({"cpu": 181.8, "wall": 300.0}, {"cpu": 46.0, "wall": 100.0})])
    (line,) = [one for one in page.read_text().splitlines() if "each further seat" in one]
    assert "| 0.26 | 0.26 to 0.26 | ≤ 2 s | 7.6 s | 2.0 s | 1 |" in line


def test_rows_come_in_the_order_in_which_they_are_measured() -> None:
    assert bench.parse(["--rows", "tests", "repair", "noop1"]).rows == ["noop1", "repair", "tests"]
    assert bench.parse(["--rows"]).rows == list(rows.CLASS_ROWS)


@pytest.mark.parametrize("wrong", [["--rows", "noop3"], ["--runs", "0"]])
def test_what_cannot_be_measured_is_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        bench.parse(wrong)
