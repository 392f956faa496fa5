#!/usr/bin/python
"""Look at the settings and the cloud before anything is attempted."""

from __future__ import annotations

DOCUMENTATION = """
module: ec2_preflight
short_description: Look at the settings and the cloud before anything is attempted
description:
  - Reads only. Finds whose credentials these are, whether a class can be launched as its settings say, what exists of it, and, where
    machines are to run, whether the account's vCPU quotas allow them.
  - Fails with every problem that it found at once, each a sentence with its mend.
  - Looks once, for all that comes after it in a run. C(machines), C(security_groups) and C(key) tell what EC2 said, so that later steps ask
    nothing where nothing differs.
  - With O(page) it also tries the permissions, tells all that it found on a page, problems or not, and writes it to C(plan.json) in the
    class's folder. Only then, and with O(request_quota), it changes something, by asking AWS for a larger quota.
options:
  classroom: {description: Name of the class, type: str, required: true}
  account: {description: The only account that may be touched (12 digits), type: str, default: ''}
  region: {description: Region; that of the SDK's environment if not given, type: str}
  home_region: {description: "The only region that may be touched; empty: any, while the class lives in no other", type: str, default: ''}
  only: {description: "Seat ids, separated by commas; empty means all", type: str, default: ''}
  launch: {description: Also check what a launch needs; otherwise only what exists matters, type: bool, default: true}
  roster: {description: "CSV file with the columns seat, name and email", type: path}
  instance_types: {description: "EC2 instance types of a seat, the wanted one first", type: list, elements: str}
  spot: {description: "Spot machines are asked for, and refused", type: bool, default: false}
  class_dir: {description: "The class's folder with its ledger and the proofs of its seats, and for the plan of a page", type: path}
  ledger: {description: "Note in the class's folder, if there is one, which machines ran, as ec2_ledger does", type: bool, default: false}
  page: {description: Tell everything, type: bool, default: false}
  request_quota: {description: "With a page, ask AWS for the vCPU quota that is missing, once", type: bool, default: false}
  policy: {description: "Text with the IAM policy that a class needs, as its block of JSON", type: path}
  disk_gib: {description: "Size of a seat's disk in GiB, for its price", type: int, default: 0}
  image: {description: SSM parameter that holds the id of the image, type: str}
  stack: {description: Folder of the stack, type: path}
  course: {description: The course's git repository, type: str}
  ends: {description: "End of the class, as 2026-12-04 18:00 Europe/Berlin, or never; a launch needs one", type: str, default: ''}
  sessions: {description: "Hours of class, each with day, from and to", type: list, elements: dict, default: []}
  until: {description: "Another end for the seats that exist, by its time alone if it is today's", type: str, default: ''}
  timezone: {description: Zone in which ends are told where that of the class names none, type: str, default: UTC}
  allowed_cidrs: {description: IPv4 networks that may reach the class, type: list, elements: str, default: []}
  allow_everyone: {description: Accept 0.0.0.0/0 among them, type: bool, default: false}
author: [GPU Classroom]
"""

