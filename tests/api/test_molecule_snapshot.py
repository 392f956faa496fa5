"""Which image a scenario begins with: what makes another of it, and that two who want the same make it once."""

import importlib.util
import shutil
import sys
import threading
from pathlib import Path

import pytest
import yaml

from tests.support.simulated_hosts import Cloud

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("molecule_snapshot", ROOT / "molecule/shared/snapshot.py")
snapshot = sys.modules[SPEC.name] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(snapshot)

NEEDS = ("base", "conda_env", "course")
SETTINGS = {"classroom_stack": "minimal", "course_fresh": False, "cuda_toolkits": ["12.9"], "molecule_role": "vim"}
SCENARIOS = {
    path.parent.name: (((yaml.safe_load(path.read_text()) or {}).get("ansible") or {}).get("env") or {}).get("MOLECULE_NEEDS", "").split()
    for path in sorted((ROOT / "molecule").glob("*/molecule.yml"))
}


@pytest.fixture
def checkout(tmp_path) -> Path:
    """Files of each kind that goes into an image, and of a role that is in none."""
    for name in [*snapshot.SHARED, *(f"roles/{role}" for role in (*NEEDS, "vim"))]:
        file = tmp_path / name if Path(name).suffix else tmp_path / name / "file"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("old")
    return tmp_path


def levels(checkout: Path, needs: tuple[str, ...] = NEEDS, settings: dict | None = None, seat: str = "seat:1") -> list:
    return snapshot.levels(needs, checkout, settings or SETTINGS, seat)


def same(before: list, after: list, what: str = "digest") -> list[bool]:
    return [getattr(one, what) == getattr(two, what) for one, two in zip(before, after, strict=True)]


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ((), []),
        (("base",), [("base",)]),
        (("base", "vim"), [("base",)]),
        (("base", "conda_env"), [("base",)]),
        (NEEDS, [("base",), NEEDS]),
        ((*NEEDS, "jupyter"), [("base",), NEEDS]),
        (("conda_env",), []),
    ],
)
def test_the_first_of_the_needs_are_in_images(checkout, needs, expected):
    assert [level.roles for level in levels(checkout, needs)] == expected


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_prepare_runs_what_the_image_lacks_and_nothing_else(checkout, scenario):
    needs, kept = SCENARIOS[scenario], yaml.safe_load((ROOT / "molecule/shared/settings.yml").read_text())["molecule_in_images"]
    found = levels(checkout, tuple(needs))
    assert [*(found[-1].roles if found else ()), *(role for role in needs if role not in kept)] == needs


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("roles/base/file", [False, False]),
        ("roles/course/new/file", [True, False]),
        ("stacks/file", [False, False]),
        ("rehearsal/file", [False, False]),
        ("collections/ansible_collections/classroom/file", [False, False]),
        ("roles/vim/file", [True, True]),
        ("roles/base/__pycache__/file", [True, True]),
    ],
)
def test_a_change_of_what_went_in_makes_another(checkout, changed, expected):
    before = levels(checkout)
    (checkout / changed).parent.mkdir(exist_ok=True)
    (checkout / changed).write_text("new")
    assert same(before, levels(checkout)) == expected
    assert same(before, levels(checkout), "variant") == [True, True]


def test_a_file_that_is_renamed_makes_another(checkout):
    before = levels(checkout)
    (checkout / "roles/base/file").rename(checkout / "roles/base/other")
    assert same(before, levels(checkout)) == [False, False]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"cuda_toolkits": []}, [True, True]),
        ({"molecule_role": "cuda"}, [True, True]),
        ({"course_fresh": True}, [True, False]),
        ({"classroom_stack": "other"}, [False, False]),
    ],
)
def test_settings_count_where_a_role_can_see_them(checkout, settings, expected):
    before, after = levels(checkout), levels(checkout, settings=SETTINGS | settings)
    assert same(before, after) == same(before, after, "variant") == expected


def test_another_seat_image_and_another_checkout_make_others(checkout, tmp_path_factory):
    assert same(levels(checkout), levels(checkout, seat="seat:2")) == [False, False]
    other = shutil.copytree(checkout, tmp_path_factory.mktemp("other") / "checkout")
    assert same(levels(checkout), levels(other)) == [True, True]
    assert same(levels(checkout), levels(other), "variant") == [False, False]


def test_the_scenarios_settings_are_found():
    assert "classroom_stack" in snapshot.settings_in(snapshot.options_of("vim"))
    assert snapshot.settings_in(snapshot.options_of("jupyter-2018"))["classroom_course_data"] == []


