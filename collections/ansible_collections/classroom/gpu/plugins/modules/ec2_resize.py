#!/usr/bin/python
"""Give seats that exist another instance type or a larger disk."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_resize
short_description: Give seats that exist another instance type or a larger disk
description:
  - Finds machines by the tags of their class and seat. Says all that keeps a change from being made before it makes the first.
  - Another type needs a machine that is stopped, a zone that offers it and a stack that runs on it. Files stay.
  - A disk grows while its machine runs; the module returns when the new size counts. The file system on it is another matter.
  - In check mode it tells what the change costs.
options:
  classroom: {description: Name of the class, type: str, required: true}
  seats: {description: Ids of seats that exist, type: list, elements: str, required: true}
  instance_type: {description: EC2 instance type, type: str}
  disk_gib: {description: Size of the root disk in GiB, type: int}
  stack: {description: "Folder of the stack, which has to run on the type", type: path}
  image: {description: "SSM parameter of the class's image, whose name tells the system", type: str, default: ''}
  timeout: {description: Seconds that a disk may take to grow, type: int, default: 600}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: [GPU Classroom]
"""

RETURN = """
shaped: {description: Seats that got another type or a larger disk, type: list, returned: success}
running: {description: Those of them whose machine is not stopped, type: list, returned: success}
plan: {description: "Lines that say what is changed, and in check mode what that costs", type: list, returned: success}
"""

EXAMPLES = """
- name: Give a seat a larger GPU
  classroom.gpu.ec2_resize:
    classroom: physics
    seats: [s01]
    instance_type: g5.xlarge
    stack: stacks/pytorch-2026

- name: Give a seat a larger disk
  classroom.gpu.ec2_resize:
    classroom: physics
    seats: [s01]
    disk_gib: 150
"""

import time
from functools import partial

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.cost import prices
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import client as ec2_client
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import errors as ec2_errors
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import ownership, resize

OPTIONS = {
    "classroom": {"type": "str", "required": True},
    "seats": {"type": "list", "elements": "str", "required": True},
    "instance_type": {"type": "str"},
    "disk_gib": {"type": "int"},
    "stack": {"type": "path"},
    "image": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 600},
}


class Refused(Exception):
    """What keeps the change from being made, a sentence each."""


class Seats:
    """The machines of a class's seats."""

    def __init__(self, ec2, params: dict) -> None:
        self.ec2, self.params = ec2, params
        found = ec2_client.machines_of(ec2, params["classroom"])
        known = instances.by_seat(found, params["classroom"])
        gone = [seat for seat in params["seats"] if seat not in known]
        if gone:
            raise Refused(f"Class {params['classroom']} has no machine for {', '.join(gone)}: ansible-playbook site.yml launches it.")
        held = ownership.held(ownership.claims_of(found, params["classroom"]), params["classroom"], ec2.meta.region_name)
        if wrong := [held[seat].message for seat in params["seats"] if seat in held]:
            raise Refused("\n".join(wrong))
        self.machines = {seat: known[seat][0] for seat in params["seats"]}

    def ask(self, operation: str, **arguments) -> dict:
        """Make a call until EC2 answers it, and read all pages of the answer."""
        if self.ec2.can_paginate(operation):
            return ec2_client.persist(self.ec2.get_paginator(operation).paginate(**arguments).build_full_result)
        return ec2_client.persist(partial(getattr(self.ec2, operation), **arguments))


class Types(Seats):
    """Seats that get another instance type."""

    def others(self) -> list[str]:
        """Return the seats that have another type."""
        return [seat for seat, machine in self.machines.items() if machine["InstanceType"] != self.params["instance_type"]]

    def problems(self, seats: list[str], check: bool) -> list[str]:
        """Return what keeps seats from having the type. In check mode they may still run."""
        kind = self.params["instance_type"]
        only = [{"Name": "instance-type", "Values": [kind]}]
        found = self.ask("describe_instance_type_offerings", LocationType="availability-zone", Filters=only)["InstanceTypeOfferings"]
        zones = sorted(one["Location"] for one in found)
        if not zones:
            return [f"{self.ec2.meta.region_name} offers no instance type {kind}."]
        wrong = resize.misfit(self.params["stack"], kind, self.params["image"])
        known = self.ask("describe_instance_types", InstanceTypes=[kind])["InstanceTypes"][0]["ProcessorInfo"]["SupportedArchitectures"]
        for seat in seats:
            machine = self.machines[seat]
            zone, built, rests = machine["Placement"]["AvailabilityZone"], machine["Architecture"], machine["State"]["Name"] == "stopped"
            if zone not in zones:
                wrong.append(f"{seat} is in {zone} with its disk, where there is no {kind}: only in {', '.join(zones)}.")
            if built not in known:
                wrong.append(f"{seat} is built for {built}, which {kind} is not: it is {' or '.join(known)}.")
            if not rests and not check:
                wrong.append(f"{seat} is {machine['State']['Name']}: `ansible-playbook playbooks/stop.yml -e seats={seat}` first.")
        return wrong

    def plan(self, seats: list[str]) -> list[str]:
        """Say what the type costs."""
        kind, caveat = self.params["instance_type"], prices.caveat(self.ec2.meta.region_name)
        return [*(resize.type_plan(seat, self.machines[seat], kind) for seat in seats), f"Prices are {caveat}."]

    def change(self, seats: list[str]) -> list[str]:
        """Change the types; return what to do next."""
        wanted = {"Value": self.params["instance_type"]}
        for seat in seats:
            self.ask("modify_instance_attribute", InstanceId=self.machines[seat]["InstanceId"], InstanceType=wanted)
        ids = ",".join(seats)
        return [f"{ids}: {wanted['Value']} from now on. To start: ansible-playbook playbooks/start.yml -e seats={ids}"]


