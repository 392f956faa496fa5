"""The bench's class on the rehearsal's cloud: its seats, and the playbooks of either build on them."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from rehearsal import doctor, state
from tests.bench.builds import ROOT, BenchError, Build
from tests.bench.processes import Done, run
from tests.support.classroom import Classroom, Run, tags

NAME = "bench"
SEATS = [f"s{number:02}" for number in range(1, 21)]
ATTEMPTS = 4
# A module of a package that every stack with Jupyter's kernel has.
VICTIM = "/opt/conda/envs/dl_aws/lib/python3*/site-packages/ipykernel/kernelapp.py"
MODULE = re.compile(r"Using module file (\S+)")
SETTINGS = {
    "classroom_stack": "minimal",
    "classroom_course_repository": "http://198.19.0.1:8080/git/plain-course.git",
    "classroom_course_proofs": [{"notebook": "code/hello_python.ipynb", "expect": "Pairs of rabbits after 30 months: 832040"}],
}


def start_cloud() -> dict[str, str]:
    """Start the rehearsal's cloud unless it runs, and return the environment that points at it."""
    if not state.MACHINE.alive() and subprocess.run([sys.executable, "-m", "rehearsal", "up"], cwd=ROOT).returncode:
        raise BenchError("The rehearsal's cloud did not start; it says above why, and how to mend it.")
    return state.MACHINE.environment() | {"CLASSROOM": NAME}


def modules(output: str) -> set[str]:
    """Return the files of the modules that a run with -vvv says it used, also those that an action of another name used."""
    return set(MODULE.findall(output))


class Bench:
    """The class, with settings, roster and logs in a folder outside both builds."""

    def __init__(self, folder: Path, today: Build, cloud: dict[str, str]) -> None:
        self.folder, self.today, self.cloud = folder, today, cloud
        self.classroom = Classroom(today.environment() | cloud)
        self.numbers = itertools.count(1)
        self.write()

    def write(self) -> None:
        """Write the roster, and the settings where an inventory beside the build's own brings them."""
        roster = self.folder / "roster.csv"
        roster.write_text("seat,name,email\n" + "".join(f"{seat},Ada,{seat}@example.org\n" for seat in SEATS))
        settings = yaml.safe_load((ROOT / "group_vars/classroom_rehearsal.yml").read_text()) | SETTINGS
        settings["classroom_roster"] = f"{{{{ '{roster}' | relpath(classroom_root) }}}}"
        # One folder for both builds: keys, authority and known hosts are those of the same seats.
        settings["classroom_dir"] = str(self.classroom.folder)
        (self.folder / "hosts.yml").write_text("all: {}\n")
        (self.folder / "group_vars").mkdir()
        (self.folder / "group_vars" / f"classroom_{NAME}.yml").write_text(json.dumps(settings))

    def play(self, build: Build, playbook: str, *arguments: str, watch: bool = False, **settings: str) -> Done:
        """Run a playbook of a build, with SSH connections of its own. Raises BenchError with the end of its output."""
        number = str(next(self.numbers))
        sockets = self.folder / number
        sockets.mkdir()
        inventory = f"{build.root / 'inventory'},{self.folder / 'hosts.yml'}"
        own = {"ANSIBLE_INVENTORY": inventory, "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets)}
        environment = build.environment() | self.cloud | own | settings
        done = run(
            ["ansible-playbook", playbook, *arguments],
            build.root,
            environment,
            self.folder / f"{number}.log",
            watch,
        )
        if done.status:
            raise BenchError(f"{playbook} of {build.commit} failed:\n{done.output[-4000:]}")
        return done

    def site(self, build: Build, seats: Sequence[str], *arguments: str, watch: bool = False, **settings: str) -> Done:
        """Run site.yml for some seats."""
        return self.play(build, "site.yml", "-e", f"seats={','.join(seats)}", *arguments, watch=watch, **settings)

    def settled(self, build: Build, seats: Sequence[str], *arguments: str, watch: bool = False, **settings: str) -> Done:
        """Run site.yml until it changes nothing, and return that run. The first launches what is missing."""
        for _ in range(ATTEMPTS):
            done = self.site(build, seats, *arguments, watch=watch, **settings)
            if not any(recap(done).changed.values()):
                return done
        raise BenchError(f"site.yml of {build.commit} still changes something at the {ATTEMPTS}th run:\n{done.output[-4000:]}")

    def damage(self, seat: str) -> None:
        """Delete a file of the seat's environment."""
        self.on(seat, f"sudo rm {VICTIM}")

    def expect_repaired(self, seat: str) -> None:
        """Raise BenchError if the file is not there again."""
        self.on(seat, f"ls {VICTIM}")

    def on(self, seat: str, command: str) -> None:
        done = self.classroom.ssh(seat, command)
        if done.returncode:
            raise BenchError(f"`{command}` failed on seat {seat}: {done.stderr.strip()}")

    def end(self) -> None:
        """End all seats of the class, and forget it."""
        self.play(self.today, "playbooks/teardown.yml", "-e", "confirm=true")
        shutil.rmtree(self.classroom.folder, ignore_errors=True)


def recap(done: Done) -> Run:
    """Return a run as the story's tests read it."""
    return Run(done.status, done.output, done.wall)


def others(classroom: Classroom) -> list[str]:
    """Return the machines in the cloud that are not the bench's."""
    states = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    pages = classroom.client("ec2").get_paginator("describe_instances").paginate(Filters=states)
    found = [one for page in pages for group in page["Reservations"] for one in group["Instances"]]
    return [one["InstanceId"] for one in found if not one.get("Tags") or tags(one).get("classroom:name") != NAME]


def expect_room(seats: int, classroom: Classroom) -> None:
    """Raise BenchError if this machine has no room for so many hosts more."""
    limit, hosts = int(doctor.INOTIFY.read_text()), seats + len(others(classroom))
    needed = doctor.INOTIFY_OTHERS + hosts * doctor.INOTIFY_A_HOST
    if needed > limit:
        mend = "sudo sysctl fs.inotify.max_user_instances=1024"
        raise BenchError(f"fs.inotify.max_user_instances={limit} is not enough for {hosts} hosts. Type: {mend}")


@contextmanager
def opened(folder: Path, today: Build, seats: int) -> Iterator[Bench]:
    """Give the bench an empty class on a cloud that runs, and end it whatever happens."""
    bench = Bench(folder, today, start_cloud())
    expect_room(seats, bench.classroom)
    bench.end()
    try:
        yield bench
    finally:
        with unhurried():
            print("bench: ending the class", flush=True)
            bench.end()


@contextmanager
def unhurried() -> Iterator[None]:
    """Let nobody interrupt what tidies up, nor the playbook that it runs."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def expect_alone() -> None:
    """Raise BenchError if the cloud that runs has machines of other classes, which its end would end."""
    if state.MACHINE.alive() and (left := others(Classroom(dict(os.environ) | state.MACHINE.environment()))):
        raise BenchError(f"A row of these ends the rehearsal's cloud, with {', '.join(left)} in it. Type: python -m rehearsal down")


def down() -> None:
    """End the rehearsal's cloud."""
    subprocess.run([sys.executable, "-m", "rehearsal", "down"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
