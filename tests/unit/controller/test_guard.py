"""Which command lines are refused, and with which line to type instead."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.plugin_utils import guard

KNOWN = ["classroom_image", "classroom_name"]


@pytest.mark.parametrize(
    ("classroom", "subset", "extra"),
    [
        ("class", None, {}),
        ("a" * 31, None, {"seats": "s01,s02", "confirm": "true", "interrupt": True, "reprove": "true"}),
        ("b_2", None, {"classroom_image": "/x", "seats": "spare-a"}),
    ],
)
def test_accepted(classroom: str, subset: str | None, extra: dict) -> None:
    assert guard.refusal(classroom, subset, extra, "run", KNOWN) is None


def test_access_is_opened_where_one_is() -> None:
    for extra, words in (({"here": "true"}, None), ({}, "-e here=true")):
        said = guard.refusal("class", None, extra, "ansible-playbook playbooks/access.yml", KNOWN)
        assert said is None if words is None else words in said


@pytest.mark.parametrize(
    ("classroom", "subset", "extra", "words"),
    [
        ("Class", None, {}, "is no name of a class"),
        ("a-b", None, {}, "is no name of a class"),
        ("a" * 32, None, {}, "is no name of a class"),
        ("class\n", None, {}, "is no name of a class"),
        ("class", "s01", {}, "Type: run -e seats=s01"),
        ("class", None, {"seat": "s01"}, "Did you mean seats? Type: run -e seats=s01"),
        ("class", None, {"comfirm": "true"}, "Did you mean confirm? Type: run -e confirm=true"),
        ("class", None, {"xyz": "1"}, "reprove, fresh_course, ends, here, instance_type, gib and the settings."),
        ("class", None, {"here": "true"}, "Type: ansible-playbook playbooks/access.yml -e here=true"),
        ("class", None, {"gib": "150", "seats": "s02"}, "Type: ansible-playbook playbooks/grow.yml -e seats=s02 -e gib=150"),
        ("class", None, {"instance_type": "g5.xlarge"}, "playbooks/resize.yml -e seats=s01 -e instance_type=g5.xlarge"),
        ("class", None, {"classroom_name": "b"}, "Type: CLASSROOM=b run"),
        ("class", None, {"seats": "s01:s02"}, "Type: run -e seats=s01,s02"),
        ("class", None, {"seats": "localhost"}, "'localhost' is no seat id"),
        ("class", None, {"seats": "*"}, "'*' is no seat id"),
        ("class", None, {"seats": ["s01"]}, "names no seat"),
        ("class", None, {"ends": "20:00"}, "Only extend.yml moves the end"),
        ("class", None, {"until": "20:00"}, "Type: ansible-playbook playbooks/extend.yml -e ends=20:00"),
        ("class", None, {"fresh_course": "true"}, "Type, with whose it shall be: run -e fresh_course=true -e seats=s01"),
    ],
)
def test_refused(classroom: str, subset: str | None, extra: dict, words: str) -> None:
    assert words in guard.refusal(classroom, subset, extra, "run", KNOWN)


@pytest.mark.parametrize(
    ("playbook", "extra", "words"),
    [
        ("grow.yml", {"gib": "150", "seats": "s01"}, None),
        ("grow.yml", {"gib": 150, "seats": "s01,s02"}, None),
        ("grow.yml", {"gib": "150"}, "Type: ansible-playbook playbooks/grow.yml -e seats=s01 -e gib=150"),
        ("grow.yml", {"seats": "s07"}, "Type: ansible-playbook playbooks/grow.yml -e seats=s07 -e gib=150"),
        ("grow.yml", {"gib": "+50", "seats": "s07"}, "-e gib=+50 is no number of GiB."),
        ("resize.yml", {"instance_type": "g6.xlarge", "seats": "s01"}, None),
        ("resize.yml", {"instance_type": "g6.xlarge"}, "ansible-playbook playbooks/resize.yml -e seats=s01 -e instance_type=g6"),
        ("resize.yml", {"gib": "150", "seats": "s01"}, "needs to know which, and whose."),
        ("teardown.yml", {"machine": "i-0123456789abcdef0", "seats": "s01"}, None),
        ("teardown.yml", {"machine": "i-01234567"}, None),
        ("teardown.yml", {"machine": "s01"}, "Type: ansible-playbook playbooks/teardown.yml -e machine=i-0123456789abcdef0"),
        ("teardown.yml", {"machine": "*", "seats": "s01"}, "playbooks/teardown.yml -e seats=s01 -e machine=i-"),
        (
            "stop.yml",
            {"machine": "i-01234567", "seats": "s02"},
            "Only teardown.yml ends a machine, with its disk, and needs to know its id.",
        ),
    ],
)
def test_a_change_of_seats_needs_to_know_whose(playbook: str, extra: dict, words: str | None) -> None:
    said = guard.refusal("class", None, extra, f"ansible-playbook playbooks/{playbook}", KNOWN)
    assert said is None if words is None else words in said


def test_extending_needs_to_know_until_when() -> None:
    extend = "ansible-playbook playbooks/extend.yml"
    assert guard.refusal("class", None, {"ends": "20:00", "seats": "s01"}, extend, KNOWN) is None
    assert guard.refusal("class", None, {}, extend, KNOWN).endswith(f"Type: {extend} -e ends=20:00")


def test_only_the_playbooks_of_this_repository_are_guarded(tmp_path) -> None:
    assert guard.is_ours(str(guard.ROOT / "site.yml")) and guard.is_ours(str(guard.ROOT / "playbooks/stop.yml"))
    assert not guard.is_ours(str(tmp_path / "site.yml")) and not guard.is_ours(str(guard.ROOT / "molecule/shared/converge.yml"))


def test_settings_are_those_of_the_settings_file() -> None:
    assert {"classroom_account", "classroom_roster", "classroom_instance_type"} <= set(guard.settings())


def test_keys_need_a_folder_that_can_be_written(tmp_path) -> None:
    assert guard.no_place(tmp_path) is None and guard.no_place(tmp_path / "made/by the run") is None
    assert "Type: export CLASSROOM_CLASSES=$HOME/classes" in guard.no_place(Path("classes"))
    (tmp_path / "file").touch()
    assert "is not yours to write to" in guard.no_place(tmp_path / "file")
    assert "is not yours to write to" in guard.no_place(Path("/proc/1/classes"))


def test_of_a_class_one_run_at_a_time_changes_anything(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("CLASSROOM_CLASSES", str(tmp_path / "classes"))
    monkeypatch.setattr(guard.context, "CLIARGS", {})
    monkeypatch.setenv("CLASSROOM", "mri2027")
    site = str(guard.ROOT / "site.yml")
    assert guard.take_turn(str(guard.ROOT / "playbooks/status.yml")) is None and guard.take_turn(str(tmp_path / "site.yml")) is None
    first, waited = guard.take_turn(site), []
    monkeypatch.setenv("CLASSROOM", "another")
    guard.give_turn(guard.take_turn(site))
    monkeypatch.setenv("CLASSROOM", "mri2027")
    second = threading.Thread(target=lambda: waited.append(guard.take_turn(site)))
    second.start()
    second.join(timeout=0.3)
    assert second.is_alive() and waited == []
    guard.give_turn(first)
    second.join(timeout=60)
    guard.give_turn(waited[0])