RETURN = """
cloud: {description: AWS or the endpoint that stands in for it, type: str, returned: success}
account: {description: Account of the credentials, type: str, returned: success}
identity: {description: ARN of the credentials, type: str, returned: success}
region: {description: Region, type: str, returned: success}
wanted: {description: Ids of the seats that this run is about, type: list, returned: success}
missing: {description: "Wanted seats to launch, each with seat", type: list, returned: success}
pools: {description: "Where to launch, the wanted type first, each with instance_type, zone, subnet_id", type: list, returned: success}
seats: {description: "All seats that exist, with instance_id, state, address, instance_type, zone and tags", type: list, returned: success}
ends: {description: "The end that seats are to have, as their tag holds it; empty if this run gives none", type: str, returned: success}
moved: {description: Ids of the wanted seats that exist and have another end, type: list, returned: success}
existing: {description: "Those that are wanted and not held; all of a seat, where nothing is launched", type: list, returned: success}
held:
  description: Seats that a person has to settle, each with seat, message, next (what to type), and sure (several machines, all its own)
  type: list
  returned: success
gpu: {description: What GPU a seat has and what drives it, type: str, returned: success}
vpc_id: {description: The default VPC, type: str, returned: success}
image: {description: "id, name, root_device and size_gib", type: dict, returned: success}
disk_gib: {description: Size of a seat's disk in GiB, type: int, returned: success}
offers: {description: Zones that offer each instance type, type: dict, returned: success}
to_run: {description: "Seats to be launched or started, each with the types that it may have", type: dict, returned: success}
quotas: {description: "vCPU quotas of these types, each with family, limit, applied, used and unknown", type: list, returned: success}
request: {description: Lines with what to ask AWS for, type: list, returned: success}
cost:
  description: "Dollars: hour, day, stopped (an hour) and, where there are sessions, sessions; as most, the same if the dearest types come"
  type: dict
  returned: success
permissions: {description: "With a page: actions allowed, denied, untried, odd, and the policy that lacks", type: dict, returned: success}
key: {description: The public key that EC2 holds for the class, type: str, returned: success}
groups: {description: Ids of the class's security groups, type: list, returned: success}
security_groups: {description: "These groups, as EC2 describes them", type: list, returned: success}
group_id: {description: "The one of them that a launch uses, empty if it has to be made", type: str, returned: success}
machines: {description: "The class's machines that have not ended, each with what tells how it is to change", type: list, returned: success}
volumes: {description: Ids of the class's volumes that no instance holds, type: list, returned: success}
plan: {description: "Lines that say where a run acts and on what; a page is told also by a failure", type: list, returned: always}
"""

EXAMPLES = """
- name: Look before anything is spent
  classroom.gpu.ec2_preflight:
    classroom: physics
    account: "123456789012"
    roster: rosters/physics.csv
    instance_types: [g4dn.xlarge, g5.xlarge]
    image: /aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id
    stack: stacks/minimal
    course: https://github.com/peterchang77/dl_tutorial.git
    ends: 2026-12-04 18:00 Europe/Berlin
    allowed_cidrs: [192.0.2.0/24]
"""

import copy
import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances, roster, schedule
from ansible_collections.classroom.gpu.plugins.module_utils.classroom.settings import (
    check_ends,
    check_past,
    check_roster,
    check_settings,
    check_stack,
    check_until,
    choose,
    guess,
    moved,
    settings_file,
    zone,
)
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.cost import ledger, ledger_files
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import client as ec2_client
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import iam_policy, ownership, preflight_report, quota
from ansible_collections.classroom.gpu.plugins.module_utils.ec2.session import Cloud, Denied, Refusal, boto3

# What was found, before anything was.
NOTHING = {
    **dict.fromkeys(("account", "identity", "cloud", "region", "gpu", "ends", "vpc_id", "key", "group_id"), ""),
    **{name: [] for name in ("wanted", "missing", "existing", "held", "moved", "seats", "pools", "quotas", "request")},
    **{name: [] for name in ("groups", "security_groups", "volumes", "machines")},
    **{name: {} for name in ("image", "offers", "to_run", "cost", "permissions", "elsewhere")},
}
STANDING = ("stopping", "stopped")
# What the plan of a page leaves out: itself, and what EC2 tells in one order now and in another then.
UNKEPT = ("plan", "changed", "machines", "security_groups")
ZONES = {"LocationType": "availability-zone"}
# Without these the quota is unknown, which keeps no class from being launched.
OPTIONAL = "servicequotas:"


def attempt(problems: list[str], otherwise: object, look: Callable, *arguments: object) -> object:
    """Return what a look finds; where AWS refuses, say so beside all else that is wrong."""
    try:
        return look(*arguments)
    except Refusal as refusal:
        problems += [str(refusal)] if str(refusal) not in problems else []
        return otherwise


