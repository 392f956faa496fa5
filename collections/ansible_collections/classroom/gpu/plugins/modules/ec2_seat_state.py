#!/usr/bin/python
"""Start, stop or end the machines of seats that exist."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_seat_state
short_description: Start, stop or end the machines of seats that exist
description:
  - Compares the machines of a class with what is wanted by one list of them, and asks EC2 only for what differs. Finds them by the tag
    of their class, so that a seat of the same name in another class is nobody it knows.
  - EC2 starts all machines of a call or none. So one call starts what is of one type in one zone, and what was refused is asked for
    in halves, until those run for which there is room. A pool that has none for a single machine is not asked again.
  - A seat that cannot be started is an outcome, not a failure of the module, so that the run goes on with the others.
  - In check mode it tells what stopping saves, what goes on to cost and what is lost.
options:
  classroom: {description: Name of the class, type: str, required: true}
  seats: {description: Ids of seats that exist, type: list, elements: str, required: true}
  state:
    description: "The state. A machine that is on its way to another is waited for. Without one only the rest is brought about."
    type: str
    choices: [running, stopped]
  tags: {description: "Tags that the machines are to have, beside others", type: dict, default: {}}
  group_id: {description: "The one security group that the machines are to have; empty: as they are", type: str, default: ''}
  metadata_options:
    description: How their instance metadata is to answer, as HttpTokens and InstanceMetadataTags.
    type: dict
    default: {}
  wait_minutes: {description: "How long to go on asking for seats for which AWS has no machine", type: float, default: 0}
  timeout: {description: Seconds that a machine may take, type: int, default: 300}
  known:
    description: The machines of the class, as M(classroom.gpu.ec2_preflight) found them earlier in this run. Where they are all
      that is wanted, nothing is asked of EC2, and no process is started for it.
    type: list
    elements: dict
    default: []
  held:
    description: Seats that nobody may act on, as M(classroom.gpu.ec2_preflight) found, each with seat and message. A stop tells them.
    type: list
    elements: dict
    default: []
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: [GPU Classroom]
"""

RETURN = """
moved: {description: Seats whose machine came to its state by this run, type: list, returned: success}
equipped: {description: "Seats whose machine got other tags, groups or metadata options", type: list, returned: success}
missing:
  description: Seats whose machine does not have the state, with seat, reason (capacity, quota, verification, held or other), message
  type: list
  returned: success
plan: {description: "In check mode, what stopping saves, costs and loses", type: list, returned: success}
msg: {description: "Which seats do not have the state, why, and what to do; or what was done", type: str, returned: success}
"""

EXAMPLES = """
- name: Stop two seats
  classroom.gpu.ec2_seat_state:
    classroom: physics
    seats: [s01, s02]
    state: stopped
"""

import time
from functools import partial

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import client as ec2_client
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import errors as ec2_errors
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import launch, ownership, start_stop

LOOKS = 3  # at a list that lacks a seat
RESOURCES = 500  # of a CreateTags call, which takes 1000


