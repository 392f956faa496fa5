#!/usr/bin/python
"""Keep which machine of a class ran from when to when, and tell what that costs."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_ledger
short_description: Keep which machine of a class ran from when to when, and tell what that costs
description:
  - EC2 forgets a machine's earlier runs when it starts, and the machine an hour after its end. So each look adds what EC2 tells now to
    C(ledger.json) in the class's folder, one record a run, and closes what is over. Two calls, however many seats.
  - The file is replaced whole or not at all, and one run at a time. One that cannot be read moves aside; one that cannot be written is a
    warning, since no ledger is worth a class that does not start or end.
  - Costs are estimates from a dated table of list prices.
options:
  classroom: {description: Name of the class, type: str, required: true}
  class_dir: {description: The class's folder, type: path, required: true}
  report:
    description: Also tell what the class costs, as a table of what there is now, or as the bill of a class that is over. That is written to
      C(bill-<end>.csv) and sets the ledger aside as C(ledger-<end>.json), so that a class of the same name begins anew.
    type: str
    choices: [none, status, bill]
    default: none
  only: {description: "Seats to tell of, separated by commas; empty for all", type: str, default: ''}
  timezone: {description: Zone in which ends are told, type: str, default: UTC}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: [GPU Classroom]
"""

RETURN = """
runs: {description: "All runs of the class, each with seat, instance_id, started, stopped, ended and more", type: list, returned: success}
lines: {description: The report, type: list, returned: success}
bill: {description: Path of the bill, type: str, returned: when there is one}
"""