def questions(params: dict) -> dict[str, tuple[str, dict]]:
    """Return what is asked whatever the answers are: of each operation its service, and what that is told."""
    own = {"Filters": by_class(params)}
    asked = dict.fromkeys(("describe_instances", "describe_security_groups", "describe_volumes"), ("ec2", own))
    asked["describe_key_pairs"] = "ec2", own | {"IncludePublicKey": True}
    if params["launch"]:
        kinds = {"Filters": [{"Name": "instance-type", "Values": params["instance_types"]}]}
        asked["describe_instance_type_offerings"] = "ec2", kinds | ZONES
        asked["describe_vpcs"] = "ec2", {"Filters": [{"Name": "is-default", "Values": ["true"]}]}
        asked["get_parameter"] = "ssm", {"Name": params["image"], "absent": ("ParameterNotFound", "ValidationException")}
    return asked


def answer(cloud: Cloud, params: dict, operation: str) -> dict:
    """Return the answer to one of these questions."""
    service, told = questions(params)[operation]
    return cloud.ask(service, operation, **told)


def check_account(cloud: Cloud, params: dict) -> tuple[str, str]:
    """Return account and ARN of the credentials; refuse unless the account is the one that the settings name."""
    caller = cloud.ask("sts", "get_caller_identity")
    account = caller["Account"]
    line = f'`classroom_account: "{account}"` into {settings_file(params)}'
    if not params["account"]:
        raise Refusal(f"classroom_account is not set. These credentials belong to account {account}: if that is the class's, write {line}.")
    if params["account"] != account:
        raise Refusal(
            f"These credentials belong to account {account}, but the class may only touch {params['account']} (classroom_account)."
            f" Choose others with AWS_PROFILE, or write {line}."
        )
    return account, caller["Arn"]


def check_region(cloud: Cloud, params: dict, found: dict) -> None:
    """Refuse a region that is not the class's, by the settings or because it lives in another and nobody said that it is to live here."""
    home, here = params["home_region"], cloud.region
    if home not in ("", here):
        raise Refusal(
            f"This is region {here}, but the class may only touch {home} (classroom_home_region). Type `export AWS_REGION={home}`,"
            f" or write another region into {settings_file(params)}."
        )
    lives = ledger_files.regions(params["class_dir"] or "", found["account"])
    found["elsewhere"] = {region: seats for region, seats in lives.items() if region != here}
    if found["elsewhere"] and not home and here not in lives:
        region, seats = next(iter(found["elsewhere"].items()))
        raise Refusal(
            f"Class {params['classroom']} lives in {region} ({', '.join(seats)}), and this is {here}: type `export AWS_REGION={region}`."
            f' For another one of that name in {here}, write `classroom_home_region: "{here}"` into {settings_file(params)}.'
        )


def check_zones(cloud: Cloud, params: dict, problems: list[str]) -> dict[str, list[str]]:
    """Return the availability zones that offer each instance type."""
    kinds, offers = params["instance_types"], answer(cloud, params, "describe_instance_type_offerings")["InstanceTypeOfferings"]
    zones = {kind: sorted(offer["Location"] for offer in offers if offer["InstanceType"] == kind) for kind in kinds}
    for kind in [kind for kind in kinds if not zones[kind] and not any(f"no instance type {kind}" in problem for problem in problems)]:
        everything = cloud.ask("ec2", "describe_instance_type_offerings", **ZONES)["InstanceTypeOfferings"]
        hint = guess(kind, sorted({offer["InstanceType"] for offer in everything}))
        problems.append(f"{cloud.region} offers no instance type {kind}.{hint} Set classroom_instance_type in {settings_file(params)}.")
    return zones