class Seats:
    """The machines of a class's seats by id, on their way to a state. `met` holds what closed a pool, a type or the account."""

    def __init__(self, ec2, params: dict) -> None:
        self.ec2, self.params, self.pace = ec2, params, ec2_client.Pace()
        self.goal = start_stop.GOALS.get(params["state"])
        self.machines: dict[str, dict] = {}
        self.asked: dict[str, dict] = {}
        self.met: dict[tuple[str, str], launch.Refusal] = {}
        self.refused: dict[str, launch.Refusal] = {}
        self.find()

    def find(self) -> None:
        """See which machines these are. One that was just launched may be missing from EC2's list at first."""
        for _ in range(LOOKS):
            listed = ec2_client.machines_of(self.ec2, self.params["classroom"])
            if start_stop.has_all(listed, self.params["seats"]):
                break
            time.sleep(ec2_client.POLL)
        self.twins = start_stop.twins(listed, self.params)
        self.held = ownership.held(
            ownership.claims_of(listed, self.params["classroom"]), self.params["classroom"], self.ec2.meta.region_name
        )
        self.machines = {one["InstanceId"]: one for one in start_stop.chosen(listed, self.params)}

    def held_back(self) -> list[dict]:
        """Return the seats that are left as they are, as nobody knows which machine is theirs."""
        return start_stop.held_back(self.params) + [
            {"seat": seat, "reason": "held", "message": self.held[seat].message} for seat in self.twins
        ]

    def look(self) -> None:
        """See the machines as they are now; one that EC2 does not list for a moment is as it was."""
        listed = ec2_client.machines_of(self.ec2, self.params["classroom"])
        self.machines |= {one["InstanceId"]: one for one in listed if one["InstanceId"] in self.machines}

    @staticmethod
    def seat(machine: dict) -> str:
        """Return the id of a machine's seat."""
        return instances.tags(machine)["classroom:seat"]

    def going(self) -> list[dict]:
        """Return the machines that do not have the state, and were not refused it."""
        return [one for one in start_stop.going(self.machines.values(), self.params) if one["InstanceId"] not in self.refused]

    def bring(self) -> None:
        """Bring the machines to the state, or learn why not; while AWS has none for some, for as long as that may take."""
        until = time.monotonic() + 60 * self.params["wait_minutes"]
        while True:
            self.settle()
            waiting = [name for name, found in self.refused.items() if found.reason in launch.WAITING_MENDS]
            left = until - time.monotonic()
            if not waiting or left <= 0:
                return
            time.sleep(min(ec2_client.PAUSE, left))
            self.met.clear()
            for name in waiting:
                self.asked.pop(name, None)
                del self.refused[name]

    def settle(self) -> None:
        """Ask for the state wherever a machine is ready for it, and wait until all have it, or were refused it."""
        until = time.monotonic() + self.params["timeout"]
        while going := self.going():
            ready = [one for one in going if one["State"]["Name"] in self.goal.ready and one["InstanceId"] not in self.asked]
            for batch in start_stop.batches(ready):
                self.ask(batch)
            self.look()
            self.judge(time.monotonic() > until)
            if not ready and self.going():
                time.sleep(ec2_client.POLL)

    def judge(self, late: bool) -> None:
        """Note why machines will not come to the state: they ended, stopped while they started, or take too long."""
        for machine in self.going():
            name, found = machine["InstanceId"], None
            if machine["State"]["Name"] in launch.GONE and self.params["state"] == "running":
                found = start_stop.gone(machine)
            elif name in self.asked and self.params["state"] == "running":
                found = start_stop.failed_start(machine, self.asked[name])
            if found or late:
                self.refused[name] = found or start_stop.late(machine, self.params["state"], self.params["timeout"])

    def ask(self, batch: list[dict]) -> None:
        """Ask for a batch; where EC2 refuses it, for its halves, unless nothing of it could be had."""
        for machine in batch:
            if found := start_stop.closed(machine, self.met):
                self.refused[machine["InstanceId"]] = found
        batch = [machine for machine in batch if machine["InstanceId"] not in self.refused]
        if not batch:
            return
        try:
            ec2_client.persist(partial(self.call, [machine["InstanceId"] for machine in batch]))
        except ec2_client.ERRORS as error:
            self.divide(batch, start_stop.refusal(error, self.ec2.meta.endpoint_url))
        else:
            self.asked |= {machine["InstanceId"]: machine for machine in batch}

    def divide(self, batch: list[dict], found: launch.Refusal) -> None:
        """Note what one machine was refused, and what that closes; ask for the halves of several."""
        alone = len(batch) == 1
        if found.closes == "seat":  # some may be on their way: by a call whose answer was lost, or by somebody else's
            self.look()
            now = [self.machines[machine["InstanceId"]] for machine in batch]
            batch = [machine for machine in now if machine["State"]["Name"] in self.goal.ready]
        if batch and (alone or found.closes == "account"):
            if key := start_stop.closes(batch[0], found):
                self.met[key] = found
            self.refused |= {machine["InstanceId"]: found for machine in batch}
        elif batch:
            middle = (len(batch) + 1) // 2
            self.ask(batch[:middle])
            self.ask(batch[middle:])

    def call(self, instance_ids: list[str]) -> dict:
        """Make one call of the goal's, when it is its turn."""
        if self.goal.call == "start_instances":
            self.pace.wait()
        return getattr(self.ec2, self.goal.call)(InstanceIds=instance_ids)

    def equip(self, unlike: dict[str, list[str]]) -> None:
        """Give machines their tags, many a call, and their security group and metadata options, of which a call knows one machine."""
        labels = [{"Key": key, "Value": value} for key, value in sorted(self.params["tags"].items())]
        for begin in range(0, len(unlike["tags"]), RESOURCES):
            ec2_client.persist(partial(self.ec2.create_tags, Resources=unlike["tags"][begin : begin + RESOURCES], Tags=labels))
        for name in unlike["groups"]:
            ec2_client.persist(partial(self.ec2.modify_instance_attribute, InstanceId=name, Groups=[self.params["group_id"]]))
        for name in unlike["metadata"]:
            options = self.params["metadata_options"]
            ec2_client.persist(partial(self.ec2.modify_instance_metadata_options, InstanceId=name, **options))

    def named(self, instance_ids) -> list[str]:
        """Return the seats of machines."""
        return sorted({self.seat(self.machines[name]) for name in instance_ids})

    def plan(self) -> list[str]:
        """Say what stopping means, if that is what is asked for."""
        running = [one for one in self.going() if one["State"]["Name"] in ("pending", "running")]
        if self.params["state"] != "stopped" or not running:
            return []
        ids = {one["InstanceId"] for one in running}
        only = [{"Name": "tag:classroom:name", "Values": [self.params["classroom"]]}]
        volumes = ec2_client.persist(self.ec2.get_paginator("describe_volumes").paginate(Filters=only).build_full_result)["Volumes"]
        theirs = [one["Size"] for one in volumes if ids & {held["InstanceId"] for held in one["Attachments"]}]
        return start_stop.stop_plan(self.named(ids), running, sum(theirs), self.ec2.meta.region_name)


