"""Print the SSM parameter of the image that a scenario's seat begins with: what the first of MOLECULE_NEEDS leave, made once a cloud.

An image is known by a digest of all that went into it, so that a change makes another and removes the old one. Whoever comes first
makes it, with the playbooks of every scenario, while others wait; it is there only when it is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml

from rehearsal.hosts import image

ROOT = Path(__file__).parents[2]

# What is in images: nothing of theirs is a seat's or a class's own. Each is made from the one before.
LEVELS = (("base",), ("base", "conda_env", "course"))
# What goes into them beside the roles themselves. The cloud's sources stand for its mirrors.
SHARED = (
    "ansible.cfg",
    "collections/ansible_collections/classroom",
    "examples",
    "group_vars/all",
    "group_vars/seats.yml",
    "inventory",
    "molecule/shared",
    "rehearsal",
    "stacks",
)
FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-classroom/molecule"
POLLS = {"Delay": 1, "MaxAttempts": 120}
DIGEST, VARIANT = "molecule:digest", "molecule:variant"


class SnapshotError(Exception):
    """An image cannot be made; the text says where to look."""


@dataclass(frozen=True)
class Level:
    """One image: the roles in it, and what tells it from others.

    Attributes:
        variant: the same for all that this checkout makes, one after the other, of these roles with these settings.
        digest: of all that goes into it.
    """

    roles: tuple[str, ...]
    variant: str
    digest: str

    @property
    def parameter(self) -> str:
        """Name the SSM parameter that holds the image's id: what the settings of a class call an image."""
        return parameter_of(self.digest)


def parameter_of(digest: str) -> str:
    return f"/molecule/{digest}"


def levels(needs: Iterable[str], root: Path, settings: dict[str, Any], seat: str) -> list[Level]:
    """Return the images, each made from the one before, that hold the first of the roles that are needed.

    Args:
        needs: names of roles.
        root: the checkout.
        settings: extra variables of the scenario; those of other roles do not count.
        seat: name of the seat image.
    """
    needs, found = tuple(needs), []
    for roles in LEVELS:
        if needs[: len(roles)] == roles:
            said = json.dumps(relevant(settings, roles), sort_keys=True)
            parts = [*SHARED, *(f"roles/{role}" for role in roles)]
            found.append(Level(roles, _hash([str(root), *roles, said]), _hash([seat, said, *roles, *_contents(root, parts)])))
    return found


def relevant(settings: dict[str, Any], roles: Iterable[str]) -> dict[str, Any]:
    """Return the settings of a class and of these roles."""
    prefixes = tuple(f"{name}_" for name in ("classroom", *roles))
    return {name: value for name, value in settings.items() if name.startswith(prefixes)}


