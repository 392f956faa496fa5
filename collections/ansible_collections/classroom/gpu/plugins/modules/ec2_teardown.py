#!/usr/bin/python
"""End everything that was made at EC2 for a class, or for some of its seats, and prove it."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_teardown
short_description: End everything that was made at EC2 for a class, or for some of its seats, and prove it
description:
  - Ends instances, then volumes, addresses, network interfaces, security groups and key pairs, in the order in which EC2 lets go of them,
    waiting where it must. Looks again after each round, so that what a killed run left, or what comes up late, is ended too.
  - Touches nothing without the tag C(classroom:name) of the class. What somebody has deleted already is no error; what cannot be ended
    is left, with the reason, and does not keep the rest.
  - Leaves a machine whose tags are not what the class's folder, its disk and its Name say, should it be another seat's or have lost them,
    and tells the command that puts them back. Only its own id, as O(machine), ends one that has another seat's tag.
  - Then searches by tag. C(DescribeTags) answers for every kind of EC2 resource in one call, ones that no playbook makes among them.
    (The Resource Groups Tagging API would know other services, too, in which a class has nothing; it needs a permission of its own and also
    lists what is gone.)
  - Needs neither capacity nor a machine that runs. In check mode it tells what would end, and what each thing costs.
options:
  classroom: {description: Name of the class, type: str, required: true}
  only: {description: "Seats to end, separated by commas, without key pair and group; empty for the class", type: str, default: ''}
  machine: {description: "Id of the one machine to end, of two for one seat", type: str, default: ''}
  class_dir: {description: "The class's folder with its ledger and the proofs of its seats", type: path, default: ''}
  timeout: {description: Seconds that EC2 may take to let go of things, type: int, default: 600}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: [GPU Classroom]
"""

RETURN = """
ending: {description: "What is to be ended, or was, each with kind, id, seat, what and hour (dollars)", type: list, returned: success}
left: {description: "What is left, each with why as well", type: list, returned: success}
lines: {description: "The plan in check mode, else the certificate", type: list, returned: success}
msg: {description: "What would end, in a few words, or the certificate's first line", type: str, returned: success}
"""