class Disks(Seats):
    """Seats that get a larger disk."""

    def __init__(self, ec2, params: dict) -> None:
        super().__init__(ec2, params)
        roots = {seat: self.root(machine) for seat, machine in self.machines.items()}
        found = self.ask("describe_volumes", VolumeIds=list(roots.values()))["Volumes"] if roots else []
        size = {one["VolumeId"]: one["Size"] for one in found}
        self.disks = {seat: (name, size[name]) for seat, name in roots.items()}
        # By a filter: asked by its id, a disk that never changed is an error.
        only = [{"Name": "volume-id", "Values": list(size)}]
        last = self.ask("describe_volumes_modifications", Filters=only)["VolumesModifications"] if size else []
        self.growing = {one["VolumeId"]: one.get("TargetSize") for one in last if one["ModificationState"] != "failed"}

    @staticmethod
    def root(machine: dict) -> str:
        """Return the id of the disk that a machine boots from."""
        return next(disk["Ebs"]["VolumeId"] for disk in machine["BlockDeviceMappings"] if disk["DeviceName"] == machine["RootDeviceName"])

    def others(self) -> list[str]:
        """Return the seats that have another size, a disk that is on its way to it included."""
        return [seat for seat, (_, size) in self.disks.items() if size != self.params["disk_gib"]]

    def problems(self, seats: list[str], check: bool) -> list[str]:
        """Return what keeps disks from having the size."""
        return [problem for seat in seats if (problem := resize.shrinks(seat, self.disks[seat][1], self.params["disk_gib"]))]

    def plan(self, seats: list[str]) -> list[str]:
        """Say what the size costs."""
        lines = [resize.disk_plan(seat, self.disks[seat][1], self.params["disk_gib"]) for seat in seats]
        return [*lines, f"{resize.RATE}. Prices are {prices.caveat(self.ec2.meta.region_name)}."]

    def change(self, seats: list[str]) -> list[str]:
        """Have the disks grow; return when the new size counts."""
        names = {self.disks[seat][0] for seat in seats}
        for seat in seats:
            self.grow(seat, self.disks[seat][0])
        until = time.monotonic() + self.params["timeout"]
        while slow := self.modifying(names):
            if time.monotonic() > until:
                raise Refused(f"AWS still works on {', '.join(slow)}: run the same command again, which waits for it.")
            time.sleep(ec2_client.POLL)
        return [f"{', '.join(seats)}: {self.params['disk_gib']} GiB of disk from now on."]

    def grow(self, seat: str, name: str) -> None:
        """Ask for the size, unless that was asked for already: by a run that was killed, or by a call whose answer was lost."""
        if self.growing.get(name) == self.params["disk_gib"]:
            return
        try:
            self.ask("modify_volume", VolumeId=name, Size=self.params["disk_gib"])
        except ec2_client.ERRORS as error:
            only = [{"Name": "volume-id", "Values": [name]}]
            last = self.ask("describe_volumes_modifications", Filters=only)["VolumesModifications"]
            if not any(one.get("TargetSize") == self.params["disk_gib"] and one["ModificationState"] != "failed" for one in last):
                raise Refused(f"{seat}: {resize.explain(error, self.ec2.meta.endpoint_url)}") from error

    def modifying(self, names: set[str]) -> list[str]:
        """Return the disks whose new size does not count yet. Raises Refused if one failed."""
        only = [{"Name": "volume-id", "Values": sorted(names)}]
        states = {
            one["VolumeId"]: one["ModificationState"]
            for one in self.ask("describe_volumes_modifications", Filters=only)["VolumesModifications"]
        }
        failed = [name for name in sorted(names) if states.get(name) == "failed"]
        if failed:
            raise Refused(f"AWS could not make {', '.join(failed)} larger; their files are as they were. Run the same command again.")
        return [name for name in sorted(names) if states.get(name) not in resize.GROWN]


def run(seats: Types | Disks, check: bool) -> dict:
    """Look for what keeps the change from being made, then make it; in check mode say what it costs. Raises Refused."""
    others = seats.others()
    problems = seats.problems(others, check) if others else []
    if problems:
        raise Refused("\n".join(problems))
    running = [seat for seat in others if seats.machines[seat]["State"]["Name"] != "stopped"]
    lines = (seats.plan(others) if check else seats.change(others)) if others else []
    return {"changed": bool(others), "shaped": others, "running": running, "plan": lines}


@path_errors.told
def main() -> None:
    """Change, or say in an organiser's words why not."""
    either = [("instance_type", "disk_gib")]
    module = AnsibleAWSModule(
        argument_spec=OPTIONS,
        required_one_of=either,
        mutually_exclusive=either,
        required_by={"instance_type": ("stack",)},
        supports_check_mode=True,
    )
    ec2 = ec2_client.client(module)
    try:
        seats = (Types if module.params["instance_type"] else Disks)(ec2, module.params)
        done = run(seats, module.check_mode)
    except Refused as refused:
        module.fail_json(msg=str(refused))
    except ec2_client.ERRORS as error:
        module.fail_json(msg=ec2_errors.explain(error, ec2.meta.endpoint_url))
    module.exit_json(**done)


if __name__ == "__main__":
    main()