def _contents(root: Path, parts: Iterable[str]) -> Iterator[str]:
    """Name every file of some files and folders with what it holds; what Python compiled does not count."""
    for part in parts:
        found = [root / part] if (root / part).is_file() else sorted((root / part).rglob("*"))
        for path in found:
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _hash(words: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def options_of(scenario: str) -> list[str]:
    """Return the options of ansible-playbook in a scenario."""
    for path in (ROOT / "molecule" / scenario / "molecule.yml", ROOT / ".config/molecule/config.yml"):
        executor = ((yaml.safe_load(path.read_text()) or {}).get("ansible") or {}).get("executor")
        if executor:
            return [one.replace("${MOLECULE_PROJECT_DIRECTORY}", str(ROOT)) for one in executor["args"]["ansible_playbook"]]
    return []


def settings_in(options: Iterable[str]) -> dict[str, Any]:
    """Return the variables of the files that options name, later ones over earlier ones."""
    files = [one.removeprefix("--extra-vars=@") for one in options if one.startswith("--extra-vars=@")]
    return {name: value for path in files for name, value in yaml.safe_load(Path(path).read_text()).items()}


class Maker:
    """Finds and makes images on the cloud that the environment names."""

    def __init__(self, ec2: Any, ssm: Any, options: list[str]) -> None:
        self.ec2 = ec2
        self.ssm = ssm
        self.options = options

    def has(self, level: Level) -> bool:
        """Tell whether the image of a level is there, and whole."""
        named = {one["Value"] for one in self.ssm.get_parameters(Names=[level.parameter])["Parameters"]}
        whole = {one["ImageId"] for one in self._images(DIGEST, level.digest) if one["State"] == "available"}
        return bool(named & whole)

    def ensure(self, wanted: list[Level]) -> str:
        """Return the parameter of the last level's image; makes what is missing, unless another process does just that."""
        level = wanted[-1]
        if not self.has(level):
            with _alone(level):
                if not self.has(level):
                    self._make(level, wanted[:-1])
        return level.parameter

    def _make(self, level: Level, before: list[Level]) -> None:
        """Launch a seat from the level before, run the other roles on it, and make an image of its disk."""
        self._remove(self._images(DIGEST, level.digest))  # one that failed has the name
        begin = {"molecule_image": self.ensure(before)} if before else {}
        roles = level.roles[len(before[-1].roles) if before else 0 :]
        playbooks = Playbooks(level, [*self.options, "--extra-vars", json.dumps({"molecule_roles": roles, **begin})])
        if playbooks.folder.exists():  # a run was killed
            playbooks.run("destroy")
        try:
            for name in ("create", "prepare", "anonymous"):
                playbooks.run(name)
            self._freeze(level, playbooks.classroom)
        finally:
            playbooks.run("destroy")
            shutil.rmtree(playbooks.folder)

    def _freeze(self, level: Level, classroom: str) -> None:
        """Stop the seat of a class and make an image of it."""
        filters = [_filter("tag:classroom:name", classroom), _filter("instance-state-name", "running")]
        seen = self.ec2.describe_instances(Filters=filters)["Reservations"]
        instance = seen[0]["Instances"][0]["InstanceId"]
        self.ec2.stop_instances(InstanceIds=[instance])
        self.ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance], WaiterConfig=POLLS)
        tags = [{"Key": DIGEST, "Value": level.digest}, {"Key": VARIANT, "Value": level.variant}]
        about = [{"ResourceType": kind, "Tags": tags} for kind in ("image", "snapshot")]
        made = self.ec2.create_image(InstanceId=instance, Name=f"molecule-{level.digest}", TagSpecifications=about)["ImageId"]
        self.ec2.get_waiter("image_available").wait(ImageIds=[made], WaiterConfig=POLLS)
        self.ssm.put_parameter(Name=level.parameter, Value=made, Type="String", Overwrite=True)
        self._remove(one for one in self._images(VARIANT, level.variant) if one["ImageId"] != made)

    def _remove(self, images: Iterable[dict[str, Any]]) -> None:
        """Remove images of earlier files, with what names them and what they are made of."""
        for old in images:
            digest = next(tag["Value"] for tag in old["Tags"] if tag["Key"] == DIGEST)
            self.ssm.delete_parameters(Names=[parameter_of(digest)])
            self.ec2.deregister_image(ImageId=old["ImageId"], DeleteAssociatedSnapshots=True)

    def _images(self, tag: str, value: str) -> list[dict[str, Any]]:
        return self.ec2.describe_images(Owners=["self"], Filters=[_filter(f"tag:{tag}", value)])["Images"]


@dataclass(frozen=True)
class Playbooks:
    """The playbooks of a scenario, for a class that lasts until its seat's disk is an image."""

    level: Level
    options: list[str]

    @property
    def classroom(self) -> str:
        return f"molecule_{self.level.digest}"

    @property
    def folder(self) -> Path:
        """Where the class's keys lie; there as long as anything of the class may be left."""
        return FOLDER / self.level.digest

    def run(self, name: str) -> None:
        """Run one to its end. Raises SnapshotError."""
        own = {"CLASSROOM": self.classroom, "MOLECULE_EPHEMERAL_DIRECTORY": str(self.folder), "MOLECULE_NEEDS": ""}
        self.folder.mkdir(parents=True, exist_ok=True)
        log = FOLDER / f"{self.level.digest}.log"
        command = ["ansible-playbook", *self.options, f"{ROOT}/molecule/shared/{name}.yml"]
        with log.open("a") as file:
            done = subprocess.run(command, env=os.environ | own, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        if done.returncode:
            tail = "\n".join(log.read_text().splitlines()[-20:])
            raise SnapshotError(f"The image with {', '.join(self.level.roles)} cannot be made; its log, {log}, ends with:\n{tail}")


@contextmanager
def _alone(level: Level) -> Iterator[None]:
    """Let one process make an image; the kernel gives the lock back when it ends, however it ends."""
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (FOLDER / f"{level.digest}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _filter(name: str, value: str) -> dict[str, Any]:
    return {"Name": name, "Values": [value]}


def main() -> None:
    """Print a parameter for the scenario whose environment this is; nothing where it begins with the plain image."""
    options = options_of(os.environ["MOLECULE_SCENARIO_NAME"])
    wanted = levels(os.environ.get("MOLECULE_NEEDS", "").split(), ROOT, settings_in(options), image.tag())
    try:
        print(Maker(boto3.client("ec2"), boto3.client("ssm"), options).ensure(wanted) if wanted else "")
    except SnapshotError as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