def check_image(cloud: Cloud, params: dict, problems: list[str]) -> dict:
    """Return id, name, root device and size (GiB) of the image that the SSM parameter names now."""
    name, mend = params["image"], f"Set classroom_image in {settings_file(params)}."
    parameter = answer(cloud, params, "get_parameter").get("Parameter")
    if not parameter:
        problems.append(f"{cloud.region} has no SSM parameter {name}. {mend}")
        return {}
    image = parameter["Value"]
    gone = ("InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable")
    images = cloud.ask("ec2", "describe_images", ImageIds=[image], absent=gone).get("Images")
    if not images:
        problems.append(f"The image {image} that {name} names does not exist in {cloud.region}. {mend}")
        return {}
    root = images[0]["RootDeviceName"]
    disks = [disk["Ebs"]["VolumeSize"] for disk in images[0]["BlockDeviceMappings"] if disk.get("DeviceName") == root and "Ebs" in disk]
    return {"id": image, "name": images[0].get("Name", ""), "root_device": root, "size_gib": max(disks, default=0)}


def check_network(cloud: Cloud, params: dict, offers: dict[str, list[str]], problems: list[str]) -> tuple[str, list[dict]]:
    """Return the default VPC and the pools: each instance type in each zone that offers it and has a default subnet."""
    zones, vpcs = sorted(set().union(*offers.values())), answer(cloud, params, "describe_vpcs")["Vpcs"]
    if not vpcs:
        problems.append(f"{cloud.region} has no default VPC. Type `aws ec2 create-default-vpc --region {cloud.region}`.")
        return "", []
    own = [{"Name": "vpc-id", "Values": [vpcs[0]["VpcId"]]}, {"Name": "default-for-az", "Values": ["true"]}]
    subnets = {net["AvailabilityZone"]: net["SubnetId"] for net in cloud.ask("ec2", "describe_subnets", Filters=own)["Subnets"]}
    placed = [(kind, zone) for kind, there in offers.items() for zone in there if zone in subnets]
    if zones and not placed:
        problems.append(
            f"The default VPC has no default subnet in {', '.join(zones)}, where the instance type is offered."
            f" Type `aws ec2 create-default-subnet --availability-zone {zones[0]}`."
        )
    return vpcs[0]["VpcId"], [{"instance_type": kind, "zone": zone, "subnet_id": subnets[zone]} for kind, zone in placed]


def by_class(params: dict, **more: list[str]) -> list[dict]:
    """Filters for what belongs to the class, and to nothing else."""
    tag = {"Name": "tag:classroom:name", "Values": [params["classroom"]]}
    return [tag, *({"Name": name.replace("_", "-"), "Values": values} for name, values in more.items())]


def as_seat(instance: dict, held: dict[str, ownership.Held]) -> dict:
    """What a run needs to know of an instance."""
    tags = instances.tags(instance)
    ends = tags.get("classroom:ends", "")
    return {
        "seat": tags.get("classroom:seat", ""),
        "instance_id": instance["InstanceId"],
        "state": instance["State"]["Name"],
        "address": instance.get("PublicIpAddress") or instance.get("PrivateIpAddress", ""),
        "instance_type": instance["InstanceType"],
        "zone": instance["Placement"]["AvailabilityZone"],
        "ends": ends if schedule.is_stamp(ends) else "",
        "planned": tags.get("classroom:planned", ""),
        "held": tags.get("classroom:seat", "") in held,
    }


def survey(cloud: Cloud, params: dict, problems: list[str]) -> ownership.Survey:
    """Return what there is of the class, and whose each machine is; disks and interfaces that may not be listed tell nothing of that."""

    def ask(operation: str, filters: list[dict]) -> list[dict]:
        if operation == "describe_instances":
            return ec2_client.items(cloud.ask("ec2", operation, Filters=filters))
        return ec2_client.items(attempt(problems, {}, partial(cloud.ask, Filters=filters), "ec2", operation))

    return ownership.survey(ask, params["classroom"], params["class_dir"] or "")


def belongings(cloud: Cloud, params: dict) -> dict:
    """Return what else exists of the class: the key that EC2 holds, security groups, volumes that no instance holds."""
    keys = answer(cloud, params, "describe_key_pairs")["KeyPairs"]
    groups = answer(cloud, params, "describe_security_groups")["SecurityGroups"]
    volumes = answer(cloud, params, "describe_volumes")["Volumes"]
    return {
        "key": keys[0].get("PublicKey", "").strip() if keys else "",
        "groups": [group["GroupId"] for group in groups],
        "security_groups": groups,
        "volumes": [volume["VolumeId"] for volume in volumes if volume["State"] == "available"],
    }


