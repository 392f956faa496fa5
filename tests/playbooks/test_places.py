"""Where a class is worked on from: a project that nobody may write to, another folder, two users, two classes, one class twice at once."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.organiser import ACCOUNT, CLASSROOM, REGION, ROOT, Organiser, organised

# Two classes, each of a user that every Linux has: OpenSSH makes no key for one that is in no passwd.
USERS = {"ada": pwd.getpwnam("nobody").pw_uid, "bob": pwd.getpwnam("daemon").pw_uid}
PACKAGES = next(path for path in sys.path if path.endswith("site-packages"))
ANSIBLE = "import sys; from ansible.cli.playbook import main; sys.argv[0] = 'ansible-playbook'; main()"


def python_of(become: list[str]) -> str:
    """Return a Python of this one's version that somebody may run: a project's own may lie in the home of who made it."""
    version = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    for python in (sys.executable, "/usr/bin/python3"):
        command = [*become, "sh", "-c", 'exec "$@"', "sh", python, "-c", version]
        if subprocess.run(command, capture_output=True, cwd="/", check=False).returncode == 0:
            return python
    pytest.skip("there is no Python that another user may run")


@pytest.fixture
def organiser(tmp_path: Path) -> Iterator[Organiser]:
    with organised(tmp_path) as somebody:
        yield somebody


@pytest.fixture(scope="module")
def project() -> Iterator[Path]:
    """The project as an administrator installs it: everybody may read it, nobody write."""
    with tempfile.TemporaryDirectory(prefix="project-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        for name in filter(None, files):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
        subprocess.run(["chmod", "-R", "a+rX,a-w", place], check=True)
        yield folder
        subprocess.run(["chmod", "-R", "u+w", place], check=True)


class User:
    """Somebody with a home and a class of their own, who types in that home; of another id where tests may become somebody else."""

    def __init__(self, name: str, home: Path, project: Path, organiser: Organiser) -> None:
        self.name, self.home, self.project = name, home, project
        home.mkdir()
        settings = json.loads(organiser.settings.read_text()) | {"classroom_roster": str(home / "roster.csv")}
        (home / "settings.json").write_text(json.dumps(settings))
        (home / "roster.csv").write_text("seat,name,email\ns01,Ada,ada@example.org\n")
        own = {"HOME": str(home), "CLASSROOM": name, "CLASSROOM_CLASSES": str(home / "classes"), "PYTHONPATH": PACKAGES}
        # Such users have no home that exists, and Ansible goes by it for its files on the way.
        ansible = {"ANSIBLE_CONFIG": str(project / "ansible.cfg"), "ANSIBLE_REMOTE_TMP": str(home / "tmp")}
        self.environment = organiser.environment | own | ansible
        self.become: list[str] = []
        if os.geteuid() == 0:
            os.chown(home, USERS[name], USERS[name])
            self.become = ["setpriv", f"--reuid={USERS[name]}", f"--regid={USERS[name]}", "--clear-groups"]
        self.python = python_of(self.become)

    @property
    def folder(self) -> Path:
        return self.home / "classes" / f"{ACCOUNT}-{REGION}" / self.name

    def begin(self, playbook: str, *more: str, **environment: str) -> subprocess.Popen[str]:
        typed = [str(self.project / playbook), "-e", f"@{self.home}/settings.json", *more]
        command = [*self.become, self.python, "-c", ANSIBLE, *typed]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.home, env=self.environment | environment, **quiet)


@pytest.fixture
def users(organiser: Organiser, project: Path) -> Iterator[list[User]]:
    with tempfile.TemporaryDirectory(prefix="homes-") as place:
        Path(place).chmod(0o755)
        yield [User(name, Path(place) / name, project, organiser) for name in USERS]


def ended(run: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a run; return its exit status and what it printed."""
    said, _ = run.communicate(timeout=600)
    return run.returncode, said


def test_where_keys_cannot_be_kept_a_run_says_what_to_type(users: list[User]) -> None:
    ada, _ = users
    if os.geteuid() == 0:
        status, said = ended(ada.begin("playbooks/provision.yml", CLASSROOM_CLASSES=""))
        assert status == 4 and f"Refused: {ada.project}/classes, which keeps the keys of your classes, is not yours to write to." in said
        assert "Type: export CLASSROOM_CLASSES=$HOME/classes\n" in said
    status, said = ended(ada.begin("playbooks/provision.yml", CLASSROOM_CLASSES="classes"))
    assert status == 4 and "Refused: CLASSROOM_CLASSES=classes would be another folder wherever you are." in said


def test_from_another_folder_without_the_projects_settings_nothing_begins(users: list[User]) -> None:
    ada, _ = users
    status, said = ended(ada.begin("site.yml", ANSIBLE_CONFIG=""))
    assert status != 0 and "the role 'ec2_preflight' was not found" in said and "PLAY" not in said


@pytest.mark.slow
def test_two_users_of_one_read_only_project_each_live_a_class_at_once(organiser: Organiser, users: list[User], project: Path) -> None:
    before = sorted(project.rglob("*"))
    for status, said in [ended(run) for run in [user.begin("playbooks/provision.yml") for user in users]]:
        assert status == 0 and "Another run is at work" not in said, said
    for user in users:
        assert len(organiser.of(user.name)["machines"]) == 1
        assert user.folder.stat().st_mode & 0o777 == 0o700 and (user.folder / "id_ed25519").stat().st_mode & 0o777 == 0o600
        assert user.folder.stat().st_uid == (os.geteuid() or USERS[user.name])
    for status, said in [ended(run) for run in [user.begin("playbooks/teardown.yml", "-e", "confirm=true") for user in users]]:
        assert status == 0 and ": 0 left of class" in said, said
    assert sorted(project.rglob("*")) == before
    organiser.hold()


@pytest.mark.slow
def test_two_runs_of_a_class_at_once_make_one_class(organiser: Organiser) -> None:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = organiser.type("playbooks/provision.yml")
    runs = [subprocess.Popen(command, cwd=ROOT, env=organiser.environment, **quiet) for _ in range(2)]
    outcomes = [ended(run) for run in runs]
    assert [status for status, _ in outcomes] == [0, 0], outcomes
    assert sum(f"Another run is at work on class {CLASSROOM} at EC2." in said for _, said in outcomes) == 1
    assert set(organiser.seats()) == {"s01", "s02"} and len(organiser.of(CLASSROOM)["machines"]) == 2
    private = organiser.folder / "id_ed25519"
    public = subprocess.run(["ssh-keygen", "-y", "-f", private], capture_output=True, text=True, check=True).stdout.split()[1]
    assert public == (organiser.folder / "id_ed25519.pub").read_text().split()[1]
    (key,) = organiser.ec2.describe_key_pairs(KeyNames=[f"classroom-{CLASSROOM}"], IncludePublicKey=True)["KeyPairs"]
    assert key["PublicKey"].split()[1] == public
    assert len(json.loads((organiser.folder / "ledger.json").read_text())["runs"]) == 2
    organiser.hold()
