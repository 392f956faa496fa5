#!/usr/bin/python
"""Launch the seats of a class that have no machine."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_launch
short_description: Launch the seats of a class that have no machine
description:
  - A seat is a machine with the tags C(classroom:name) and C(classroom:seat), which it, its disk and its network interface have from
    their first moment on. One that exists is left as it is. A machine is launched by a call of its own, with a client token made of
    class, seat and all that is asked for, so that a call whose answer was lost, or a run that was killed, is taken up and not repeated.
  - Walks the pools, types in the order given and zones beginning with the seat's own. A pool that was found empty is left out by
    the other seats. EC2's rate of 5 launches at once, then 2 a second, is kept.
  - Ends nothing. A seat with two machines, or one whose machine has lost its tags or has another seat's, gets none, and is told with
    all that is known of each machine and with what a person may type.
  - A seat that cannot be launched is an outcome, not a failure of the module, so that the run goes on with the others.
options:
  classroom: {description: Name of the class, type: str, required: true}
  seats: {description: Ids of the seats that are to exist, type: list, elements: str, required: true}
  pools:
    description: Where machines may come from, the wanted type first.
    type: list
    elements: dict
    required: true
    suboptions:
      instance_type: {description: EC2 instance type, type: str, required: true}
      zone: {description: Availability zone, type: str, required: true}
      subnet_id: {description: Subnet in that zone, type: str, required: true}
  image_id: {description: Image, type: str, required: true}
  root_device: {description: Name of its root device, type: str, required: true}
  disk_gib: {description: Size of the disk in GiB, type: int, required: true}
  key_name: {description: Key pair, type: str, required: true}
  group_id: {description: Security group, type: str, required: true}
  tags: {description: "Further tags of machine, disk and network interface", type: dict, default: {}}
  user_data: {description: "What cloud-init reads at the first boot", type: str, default: ''}
  class_dir: {description: The class's folder with its ledger and the proofs of its seats, type: path, required: true}
  wait_minutes: {description: "How long to go on asking for seats for which AWS has no machine", type: float, default: 0}
  timeout: {description: Seconds that a machine may take to run, type: int, default: 300}
  known:
    description: The machines of the class, as M(classroom.gpu.ec2_preflight) found them earlier in this run. Where each seat
      has one, and none is about to run, nothing is asked of EC2, and no process is started for it.
    type: list
    elements: dict
    default: []
  held:
    description: The seats that M(classroom.gpu.ec2_preflight) found held, each with seat and message. Nothing is launched for them.
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
launched: {description: "Seats launched, each with seat, instance_id, instance_type and zone", type: list, returned: success}
found: {description: "Seats that existed, each with seat and instance_id", type: list, returned: success}
missing:
  description: Seats without a machine that may be used, each with seat, reason (capacity, quota, verification, held or other) and message
  type: list
  returned: success
msg: {description: "Which seats are missing, why, and what to do; or how many there are", type: str, returned: success}
"""

EXAMPLES = """
- name: Launch the seats that have no machine
  classroom.gpu.ec2_launch:
    classroom: physics
    seats: [s01, s02]
    pools:
      - {instance_type: g4dn.xlarge, zone: us-west-2a, subnet_id: subnet-0a}
      - {instance_type: g5.xlarge, zone: us-west-2a, subnet_id: subnet-0a}
    image_id: ami-0a
    root_device: /dev/sda1
    disk_gib: 100
    key_name: classroom-physics
    group_id: sg-0a
    class_dir: classes/123456789012-us-west-2/physics
"""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import client as ec2_client
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import errors as ec2_errors
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import launch, ownership

LIVES = 100  # machines of one seat that may come and go while EC2 remembers their tokens


class Missing(Exception):
    """A launch that did not happen; its argument is the launch.Refusal."""


class Cloud:
    """The calls of this module, for one class."""

    def __init__(self, module: AnsibleAWSModule) -> None:
        self.params, self.pace, self.ec2 = module.params, ec2_client.Pace(), ec2_client.client(module)
        self.region = self.ec2.meta.region_name

    def machines(self) -> list[dict]:
        """Return every machine of the class that EC2 knows, ended ones as well."""
        return ec2_client.machines_of(self.ec2, self.params["classroom"])

    def survey(self) -> ownership.Survey:
        """Return what there is of the class, and whose each machine is."""
        return ownership.survey(partial(ec2_client.listed, self.ec2), self.params["classroom"], self.params["class_dir"])

    def held(self, claims: list[ownership.Claim]) -> list[dict]:
        """Return the seats for which nothing may be done."""
        return [one._asdict() for one in ownership.held(claims, self.params["classroom"], self.region, self.params["seats"]).values()]

    def launch(self, seat: str, pool: launch.Pool) -> dict:
        """Return the machine of a seat, launched in a pool unless this very launch was asked for before. Raises Missing."""
        asked = launch.request(self.params, seat, pool)
        for counter in range(LIVES):
            try:
                machine = ec2_client.persist(partial(self.run, asked | {"ClientToken": launch.token(asked, counter)}))
            except ec2_client.ERRORS as error:
                if ec2_errors.code(error) != launch.USED:
                    raise Missing(launch.refusal(error, self.ec2.meta.endpoint_url)) from error
                continue  # that machine came and went
            gone = machine["State"]["Name"] in launch.GONE
            if not gone and not ownership.moved_on_purpose(machine, (self.params["classroom"], seat)):
                return self.tagged(machine, seat)
        raise Missing(launch.Refusal("other", "seat", f"It was launched and ended {LIVES} times in a day."))

    def tagged(self, machine: dict, seat: str) -> dict:
        """Return a machine that was launched, now or by the same launch before. Raises Missing where its tags are not the seat's by now."""
        place, own = (self.params["classroom"], seat), instances.tags(machine)
        if (own.get("classroom:name"), own.get("classroom:seat")) != place:
            raise Missing(launch.Refusal("held", "seat", ownership.launched_before(machine, place, self.region)))
        return machine

    def run(self, asked: dict) -> dict:
        """Launch one machine, when it is its turn."""
        self.pace.wait()
        return self.ec2.run_instances(**asked)["Instances"][0]