EXAMPLES = """
- name: End the class
  classroom.gpu.ec2_teardown:
    classroom: physics
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import roster
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import client as ec2_client
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import errors as ec2_errors
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import ownership, teardown
from ansible_collections.classroom.gpu.plugins.module_utils.ec2.teardown import Kind, Thing

BATCH = 100  # machines a TerminateInstances
POLL = 5.0  # seconds between two rounds
OPTIONS = {
    "classroom": {"type": "str", "required": True},
    "only": {"type": "str", "default": ""},
    "machine": {"type": "str", "default": ""},
    "class_dir": {"type": "path", "default": ""},
    "timeout": {"type": "int", "default": 600},
}


# What looks at a class whose machines may have lost their tags.
LOOKS = {
    "describe_instances": ("instance", "Reservations"),
    "describe_volumes": ("volume", "Volumes"),
    "describe_network_interfaces": ("network-interface", "NetworkInterfaces"),
}


class Unknown(Exception):
    """A seat or a machine is asked for of which there is nothing that could be ended."""


class Cloud:
    """What EC2 has of one class, or of some of its seats. `denied` holds the kinds that these credentials may not list, with the reason."""

    def __init__(self, module: AnsibleAWSModule) -> None:
        self.ec2, self.classroom, self.class_dir = ec2_client.patient(module), module.params["classroom"], module.params["class_dir"]
        self.region, self.seats, self.machine = self.ec2.meta.region_name, roster.chosen(module.params["only"]), module.params["machine"]
        self.kinds = [kind for kind in teardown.KINDS if not self.seats or kind.name not in ("security-group", "key-pair")]
        self.denied: dict[str, str] = {}

    def ask(self, kind: str, operation: str, key: str, *filters: tuple[str, list[str]]) -> list[dict]:
        """Return everything that an operation lists."""
        given = [{"Name": name, "Values": values} for name, values in filters]
        try:
            if self.ec2.can_paginate(operation):
                return self.ec2.get_paginator(operation).paginate(Filters=given).build_full_result()[key]
            return getattr(self.ec2, operation)(Filters=given)[key]
        except ec2_client.ANSWERED as error:
            if ec2_errors.code(error) not in ec2_errors.DENIED:
                raise
            self.denied[kind] = teardown.refusal(error, "")
            return []

    def listed(self, operation: str, filters: list[dict]) -> list[dict]:
        """Return everything that one of LOOKS lists, machines by themselves."""
        kind, key = LOOKS[operation]
        return ec2_client.items({key: self.ask(kind, operation, key, *((one["Name"], one["Values"]) for one in filters))})

    def survey(self) -> ownership.Survey:
        """Return what there is of the class, and whose each machine is."""
        return ownership.survey(self.listed, self.classroom, self.class_dir)

    def items(self, volumes: list[dict]) -> list[tuple[Kind, dict]]:
        """Return everything but machines, in the order in which it can go; volumes are known. With one machine goes what is its own."""
        found = []
        for kind in () if self.machine else self.kinds:
            there = (
                volumes if kind.name == "volume" else self.ask(kind.name, kind.listing, kind.key, ("tag:classroom:name", [self.classroom]))
            )
            found += [(kind, item) for item in there if not self.seats or teardown.seat(item) in self.seats]
        return found

    def tagged(self) -> list[tuple[str, str]]:
        """Return kind and id of everything that has the tags, whatever it is."""
        keys = ["classroom:name", *(["classroom:seat"] if self.seats else [])]
        found: dict[tuple[str, str], dict[str, str]] = {}
        for tag in self.ask("tags", "describe_tags", "Tags", ("key", keys), ("value", [self.classroom, *self.seats])):
            found.setdefault((tag["ResourceType"], tag["ResourceId"]), {})[tag["Key"]] = tag["Value"]
        ours = {one: tags for one, tags in found.items() if tags.get("classroom:name") == self.classroom and self.machine in ("", one[1])}
        return sorted(one for one, tags in ours.items() if not self.seats or tags.get("classroom:seat") in self.seats)

    def users(self, group_id: str) -> list[dict]:
        """Return the interfaces and groups that use a group."""
        interfaces = self.ask("network-interface", "describe_network_interfaces", "NetworkInterfaces", ("group-id", [group_id]))
        groups = self.ask("security-group", "describe_security_groups", "SecurityGroups", ("ip-permission.group-id", [group_id]))
        return interfaces + [group for group in groups if group["GroupId"] != group_id]


class Teardown:
    """The way of a class to its end, in rounds.

    why: what EC2 refused for good, or what nobody may end without having said so; waits: what EC2 will let go of; kept: the machines that
    are left because their tags are not what all else says.
    """

    def __init__(self, cloud: Cloud, timeout: float) -> None:
        self.cloud, self.until = cloud, time.monotonic() + timeout
        self.why: dict[str, str] = {}
        self.waits: dict[str, str] = {}
        self.ended: dict[str, Thing] = {}

    def look(self) -> None:
        """Ask EC2 what there is."""
        survey = self.cloud.survey()
        self.claims, self.kept = survey.claims, dict(self.keep(survey.claims))
        self.why |= self.kept
        aimed = [one.machine for one in self.claims if self.is_aimed_at(one)]
        self.machines = sorted(aimed, key=teardown.seat)
        self.items, self.tags = self.cloud.items(survey.volumes), self.cloud.tagged()
        self.alive = [machine for machine in self.machines if machine["State"]["Name"] != "terminated"]
        self.sizes = {item["VolumeId"]: item["Size"] for item in survey.volumes}

    def is_aimed_at(self, one: ownership.Claim) -> bool:
        """Tell whether a machine is to end: one of the class's by its tag, and of the seats', that nothing says to be another's."""
        if self.cloud.machine or one.id in self.kept:
            return one.id == self.cloud.machine
        return self.is_meant(one.tagged)

    def is_meant(self, place: ownership.Place) -> bool:
        """Tell whether this run is about a place: one of the class's, or of its seats."""
        return place[0] == self.cloud.classroom and (not self.cloud.seats or place[1] in self.cloud.seats)

    def keep(self, claims: list[ownership.Claim]) -> Iterator[tuple[str, str]]:
        """Yield the machines that are left as nobody knows for sure whether they are meant, each with what puts its tags back."""
        classroom = self.cloud.classroom
        for one in claims if not self.cloud.machine else ():
            meant = [seat for _, seat in filter(self.is_meant, (one.tagged, one.was))]
            is_doubtful = not one.is_sure if self.cloud.seats else {one.tagged[0], one.place[0]} != {classroom}
            if one.is_alive and is_doubtful and meant:
                yield one.id, ownership.misplaced(meant[0], [one], classroom, self.cloud.region).message

    def check(self) -> None:
        """Refuse seats of which there is nothing, and a machine that is not one of the class's, or of the seat's, by its tags."""
        if self.cloud.machine:
            self.check_machine(self.cloud.machine, next((one for one in self.claims if one.id == self.cloud.machine), None))
            return
        known = {teardown.seat(one) for one in [*self.machines, *(item for _, item in self.items)]}
        known |= {place[1] for one in self.claims if one.id in self.kept for place in (one.tagged, one.was)}
        if missing := [seat for seat in self.cloud.seats if seat not in known]:
            raise Unknown(f"-e seats= names {', '.join(missing)}, of which class {self.cloud.classroom} has nothing at EC2.")

    def check_machine(self, name: str, one: ownership.Claim | None) -> None:
        """Refuse a machine that is not one of the class's, or of the seat's, by its tags."""
        if not one or one.tagged[0] != self.cloud.classroom:
            back = f" {ownership.misplaced(one.place[1], [one], self.cloud.classroom, self.cloud.region).message}" if one else ""
            raise Unknown(f"-e machine={name} names no machine with the tag of class {self.cloud.classroom}.{back}")
        if self.cloud.seats and one.tagged[1] not in self.cloud.seats:
            raise Unknown(f"-e machine={name} is not {', '.join(self.cloud.seats)}: its tag says {one.tagged[1] or 'no seat'}.")

    def own(self, found: list[dict]) -> set[str]:
        """Return the disks and interfaces of machines."""
        disks = {disk["Ebs"]["VolumeId"] for one in found for disk in one.get("BlockDeviceMappings", []) if "Ebs" in disk}
        return disks | {nic["NetworkInterfaceId"] for one in found for nic in one.get("NetworkInterfaces", [])}

    def left_alone(self) -> list[dict]:
        """Return the machines that are left because of their tags."""
        return [one.machine for one in self.claims if one.id in self.kept]

    def things(self) -> list[Thing]:
        """Return what there is and what each thing costs, the disks of a machine with it."""
        with_them = self.own(self.alive + self.left_alone())
        own = [teardown.of_machine(machine, self.sizes, self.reason(machine["InstanceId"])) for machine in self.alive]
        rest = [(kind, item) for kind, item in self.items if item[kind.id] not in with_them]
        return own + [teardown.of_item(kind, item, self.reason(item[kind.id])) for kind, item in rest]

    def ids(self) -> set[str]:
        """Return the machines and interfaces that are to end."""
        cards = {item[kind.id] for kind, item in self.items if kind.name == "network-interface"}
        return cards | {machine["InstanceId"] for machine in self.machines} | set(self.unlisted())

    def reason(self, resource: str) -> str:
        """Return why something is still there."""
        return self.why.get(resource) or self.waits.get(resource) or f"It came up late: {teardown.AGAIN}."

    def strangers(self) -> list[Thing]:
        """Return what only tags tell of, and what could not be searched."""
        late = f"EC2 knows its tag and does not list it yet: {teardown.AGAIN} in a minute."
        others = [one for one in self.tags if not one[1].startswith(teardown.LISTED)]
        return [
            *(teardown.of_machine(machine, self.sizes, self.kept[machine["InstanceId"]]) for machine in self.left_alone()),
            *(Thing("instance", resource, "", "", None, late) for resource in self.unlisted()),
            *(teardown.of_tag(kind, resource) for kind, resource in others),
            *(teardown.blind(kind, why) for kind, why in sorted(self.cloud.denied.items())),
        ]

    def unlisted(self) -> list[str]:
        """Return the machines of which only their tags are told so far: a list may lag behind a launch."""
        listed = {machine["InstanceId"] for machine in self.machines} | self.kept.keys()
        return [resource for _, resource in self.tags if resource.startswith("i-") and resource not in listed]

    def run(self) -> list[Thing]:
        """End everything, round by round; return what is left."""
        while self.round():
            time.sleep(POLL if self.waits else 0)
            self.look()
            if time.monotonic() > self.until:
                break
        return self.things() + self.strangers()

    def round(self) -> bool:
        """End what can be ended now; say whether another round is worth it."""
        had, self.waits = len(self.ended), {}
        self.end_machines()
        if not self.waits:
            self.end_items()
        self.waits |= {one: "" for one in self.unlisted()}
        return bool(self.waits) or len(self.ended) > had

    def end_machines(self) -> None:
        """Ask EC2 to end the machines that are not ending."""
        going = [machine["InstanceId"] for machine in self.alive if machine["State"]["Name"] == "shutting-down"]
        fresh = [machine for machine in self.alive if machine["InstanceId"] not in {*going, *self.why}]
        for begin in range(0, len(fresh), BATCH):
            self.terminate(fresh[begin : begin + BATCH])
        going += [machine["InstanceId"] for machine in fresh if machine["InstanceId"] not in self.why]
        self.waits |= dict.fromkeys(going, f"It is still ending: {teardown.AGAIN} in a minute.")

    def terminate(self, batch: list[dict]) -> None:
        """End some machines. EC2 ends none of a call, or not all, because of one: so halve it until that one stands alone."""
        try:
            self.cloud.ec2.terminate_instances(InstanceIds=[machine["InstanceId"] for machine in batch])
        except ec2_client.ANSWERED as error:
            if len(batch) > 1 and not teardown.concerns_all(error):
                self.terminate(batch[: len(batch) // 2])
                self.terminate(batch[len(batch) // 2 :])
            elif not teardown.is_gone(error):  # else the next look knows
                self.why |= {one["InstanceId"]: teardown.refusal(error, one["InstanceId"]) for one in batch}
        else:
            self.ended |= {one["InstanceId"]: teardown.of_machine(one, self.sizes) for one in batch}

    def end_items(self) -> None:
        """Delete what nothing holds any more."""
        over = {machine["InstanceId"] for machine in self.machines} - {machine["InstanceId"] for machine in self.alive}
        theirs = self.own(self.left_alone())
        for kind, item in self.items:
            resource = item[kind.id]
            if resource in self.why or resource in theirs:
                continue
            if users := [user for user in teardown.holders(item) if user not in over]:
                self.hold(resource, users, [user for user in users if user in self.ids()])
            else:
                self.delete(kind, item)

    def delete(self, kind: Kind, item: dict) -> None:
        """Delete one thing, unless something uses it."""
        resource = item[kind.id]
        try:
            getattr(self.cloud.ec2, kind.deleting)(**{kind.by: item[kind.by]})
        except ec2_client.ANSWERED as error:
            if teardown.is_held(error) and kind.name == "security-group":
                self.hold_group(resource)
            elif teardown.is_held(error) or teardown.is_gone(error):
                self.waits[resource] = teardown.refusal(error, resource)  # until EC2 no longer lists it
            else:
                self.why[resource] = teardown.refusal(error, resource)
        else:
            self.ended[resource] = teardown.of_item(kind, item)

    def hold_group(self, group_id: str) -> None:
        """Note who uses a group. The interface of a machine that has just ended goes by itself."""
        users = {one.get("NetworkInterfaceId") or one["GroupId"]: one for one in self.cloud.users(group_id)}
        ours = [user for user, one in users.items() if teardown.belongs(one, self.cloud.classroom) or self.ids() & {*teardown.holders(one)}]
        refused = [user for user in ours if self.why.keys() & {user, *teardown.holders(users[user])}]
        self.hold(group_id, [*users] or ["something"], ours if users else ["something"], refused)

    def hold(self, resource: str, users: list[str], ours: list[str], refused: list[str] | None = None) -> None:
        """Note what holds something: what is the class's lets go of it, unless that is refused itself."""
        foreign = [user for user in users if user not in ours]
        refused = [user for user in users if user in self.why] if refused is None else refused
        kept = self.why if foreign or refused else self.waits
        kept[resource] = teardown.held_by(foreign or refused or users, not foreign)


def run(cloud: Cloud, timeout: float, check: bool) -> dict:
    """Look, end, look again."""
    region, of = cloud.region, " of ".join(filter(None, [cloud.machine, ", ".join(cloud.seats), f"class {cloud.classroom}"]))
    way = Teardown(cloud, timeout)
    way.look()
    way.check()
    if check:
        ending, left = [thing._replace(why="") for thing in way.things()], way.strangers()
        lines, msg = teardown.plan(of, ending, left, region), teardown.summary(ending)
    else:
        left, ending = way.run(), list(way.ended.values())
        lines = teardown.certificate(of, left, region, datetime.now(UTC))
        msg = lines[0]
    told = {"ending": [thing._asdict() for thing in ending], "left": [thing._asdict() for thing in left]}
    return told | {"changed": bool(ending), "lines": lines, "msg": msg}


@path_errors.told
def main() -> None:
    """End the class. What EC2 refuses for single things is told; what stops everything fails in an organiser's words."""
    module = AnsibleAWSModule(argument_spec=OPTIONS, supports_check_mode=True)
    cloud = Cloud(module)
    try:
        done = run(cloud, module.params["timeout"], module.check_mode)
    except ec2_client.ERRORS as error:
        module.fail_json(msg=f"{ec2_errors.explain(error, cloud.ec2.meta.endpoint_url)} When that is mended, {teardown.AGAIN}.")
    except Unknown as unknown:
        module.fail_json(msg=str(unknown))
    module.exit_json(**done)


if __name__ == "__main__":
    main()