def check_names(cloud: Cloud, params: dict, found: dict, problems: list[str]) -> None:
    """Refuse to take over a key pair or a group that only has the name of the class's: it is somebody else's.

    No two key pairs of a region have the same name, and no two groups of a VPC: where the class has its own, there is no other.
    """
    name, label = f"classroom-{params['classroom']}", {"Key": "classroom:name", "Value": params["classroom"]}
    own = [one["GroupId"] for one in found["security_groups"] if (one["GroupName"], one.get("VpcId")) == (name, found["vpc_id"])]
    found["group_id"] = own[0] if own else ""
    keys, groups = [], []
    if name not in [one["KeyName"] for one in answer(cloud, params, "describe_key_pairs")["KeyPairs"]]:
        keys = cloud.ask("ec2", "describe_key_pairs", Filters=[{"Name": "key-name", "Values": [name]}])["KeyPairs"]
    if not own:
        groups = cloud.ask("ec2", "describe_security_groups", Filters=[{"Name": "group-name", "Values": [name]}])["SecurityGroups"]
    for kind, others in (("key pair", keys), ("security group", groups)):
        if any(label not in one.get("Tags", []) for one in others):
            problems.append(
                f"There is a {kind} {name} that does not belong to this class: it lacks the tag classroom:name={params['classroom']}."
                " Delete it if nobody needs it, or give the class another name (CLASSROOM)."
            )


def look_at_launch(cloud: Cloud, params: dict, found: dict, problems: list[str]) -> None:
    """Find what a launch needs."""
    found["offers"] = attempt(problems, {}, check_zones, cloud, params, problems)
    found["vpc_id"], found["pools"] = attempt(problems, ("", []), check_network, cloud, params, found["offers"], problems)
    attempt(problems, None, check_names, cloud, params, found, problems)
    found["image"] = attempt(problems, {}, check_image, cloud, params, problems)
    found["disk_gib"] = max(params["disk_gib"], found["image"].get("size_gib", 0))


def read_quota(cloud: Cloud, family: quota.Family, running: list[dict]) -> quota.Quota:
    """Return the quota of a family, applied or else AWS's default. One that cannot be read is unknown."""
    asked, used = {"ServiceCode": "ec2", "QuotaCode": family.code, "absent": ("NoSuchResourceException",)}, quota.used(running, family)
    try:
        applied = cloud.ask("service-quotas", "get_service_quota", **asked)
        known = applied or cloud.ask("service-quotas", "get_aws_default_service_quota", **asked)
    except Refusal as refusal:
        return quota.Quota(family, None, False, used, f"It could not be read: {' '.join(str(refusal).split())[:300]}")
    if not known:
        return quota.Quota(family, None, False, used, "Service Quotas does not know it here.")
    return quota.Quota(family, known["Quota"]["Value"], bool(applied), used)


def requests(cloud: Cloud, family: quota.Family) -> list[dict]:
    """Return what AWS was asked for, answered or not."""
    asked = {"ServiceCode": "ec2", "QuotaCode": family.code}
    return cloud.ask("service-quotas", "list_requested_service_quota_change_history_by_quota", **asked)["RequestedQuotas"]


def file_request(cloud: Cloud, family: quota.Family, value: int) -> bool:
    """Ask AWS for more; tell whether that was new."""
    asked = {"ServiceCode": "ec2", "QuotaCode": family.code, "DesiredValue": float(value)}
    return bool(cloud.ask("service-quotas", "request_service_quota_increase", absent=("ResourceAlreadyExistsException",), **asked))