# --- on a cloud without hosts ----------------------------------------------------------------------------------------------
@pytest.fixture
def ran(simulated: Cloud, tmp_path, monkeypatch) -> list[tuple[str, str]]:
    """An empty account, where `create` launches and `destroy` ends, and what was run."""
    simulated.control("Reset")
    monkeypatch.setattr(snapshot, "FOLDER", tmp_path / "cache")
    done = []

    def run(self: snapshot.Playbooks, name: str) -> None:
        done.append((name, self.options[-1]))
        self.folder.mkdir(parents=True, exist_ok=True)
        filters = [{"Name": "tag:classroom:name", "Values": [self.classroom]}]
        if name == "create":
            tags = [{"Key": "classroom:name", "Value": self.classroom}]
            simulated.run(TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])
        elif name == "destroy" and (alive := simulated.instances(Filters=filters)):
            simulated.ec2.terminate_instances(InstanceIds=[one["InstanceId"] for one in alive])

    monkeypatch.setattr(snapshot.Playbooks, "run", run)
    return done


@pytest.fixture
def maker(simulated: Cloud, ran) -> snapshot.Maker:
    return snapshot.Maker(simulated.ec2, simulated.ssm, ["--inventory=here"])


def owned(cloud: Cloud) -> list[str]:
    return sorted(one["ImageId"] for one in cloud.ec2.describe_images(Owners=["self"])["Images"])


def named(cloud: Cloud, *parameters: str) -> list[str]:
    """Return the images that parameters name, those that there are."""
    return sorted(one["Value"] for one in cloud.ssm.get_parameters(Names=list(parameters))["Parameters"])


def test_each_image_is_made_once_from_the_one_before(simulated, maker, ran, checkout):
    wanted = levels(checkout)
    made = maker.ensure(wanted)
    assert [name for name, _ in ran] == ["create", "prepare", "anonymous", "destroy"] * 2
    base = wanted[0].parameter
    assert ran[0][1] == '{"molecule_roles": ["base"]}'
    assert ran[-1][1] == f'{{"molecule_roles": ["conda_env", "course"], "molecule_image": "{base}"}}'
    assert made == wanted[1].parameter and owned(simulated) == named(simulated, base, made)
    ran.clear()
    assert (maker.ensure(wanted), maker.ensure(wanted[:1]), ran) == (made, base, [])


def test_what_a_killed_run_left_goes_first(maker, ran, checkout):
    (level,) = levels(checkout, ("base",))
    (snapshot.FOLDER / level.digest).mkdir(parents=True)
    maker.ensure([level])
    assert [name for name, _ in ran] == ["destroy", "create", "prepare", "anonymous", "destroy"]


def test_two_who_want_it_at_once_get_the_same(simulated, maker, ran, checkout):
    got = []
    threads = [threading.Thread(target=lambda: got.append(maker.ensure(levels(checkout)[:1]))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got[0] == got[1] and owned(simulated) == named(simulated, got[0])
    assert [name for name, _ in ran].count("create") == 1


def test_an_old_one_goes_with_its_snapshot_when_another_is_made(simulated, maker, checkout):
    old = maker.ensure(levels(checkout))
    (checkout / "roles/course/file").write_text("new")
    new = maker.ensure(levels(checkout))
    assert old != new and named(simulated, old) == []
    assert named(simulated, new, levels(checkout)[0].parameter) == owned(simulated) and len(owned(simulated)) == 2
    assert len(simulated.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 2


def test_one_that_failed_is_not_launched_from_but_made_again(simulated, maker, ran, checkout, monkeypatch):
    monkeypatch.setattr(snapshot, "POLLS", {"Delay": 1, "MaxAttempts": 2})
    wanted = levels(checkout)[:1]
    simulated.control("AddFault", action="Freeze", code="Server.InternalError")
    with pytest.raises(Exception, match="ImageAvailable"):
        maker.ensure(wanted)
    assert ran[-1][0] == "destroy"
    failed = owned(simulated)
    assert failed and not maker.has(wanted[0])
    assert named(simulated, maker.ensure(wanted)) == owned(simulated) != failed


def test_a_role_that_fails_says_where_to_look(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "FOLDER", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "ansible-playbook").write_text('#!/bin/sh\necho "$CLASSROOM says no"; exit 2\n')
    (tmp_path / "ansible-playbook").chmod(0o755)
    (level,) = levels(checkout, ("base",))
    with pytest.raises(snapshot.SnapshotError) as caught:
        snapshot.Playbooks(level, []).run("create")
    log = tmp_path / f"cache/{level.digest}.log"
    assert str(caught.value) == f"The image with base cannot be made; its log, {log}, ends with:\nmolecule_{level.digest} says no"