EXAMPLES = """
- name: Show what the class is and costs
  classroom.gpu.ec2_ledger:
    classroom: physics
    class_dir: classes/123456789012-us-west-2/physics
    report: status
    timezone: Europe/Berlin
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.classroom.gpu.plugins.module_utils import aws_errors, costs, ec2_calls, ledger, machines, roster

OPTIONS = {
    "classroom": {"type": "str", "required": True},
    "class_dir": {"type": "path", "required": True},
    "report": {"type": "str", "choices": ["none", "status", "bill"], "default": "none"},
    "only": {"type": "str", "default": ""},
    "timezone": {"type": "str", "default": "UTC"},
}


class Unknown(Exception):
    """A seat is asked for that there never was."""


class Folder:
    """The ledger and the bills in a class's folder."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.file = self.path / "ledger.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let one run at a time read and write, where there is a folder."""
        if not self.path.is_dir():
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def read(self, path: Path) -> list[ledger.Run] | None:
        """Return the runs of a file, none if there is no file; None for one that cannot be read."""
        try:
            return [ledger.Run(**run) for run in json.loads(path.read_text(encoding="utf-8"))["runs"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def settled(self) -> set[str]:
        """Return the machines of earlier classes of this name, of which EC2 tells for an hour yet."""
        return {run.instance_id for path in self.path.glob("ledger-*.json") for run in self.read(path) or ()}

    def write(self, path: Path, text: str) -> None:
        """Write a file whole or not at all, for its owner's eyes."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}")
        with open(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def keep(self, runs: list[ledger.Run]) -> None:
        """Write the ledger."""
        self.write(self.file, json.dumps({"runs": [run._asdict() for run in runs]}, indent=1) + "\n")


class Books:
    """What EC2 tells of a class now, and what its folder knows."""

    def __init__(self, module: AnsibleAWSModule) -> None:
        self.module, self.params, self.folder = module, module.params, Folder(module.params["class_dir"])
        self.ec2 = ec2_calls.patient(module)
        self.now = ledger.stamp(datetime.now(UTC))

    def ask(self, operation: str, key: str) -> list[dict]:
        """Return what EC2 lists with the class's tag, ended machines as well."""
        only = [{"Name": "tag:classroom:name", "Values": [self.params["classroom"]]}]
        return self.ec2.get_paginator(operation).paginate(Filters=only).build_full_result()[key]

    def look(self) -> None:
        """Ask EC2."""
        self.found = [machine for group in self.ask("describe_instances", "Reservations") for machine in group["Instances"]]
        self.sizes = {volume["VolumeId"]: volume["Size"] for volume in self.ask("describe_volumes", "Volumes")}

    def known(self) -> list[ledger.Run]:
        """Return the runs that the folder knows; a ledger that cannot be read moves aside."""
        runs = self.folder.read(self.folder.file)
        if runs is None:
            aside = self.folder.path / f"unreadable-{self.now.replace(':', '-')}.json"
            self.module.warn(f"{self.folder.file} cannot be read: earlier costs are not counted. It is kept as {aside.name}.")
            if not self.module.check_mode:
                self.folder.file.replace(aside)
        return runs or []

    def merge(self) -> bool:
        """Bring the ledger to what EC2 tells, and say whether that changed it."""
        old, settled = self.known(), self.folder.settled()
        self.runs = ledger.merged(old, [one for one in self.found if one["InstanceId"] not in settled], self.sizes, self.now)
        if self.runs != old and not self.module.check_mode:
            try:
                self.folder.keep(self.runs)
            except OSError as error:
                self.refused(error)
        return not ledger.same(self.runs, old)

    def refused(self, error: OSError) -> None:
        """Warn that the folder cannot be written: no ledger is worth a class that does not start or end."""
        self.module.warn(f"What the class costs is not kept: {self.folder.path} cannot be written ({error.strerror}).")

    def choose(self) -> None:
        """Forget all seats but those that are asked for."""
        seats = {machine["InstanceId"]: machines.tags(machine).get("classroom:seat", "") for machine in self.found}
        only, known = roster.chosen(self.params["only"]), sorted({*seats.values(), *(run.seat for run in self.runs)} - {""})
        if unknown := [seat for seat in only if seat not in known]:
            there = f"class {self.params['classroom']} has {', '.join(known) or 'no seat'}"
            raise Unknown(f"-e seats= names {', '.join(unknown)}, but {there}.")
        if only:
            self.found = [machine for machine in self.found if seats[machine["InstanceId"]] in only]
            self.runs = [run for run in self.runs if run.seat in only]

    def status(self) -> dict:
        """Tell what there is and costs."""
        self.choose()
        alive = [machine for machine in self.found if machine["State"]["Name"] not in ledger.GONE]
        table = costs.status(alive, self.sizes, self.runs, self.params["timezone"], self.now)
        return {"lines": [*table, *costs.summary(alive, self.sizes, self.runs, self.ec2.meta.region_name, self.now)]}

    def bill(self) -> dict:
        """Write the bill of a class that is over, and set its ledger aside."""
        going = [run.instance_id for run in self.runs if not run.ended]
        if going or not self.runs:
            return {"lines": [f"No bill: {', '.join(going) or 'no machine'} {'has not ended' if going else 'was seen from here'}."]}
        end = max(run.ended for run in self.runs).replace(":", "-")
        lines, whole, path = costs.bill(self.runs, self.now), costs.cost(self.runs, self.now), self.folder.path / f"bill-{end}.csv"
        if not self.module.check_mode:
            self.folder.write(path, costs.sheet(lines))
            self.folder.file.replace(self.folder.path / f"ledger-{end}.json")
        total = f"Bill of class {self.params['classroom']}, an estimate: ${whole.total:.2f}"
        told = [total, *costs.explained(whole, self.ec2.meta.region_name), *costs.shown(lines), f"Written to {path}", costs.COMPARE]
        return {"lines": told, "bill": str(path)}


def run(books: Books) -> dict:
    """Look, keep, report."""
    books.look()
    with books.folder.held():
        changed = books.merge()
        runs = [one._asdict() for one in books.runs]
        done = {"status": books.status, "bill": books.bill, "none": dict}[books.params["report"]]()
    return {"changed": changed or "bill" in done, "runs": runs, "lines": []} | done


def main() -> None:
    """Look, keep, report."""
    module = AnsibleAWSModule(argument_spec=OPTIONS, supports_check_mode=True)
    books = Books(module)
    done = {"changed": False, "runs": [], "lines": []}
    try:
        done = run(books)
    except ec2_calls.ERRORS as error:
        module.fail_json(msg=aws_errors.explain(error, books.ec2.meta.endpoint_url))
    except Unknown as unknown:
        module.fail_json(msg=str(unknown))
    except OSError as error:
        books.refused(error)
    module.exit_json(**done)


if __name__ == "__main__":
    main()