def check_quota(cloud: Cloud, params: dict, found: dict, problems: list[str]) -> None:
    """Refuse to launch or start half of what is wanted because of a quota; ask for a larger one if that is wanted, too."""
    standing = {seat["seat"]: [seat["instance_type"]] for seat in found["existing"] if seat["state"] in STANDING}
    found["to_run"] = to_run = standing | {seat["seat"]: params["instance_types"] for seat in found["missing"]}
    if not to_run and not params["page"]:
        return
    on = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    running = [one for group in cloud.ask("ec2", "describe_instances", Filters=on)["Reservations"] for one in group["Instances"]]
    kinds = [*params["instance_types"], *(kind for kinds in standing.values() for kind in kinds)]
    found["quotas"] = [read_quota(cloud, family, running) for family in dict.fromkeys(map(quota.family_of, kinds))]
    histories = {}
    for tight in quota.short(to_run, found["quotas"]):
        family, value = tight.family, quota.desired(to_run, tight)
        found["request"] += quota.request_text(family, value, cloud.region, reason(found, params))
        history = attempt(problems, [], requests, cloud, family)
        wanted = params["page"] and params["request_quota"] and not params["check"]
        if wanted and not quota.open_request(history) and not quota.answered(history, value):
            found["changed"] = attempt(problems, False, file_request, cloud, family, value)
            history = attempt(problems, [], requests, cloud, family)
        histories[family.code] = history
    small = quota.problem(to_run, found["quotas"], cloud.region, histories)
    problems += [small] if small else []


def reason(found: dict, params: dict) -> str:
    """Say for AWS what the machines are for."""
    days = ", ".join(dict.fromkeys(str(session.get("day", "")) for session in params["sessions"]))
    ends = schedule.words(found["ends"], zone(params)) if found["ends"] not in ("", schedule.NEVER) else ""
    stop = f"; the machines stop by themselves at {ends}" if ends else ""
    kinds = " or ".join(params["instance_types"])
    return f"a class of {len(found['wanted'])}, each with a {kinds} of their own{f' on {days}' if days else ''}{stop}."


def check_permissions(cloud: Cloud, params: dict, found: dict, problems: list[str]) -> None:
    """Try what the policy allows that this run did not do anyway; tell what is missing."""
    try:
        policy = iam_policy.policy(Path(params["policy"]).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"{params['policy']} tells no policy ({error}), so the permissions were not tried.")
        return
    needed, odd = iam_policy.actions(policy), {}
    for action, asked in iam_policy.dry_runs(needed, found, params).items():
        if action not in cloud.allowed and action not in cloud.denied:
            try_out(cloud, action, asked, odd, problems)
    denied = set(cloud.denied)
    missing = json.dumps(iam_policy.narrowed(policy, denied), indent=2).splitlines() if denied else []
    untried = [action for action in needed if action not in cloud.allowed | denied and action not in odd]
    found["permissions"] = {
        "allowed": sorted(cloud.allowed & set(needed)),
        "denied": sorted(denied),
        "untried": untried,
        "odd": odd,
        "policy": missing,
    }
    problems[:] = [problem for problem in problems if problem not in cloud.denied.values()]
    blocking = [action for action in sorted(denied) if not action.startswith(OPTIONAL)]
    if blocking:
        problems.append(f"These credentials may not do what a class needs: {', '.join(blocking)}. Add the policy above to them in IAM.")


def try_out(cloud: Cloud, action: str, asked: dict, odd: dict, problems: list[str]) -> None:
    """Try one action; what EC2 says instead of yes or no is told, and is in the way where a launch would meet it, too."""
    try:
        cloud.try_out(action, **asked)
    except Denied:
        return  # the cloud keeps it in mind
    except Refusal as refusal:
        odd[action] = str(refusal)
        if action == "ec2:RunInstances" and str(refusal) not in problems:
            problems.append(str(refusal))


def estimate(found: dict, params: dict) -> None:
    """Reckon without AWS what the roster's seats need."""
    found["wanted"] = roster.chosen(params["only"]) or found["roster"]
    found["missing"] = [{"seat": seat} for seat in found["wanted"]]
    found["to_run"] = {seat: params["instance_types"] for seat in found["wanted"]}
    family = quota.family_of(params["instance_types"][0])
    unasked = quota.Quota(family, None, False, 0, "AWS was not asked.")
    found["quotas"], found["disk_gib"] = [unasked], params["disk_gib"]
    found["request"] = quota.request_text(
        family, quota.desired(found["to_run"], unasked), found["region"] or "of your class", reason(found, params)
    )