def run(ec2, params: dict, check: bool) -> dict:
    """Compare, then change what differs; in check mode only tell."""
    seats = Seats(ec2, params)
    unlike, before = start_stop.unlike(seats.machines.values(), params), seats.going()
    plan: list[str] = []
    if check:
        plan, moved = seats.plan(), [one["InstanceId"] for one in before]
    else:
        seats.equip(unlike)
        seats.bring()
        moved = [one["InstanceId"] for one in before if one["InstanceId"] not in seats.refused]
    refused = [(seats.machines[name], found) for name, found in seats.refused.items()]
    missing = seats.held_back() + [{"seat": seats.seat(machine)} | start_stop.told(machine, found) for machine, found in refused]
    equipped = seats.named({name for names in unlike.values() for name in names})
    done = {"moved": seats.named(moved), "equipped": equipped, "missing": sorted(missing, key=lambda one: one["seat"]), "plan": plan}
    return done | {"changed": bool(moved or equipped)}


@path_errors.told
def main() -> None:
    """Act. What EC2 refuses for single seats is told; what stops everything fails in an organiser's words."""
    module = AnsibleAWSModule(argument_spec=start_stop.OPTIONS, supports_check_mode=True)
    ec2 = ec2_client.client(module)
    try:
        done = run(ec2, module.params, module.check_mode)
    except ec2_client.ERRORS as error:
        module.fail_json(msg=ec2_errors.explain(error, ec2.meta.endpoint_url))
    module.exit_json(msg=start_stop.message(done, module.params), **done)


if __name__ == "__main__":
    main()
