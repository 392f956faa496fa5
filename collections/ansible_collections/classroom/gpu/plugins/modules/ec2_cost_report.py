#!/usr/bin/python
"""Keep which machine of a class ran from when to when, and tell what that costs."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_cost_report
short_description: Keep which machine of a class ran from when to when, and tell what that costs
description:
  - EC2 forgets a machine's earlier runs when it starts, and the machine an hour after its end. So each look adds what EC2 tells now to
    C(ledger.json) in the class's folder, one record a run, and closes what is over. Two calls, however many seats; two more where a
    machine that the folder or a disk knows does not have the class's tag any more. It costs all the same.
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
  classroom.gpu.ec2_cost_report:
    classroom: physics
    class_dir: classes/123456789012-us-west-2/physics
    report: status
    timezone: Europe/Berlin
"""

from datetime import UTC, datetime
from functools import partial

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import roster
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.cost import costs, ledger, ledger_files
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import client as ec2_client
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import errors as ec2_errors
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import ownership

OPTIONS = {
    "classroom": {"type": "str", "required": True},
    "class_dir": {"type": "path", "required": True},
    "report": {"type": "str", "choices": ["none", "status", "bill"], "default": "none"},
    "only": {"type": "str", "default": ""},
    "timezone": {"type": "str", "default": "UTC"},
}


class Unknown(Exception):
    """A seat is asked for that there never was."""


class Report(ledger_files.Books):
    """The books after a look of its own, and what they tell of the class."""

    def __init__(self, module: AnsibleAWSModule, ec2) -> None:
        self.params, self.region = module.params, ec2.meta.region_name
        survey = ownership.survey(partial(ec2_client.listed, ec2), self.params["classroom"], self.params["class_dir"])
        self.held = ownership.held(survey.claims, self.params["classroom"], self.region)
        super().__init__(self.params["class_dir"], survey.look, ledger.stamp(datetime.now(UTC)), module.check_mode, module.warn)

    def choose(self) -> None:
        """Forget all seats but those that are asked for."""
        seats = self.seats
        only, known = roster.chosen(self.params["only"]), sorted({*seats.values(), *(run.seat for run in self.runs)} - {""})
        if unknown := [seat for seat in only if seat not in known]:
            there = f"class {self.params['classroom']} has {', '.join(known) or 'no seat'}"
            raise Unknown(f"-e seats= names {', '.join(unknown)}, but {there}.")
        if only:
            self.held = {seat: one for seat, one in self.held.items() if seat in only}
            self.found = [machine for machine in self.found if seats[machine["InstanceId"]] in only]
            self.runs = [run for run in self.runs if run.seat in only]

    def status(self) -> dict:
        """Tell what there is and costs."""
        self.choose()
        alive = [machine for machine in self.found if machine["State"]["Name"] not in ledger.GONE]
        table = costs.status(alive, self.sizes, self.runs, self.params["timezone"], self.now)
        held = [line for one in self.held.values() for line in one.message.splitlines()]
        return {"lines": [*table, *costs.summary(alive, self.sizes, self.runs, self.region, self.now), *held]}

    def bill(self) -> dict:
        """Write the bill of a class that is over, and set its ledger aside."""
        going = [run.instance_id for run in self.runs if not run.ended]
        if going or not self.runs:
            return {"lines": [f"No bill: {', '.join(going) or 'no machine'} {'has not ended' if going else 'was seen from here'}."]}
        end = max(run.ended for run in self.runs).replace(":", "-")
        lines, whole, path = costs.bill(self.runs, self.now), costs.cost(self.runs, self.now), self.folder.path / f"bill-{end}.csv"
        if not self.check:
            self.folder.write(path, costs.sheet(lines))
            self.folder.file.replace(self.folder.path / f"ledger-{end}.json")
        total = f"Bill of class {self.params['classroom']}, an estimate: ${whole.total:.2f}"
        told = [total, *costs.explained(whole, self.region), *costs.shown(lines), f"Written to {path}", costs.COMPARE]
        return {"lines": told, "bill": str(path)}


def run(report: Report) -> dict:
    """Keep, then report."""
    with report.folder.held():
        changed = report.merge()
        runs = [one._asdict() for one in report.runs]
        done = {"status": report.status, "bill": report.bill, "none": dict}[report.params["report"]]()
    return {"changed": changed or "bill" in done, "runs": runs, "lines": []} | done


@path_errors.told
def main() -> None:
    """Look, keep, report."""
    module = AnsibleAWSModule(argument_spec=OPTIONS, supports_check_mode=True)
    ec2 = ec2_client.patient(module)
    done = {"changed": False, "runs": [], "lines": []}
    try:
        report = Report(module, ec2)
    except ec2_client.ERRORS as error:
        module.fail_json(msg=ec2_errors.explain(error, ec2.meta.endpoint_url))
    try:
        done = run(report)
    except Unknown as unknown:
        module.fail_json(msg=str(unknown))
    except OSError as error:
        report.refused(error)
    module.exit_json(**done)


if __name__ == "__main__":
    main()