def reckon(found: dict, params: dict) -> dict:
    """Return what the wanted seats cost."""
    there = {seat["seat"]: [seat["instance_type"]] for seat in found["existing"]}
    kinds = [there.get(seat, params["instance_types"]) for seat in found["wanted"]]
    wrong = schedule.session_problems(params["sessions"], zone(params))
    return preflight_report.cost(kinds, found["disk_gib"], [] if wrong else schedule.sessions(params["sessions"], zone(params)))


def look_at_seats(cloud: Cloud, params: dict, found: dict, problems: list[str]) -> ownership.Survey:
    """Find the wanted seats, which of them exist, and what this run makes of them; return what was seen of the class."""
    seen = survey(cloud, params, problems)
    held = ownership.held(seen.claims, params["classroom"], cloud.region, found["roster"])
    known = [one for one in seen.machines if one["State"]["Name"] in instances.ALIVE]
    found["machines"] = [instances.brief(one) for one in known]
    found["seats"] = sorted((as_seat(one, held) for one in known), key=lambda seat: seat["seat"])
    ids = sorted(({seat["seat"] for seat in found["seats"]} | held.keys()) - {""})
    chosen, where = (found["roster"], f"the roster {params['roster']}") if params["launch"] else (ids, f"class {params['classroom']}")
    found["wanted"] = choose(params["only"], chosen, where, problems)
    settle(found, held, params, problems)
    free = [seat for seat in found["wanted"] if seat not in {one["seat"] for one in found["held"] if params["launch"] or not one["sure"]}]
    found["existing"] = [seat for seat in found["seats"] if seat["seat"] in free]
    found["missing"] = [{"seat": seat} for seat in free if seat not in ids] if params["launch"] else []
    found["moved"] = moved(found, params)
    if params["launch"]:
        check_past(found, params, problems)
    if params["until"] and not found["existing"]:
        problems.append(f"Class {params['classroom']} has no seat whose end could be moved.")
    return seen


def settle(found: dict, held: dict[str, ownership.Held], params: dict, problems: list[str]) -> None:
    """Note the seats that a person has to settle. A launch goes on with the others; another run that names such a seat does not begin."""
    found["held"] = [one._asdict() for one in held.values() if not params["only"] or one.seat in found["wanted"]]
    if params["only"] and not params["launch"]:
        problems += dict.fromkeys(one["message"] for one in found["held"] if not one["sure"])


def look_at_settings(params: dict, found: dict, problems: list[str]) -> None:
    """Check what needs no cloud."""
    found["gpu"] = check_stack(params, problems) if params["launch"] else ""
    found["roster"] = check_roster(params, problems) if params["launch"] else []
    if params["launch"]:
        check_settings(params, problems)
    found["ends"] = check_ends(params, problems) if params["launch"] else check_until(params, problems) if params["until"] else ""


def look(params: dict, found: dict, problems: list[str]) -> None:
    """Find everything; what is wrong is added to `problems`. Raises Refusal where further questions are pointless."""
    look_at_settings(params, found, problems)
    cloud = Cloud(params["region"])
    found["region"] = cloud.region
    found["account"], found["identity"] = check_account(cloud, params)
    found["cloud"] = cloud.name()
    check_region(cloud, params, found)
    cloud.begin(questions(params))
    found |= attempt(problems, {}, belongings, cloud, params)
    if params["launch"]:
        look_at_launch(cloud, params, found, problems)
    seen = attempt(problems, None, look_at_seats, cloud, params, found, problems)
    if params["launch"]:
        attempt(problems, None, check_quota, cloud, params, found, problems)
    if params["page"]:
        check_permissions(cloud, params, found, problems)
    if params["ledger"] and not problems and Path(params["class_dir"]).is_dir():
        found["changed"] = note(seen, params) or found["changed"]