class Class:
    """The seats of a class on their way to a machine each. `met` holds what this wave met in each pool."""

    def __init__(self, cloud: Cloud, params: dict) -> None:
        self.cloud, self.params = cloud, params
        self.pools = [launch.Pool(**pool) for pool in params["pools"]]
        survey = cloud.survey()
        self.missing = launch.held_back([*params["held"], *cloud.held(survey.claims)], params["seats"])
        self.known = instances.by_seat(survey.machines, params["classroom"])
        self.found = {seat: self.known[seat][0] for seat in params["seats"] if seat in self.known and seat not in self.missing}
        self.absent = [seat for seat in params["seats"] if seat not in self.known and seat not in self.missing]
        self.seen = survey.machines
        self.met: dict[launch.Pool, launch.Refusal] = {}
        self.launched: dict[str, dict] = {}

    def fill(self) -> None:
        """Launch what is absent, in waves until there are machines for all or the time is over, and wait until what starts runs."""
        seats, until = self.absent, time.monotonic() + 60 * self.params["wait_minutes"]
        self.settle({seat: machine for seat, machine in self.found.items() if machine["State"]["Name"] == "pending"})
        while seats:
            self.met.clear()
            with ThreadPoolExecutor(ec2_client.BURST) as workers:
                list(workers.map(self.place, seats))
            self.settle({seat: self.launched[seat] for seat in seats if seat in self.launched})
            seats = [seat for seat in seats if self.missing.get(seat, {}).get("reason") in launch.WAITING_MENDS]
            left = until - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(ec2_client.PAUSE, left) if seats else 0)
        self.compare()

    def compare(self) -> None:
        """Hold seats for which somebody else's run launched another machine at the same time, as the last look tells."""
        claims = ownership.claims_of(self.seen, self.params["classroom"], self.params["class_dir"])
        self.missing |= launch.held_back(self.cloud.held(claims), list(self.launched))

    def place(self, seat: str) -> None:
        """Walk the pools, and note the seat's machine or what was met."""
        for pool in launch.order(seat, self.pools):
            if pool in self.met:
                continue
            try:
                self.launched[seat] = self.cloud.launch(seat, pool)
                self.missing.pop(seat, None)
                return
            except Missing as missing:
                refusal = missing.args[0]
                if refusal.closes == "seat":
                    self.missing[seat] = launch.told([(pool, refusal)])
                    return
                self.met |= dict.fromkeys(launch.closed_by(refusal, pool, self.pools), refusal)
        self.missing[seat] = launch.told((pool, self.met[pool]) for pool in self.pools)

    def settle(self, starting: dict[str, dict]) -> None:
        """Wait until machines run; a just-launched one may be missing from EC2's list at first."""
        until = time.monotonic() + self.params["timeout"]
        while starting and (starting := self.look(starting)):
            if time.monotonic() > until:
                for seat, machine in starting.items():
                    late = f"Its machine {machine['InstanceId']} does not run after {self.params['timeout']} seconds."
                    self.lose(seat, machine, launch.Refusal("other", "seat", late))
                return
            time.sleep(ec2_client.POLL)

    def look(self, starting: dict[str, dict]) -> dict[str, dict]:
        """Return the machines that are still starting; one that ended is no seat."""
        self.seen = self.cloud.machines()
        seen = {machine["InstanceId"]: machine for machine in self.seen}
        now = {seat: seen.get(machine["InstanceId"]) for seat, machine in starting.items()}
        for seat, machine in now.items():
            if machine and machine["State"]["Name"] in launch.GONE:
                self.lose(seat, machine, launch.of_death(machine))
        return {seat: starting[seat] for seat, machine in now.items() if not machine or machine["State"]["Name"] == "pending"}

    def lose(self, seat: str, machine: dict, why: launch.Refusal) -> None:
        """Count a seat as missing whose machine did not come to run."""
        for seats in (self.found, self.launched):
            seats.pop(seat, None)
        pool = launch.Pool(machine["InstanceType"], machine["Placement"]["AvailabilityZone"], machine.get("SubnetId", ""))
        self.missing[seat] = launch.told([(pool, why)])


def run(cloud: Cloud, params: dict, check: bool) -> dict:
    """Look, launch what is missing; in check mode only look."""
    seats = Class(cloud, params)
    if check:
        launched = [{"seat": seat} for seat in seats.absent]
    else:
        seats.fill()
        launched = launch.described(seats.launched)
    missing = [{"seat": seat} | why for seat, why in sorted(seats.missing.items())]
    return {"launched": launched, "found": launch.described(seats.found), "missing": missing, "changed": bool(launched)}


@path_errors.told
def main() -> None:
    """Launch. What EC2 refuses for single seats is told; what stops everything fails in an organiser's words."""
    module = AnsibleAWSModule(argument_spec=launch.OPTIONS, supports_check_mode=True)
    cloud = Cloud(module)
    try:
        done = run(cloud, module.params, module.check_mode)
    except ec2_client.ERRORS as error:
        module.fail_json(msg=ec2_errors.explain(error, cloud.ec2.meta.endpoint_url))
    module.exit_json(msg=launch.message(done, module.check_mode), **done)


if __name__ == "__main__":
    main()