def note(seen: ownership.Survey, params: dict) -> bool:
    """Note what ran, before EC2 forgets it at a start; tell whether that was new."""
    now = ledger.stamp(datetime.now(UTC))
    return ledger_files.Books(params["class_dir"], seen.look, now, params["check"], params["warn"]).note()


def write_plan(found: dict, problems: list[str], params: dict) -> bool:
    """Keep the plan in the class's folder, for its owner alone; tell whether it is another one than before."""
    path = Path(params["class_dir"]) / "plan.json"
    told = {name: value for name, value in found.items() if name not in UNKEPT} | {"problems": problems}
    text = json.dumps(told, indent=2, sort_keys=True, default=str)
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    if {name: value for name, value in before.items() if name != "made"} == json.loads(text):
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".plan", delete=False, encoding="utf-8") as file:
        file.write(json.dumps({"made": f"{datetime.now(UTC):{schedule.STAMP}}"} | json.loads(text), indent=2) + "\n")
    Path(file.name).replace(path)
    return True


def report(found: dict, problems: list[str], params: dict) -> None:
    """Add the lines for an organiser, and keep a page's findings."""
    if params["launch"]:
        found["cost"] = reckon(found, params)
    found["plan"] = (preflight_report.page if params["page"] else preflight_report.short)(found, params, zone(params))
    found["quotas"] = [one._asdict() | {"family": one.family._asdict()} for one in found["quotas"]]
    # A class that lives in another region gets no folder here.
    has_place = params["class_dir"] and (not found["elsewhere"] or Path(params["class_dir"]).is_dir())
    if params["page"] and found["account"] and has_place and not params["check"]:
        found["changed"] = write_plan(found, problems, params) or found["changed"]


@path_errors.told
def main() -> None:
    """Look, then answer with what was found or with all that is wrong."""
    text = {name: {"type": "str"} for name in ("region", "image", "course")}
    spec = text | {
        "classroom": {"type": "str", "required": True},
        "account": {"type": "str", "default": ""},
        "home_region": {"type": "str", "default": ""},
        "only": {"type": "str", "default": ""},
        "launch": {"type": "bool", "default": True},
        "ledger": {"type": "bool", "default": False},
        "page": {"type": "bool", "default": False},
        "request_quota": {"type": "bool", "default": False},
        "policy": {"type": "path"},
        "disk_gib": {"type": "int", "default": 0},
        "roster": {"type": "path"},
        "instance_types": {"type": "list", "elements": "str"},
        "spot": {"type": "bool", "default": False},
        "class_dir": {"type": "path"},
        "stack": {"type": "path"},
        "ends": {"type": "str", "default": ""},
        "sessions": {"type": "list", "elements": "dict", "default": []},
        "until": {"type": "str", "default": ""},
        "timezone": {"type": "str", "default": "UTC"},
        "allowed_cidrs": {"type": "list", "elements": "str", "default": []},
        "allow_everyone": {"type": "bool", "default": False},
    }
    needs: list[tuple] = [("ledger", True, ("class_dir",))]
    needs += [("launch", True, ("roster", "instance_types", "image", "stack", "course", "class_dir")), ("page", True, ("policy",))]
    module = AnsibleModule(argument_spec=spec, required_if=needs, supports_check_mode=True)
    if boto3 is None:
        module.fail_json(msg=missing_required_lib("boto3"))
    params = module.params | {"check": module.check_mode, "warn": module.warn}
    problems: list[str] = []
    found = copy.deepcopy(NOTHING) | {"roster": [], "disk_gib": params["disk_gib"], "changed": False}
    try:
        look(params, found, problems)
    except Refusal as refusal:
        problems.append(str(refusal))
        if params["page"]:
            estimate(found, params)
    report(found, problems, params)
    if problems:
        told = {"plan": found["plan"]} if params["page"] else {}
        module.fail_json(msg="\n".join(problems), problems=problems, changed=found["changed"], **told)
    module.exit_json(**found)


if __name__ == "__main__":
    main()
