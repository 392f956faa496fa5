"""The pre-flight check against the rehearsal's API alone: the module itself, run as Ansible runs it, while much is in the way.

After every row: nothing of EC2's was changed, and what was said names the mend.
"""

from __future__ import annotations

import functools
import json
import os
import stat
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import iam_policy, quota
from ansible_collections.classroom.gpu.plugins.modules import ec2_preflight
from botocore.loaders import JSONFileLoader

from rehearsal import EXPIRED_KEY
from tests.support.simulated_hosts import DEBIAN, ROOT, SIZE, Cloud, running_module

SEATS = ["s01", "s02", "s03", "s04"]
POLICY = ROOT / "docs/aws.md"
READ = functools.cache(JSONFileLoader().load_file)
READING = ("Describe", "Get", "List")
G = {"region": "us-west-2", "family": "g"}


class Class:
    """A class of four named physics, in an account that has another class's s01, too."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud, self.control, self.folder = cloud, cloud.control, folder / "class"
        roster = folder / "physics.csv"
        roster.write_text("seat,name,email\n" + "".join(f"{seat},A Name,a@example.org\n" for seat in SEATS))
        self.options = {
            "classroom": "physics",
            "account": "123456789012",
            "roster": str(roster),
            "instance_types": [SIZE],
            "class_dir": str(self.folder),
            "image": DEBIAN,
            "stack": str(ROOT / "stacks/minimal"),
            "course": "https://example.org/course.git",
            "ends": "2099-12-04 18:00 Europe/Berlin",
            "sessions": [{"day": "2099-12-04", "from": "09:00", "to": "17:00"}],
            "allowed_cidrs": ["198.51.100.0/24"],
            "disk_gib": 100,
            "policy": str(POLICY),
            "page": True,
        }
        self.launch("other", "s01")

    def launch(self, classroom: str, *seats: str) -> list[str]:
        """Launch machines as a class has them."""
        ids = []
        for seat in seats:
            labels = [{"Key": "classroom:name", "Value": classroom}, {"Key": "classroom:seat", "Value": seat}]
            ids += self.cloud.run(TagSpecifications=[{"ResourceType": "instance", "Tags": labels}])
        return ids

    def made(self) -> list[object]:
        """Return all that the account has."""
        ec2 = self.cloud.ec2
        machines = [(one["InstanceId"], one["State"]["Name"], one.get("Tags")) for one in self.cloud.instances()]
        groups = [(one["GroupId"], one["IpPermissions"]) for one in ec2.describe_security_groups()["SecurityGroups"]]
        return [machines, groups, ec2.describe_key_pairs()["KeyPairs"], len(ec2.describe_volumes()["Volumes"])]

    def run(self, *faults: dict, check: bool = False, **options) -> dict:
        """Run the module and return what it says; whatever that is, it changed nothing of EC2's."""
        before = self.made()
        for fault in faults:
            self.control("AddFault", **{"count": None} | fault)
        self.control("Calls", clear=True)
        done = running_module(ec2_preflight, {**self.options, **options, "_ansible_check_mode": check})
        self.calls = self.control("Calls")
        self.control("Faults", clear=True)
        assert self.made() == before
        return done

    def requests(self) -> list[dict]:
        return self.cloud.quotas.list_requested_service_quota_change_history(ServiceCode="ec2")["RequestedQuotas"]


@pytest.fixture
def physics(simulated: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Class:
    """The class, without a machine, in an account without limits."""
    simulated.control("Reset")
    for name, value in simulated.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda _, path: READ(path))  # the SDK would read EC2's model again for every run
    nowhere = {"AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_CONFIG_FILE": os.devnull}
    for name, value in nowhere.items():
        monkeypatch.setenv(name, value)
    return Class(simulated, tmp_path)


def said(done: dict) -> str:
    """Return a page and what is in the way, as the console prints them."""
    return "\n".join([*done["plan"], done.get("msg", "")])


FULL = "vCPU quota of Running On-Demand G and VT instances (L-DB2E81BA) in us-west-2"
# The family's quota; what fails; options and environment; what the problems begin with, in their order; what is said.
ROWS: dict[str, tuple[dict, dict, dict, dict, list[str], list[str]]] = {
    "nothing is in the way": (
        {},
        {},
        {},
        {},
        [],
        ["4 of 4 seats", f"{FULL}: 5000, 4 in use, 16 needed", "Who: arn:aws:sts::123456789012:"],
    ),
    "no credentials": (
        {},
        {},
        {},
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        ["There are no AWS credentials. Type `aws configure`"],
        ["an estimate", "unknown; 16 needed", "--desired-value 16 --region us-west-2", "Cost of 4 seats: about $2.17 an hour"],
    ),
    "expired": ({}, {}, {}, {"AWS_ACCESS_KEY_ID": EXPIRED_KEY}, ["The AWS credentials have expired"], ["an estimate", "16 needed"]),
    "no region": ({}, {}, {}, {"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, ["No region is set."], ["an estimate", "Cost of 4 seats"]),
    "another account": ({}, {}, {"account": "210987654321"}, {}, ["These credentials belong to account 123456789012"], ["an estimate"]),
    "a region that is not opted in to": (
        {},
        {"action": "sts:GetCallerIdentity", "code": "InvalidClientTokenId"},
        {},
        {"AWS_REGION": "eu-central-2", "AWS_DEFAULT_REGION": "eu-central-2"},
        ["eu-central-2 is a region that an account has to be opted in to, and this one's is not. Enable it in the console"],
        ["those of us-east-1: eu-central-2 costs more"],
    ),
    "keys that are wrong everywhere": (
        {},
        {"action": "sts:GetCallerIdentity", "code": "InvalidClientTokenId"},
        {},
        {},
        ["AWS does not know these credentials (InvalidClientTokenId)"],
        [],
    ),
    "an account that AWS validates": (
        {},
        {"action": "RunInstances", "code": "PendingVerification"},
        {},
        {},
        ["AWS is still validating the account for this region. It takes minutes"],
        ["not decided: ec2:RunInstances: AWS is still"],
    ),
    "an account without EC2": ({}, {"action": "RunInstances", "code": "OptInRequired"}, {}, {}, ["The account is not signed up"], []),
    "quota 0": (
        {"value": 0},
        {},
        {},
        {},
        ["The vCPU quota is too small: 0 of 4 seats fit.\n- " + f"{FULL}: 0, 4 in use, 16 needed\n- Ask AWS for 20: `ansible-playbook"],
        [
            "--desired-value 20",
            "a class of 4, each with a g4dn.xlarge of their own on 2099-12-04; the machines stop by themselves at 2099-12-04 18",
        ],
    ),
    "no quota was ever applied": ({"value": None}, {}, {}, {}, ["The vCPU quota is too small"], [f"{FULL}: 0, the default, "]),
    "quota too small": (
        {"value": 13},
        {},
        {},
        {},
        ["The vCPU quota is too small: 2 of 4 seats fit."],
        [
            "Go on with what fits: `ansible-playbook site.yml -e seats=s01,s02`. Two students at each seat, that is 4 of 4.",
            "Another region has a quota of its own: choose it with AWS_REGION",
            "Or move the class to a later date.",
        ],
    ),
    "quota for the second type": ({"value": 0}, {}, {"instance_types": [SIZE, "t3.large"]}, {}, [], ["4 of 4 seats"]),
    "quota that cannot be read": (
        {},
        {"action": "servicequotas:*", "code": "Denied"},
        {},
        {},
        [],
        [
            "unknown; 4 in use, 16 needed. It could not be read: These credentials may not call GetServiceQuota",
            '"servicequotas:GetServiceQuota"',
        ],
    ),
    "quotas that do not answer": (
        {},
        {"action": "GetServiceQuota", "code": "InternalFailure", "status": 500},
        {},
        {},
        [],
        ["It could not be read: GetServiceQuota was refused"],
    ),
    "image withdrawn": (
        {},
        {"action": "DescribeImages", "code": "InvalidAMIID.NotFound"},
        {},
        {},
        ["The image ami-"],
        [f"that {DEBIAN} names does not exist in us-west-2. Set classroom_image in"],
    ),
    "no such image": ({}, {}, {"image": "/a/b"}, {}, ["us-west-2 has no SSM parameter /a/b. Set classroom_image"], []),
    "type not offered": (
        {},
        {},
        {"instance_types": ["t3.large", "t3.lagre"]},
        {},
        ["us-west-2 offers no instance type t3.lagre. Did you mean t3.large?"],
        ["t3.large: 2 vCPUs, offered in us-west-2a"],
    ),
    "all at once": (
        {"value": 0},
        {},
        {"image": "/a/b", "course": "", "allowed_cidrs": []},
        {},
        ["classroom_allowed_cidrs", "The class has no course.", "us-west-2 has no SSM parameter /a/b.", "The vCPU quota is too small"],
        ["End: 2099-12-04 18:00 Europe/Berlin", "g4dn.xlarge has the Tesla T4"],
    ),
    "throttled": ({}, {"action": "DescribeVpcs", "code": "Throttled"}, {}, {}, ["DescribeVpcs was refused: "], ["Image: ami-"]),
}


LATER = ("keys that are wrong everywhere", "an account without EC2", "quotas that do not answer", "no such image", "throttled")


@pytest.mark.parametrize("row", [pytest.param(row, marks=pytest.mark.slow if row in LATER else ()) for row in ROWS])
def test_a_fault(physics: Class, monkeypatch: pytest.MonkeyPatch, row: str) -> None:
    value, fault, options, environment, problems, words = ROWS[row]
    if value:
        physics.control("SetQuota", **G, **value)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = physics.run(*([fault] if fault else []), **options)
    assert [problem for problem, begin in zip(done.get("problems", []), problems, strict=True) if not problem.startswith(begin)] == []
    assert [word for word in words if word not in said(done)] == [], said(done)
    assert physics.requests() == []


def test_a_vpc_without_subnets(physics: Class) -> None:
    ec2 = physics.cloud.ec2
    for one in physics.cloud.instances():
        ec2.terminate_instances(InstanceIds=[one["InstanceId"]])
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    (problem,) = physics.run()["problems"]
    assert problem.startswith(
        "The default VPC has no default subnet in us-west-2a, us-west-2b, us-west-2c, where the instance type is offered."
    )
    assert "Type `aws ec2 create-default-subnet --availability-zone us-west-2a`" in problem


# --- permissions -----------------------------------------------------------------------------------------------------
ACTIONS = iam_policy.actions(iam_policy.policy(POLICY.read_text()))
UNTRIED = {f"ec2:{one}" for one in ("DeleteNetworkInterface", "DeleteVolume", "ModifyVolume", "ReleaseAddress")}
TRIED_WITH_A_SEAT = [one for one in ACTIONS if one.startswith("ec2:") and one not in UNTRIED]


def with_a_seat(physics: Class) -> None:
    """Let the class have all that a dry run can be tried on."""
    (seat,) = physics.launch("physics", "s01")
    label = [{"Key": "classroom:name", "Value": "physics"}]
    for kind, make in (("security-group", physics.cloud.ec2.create_security_group), ("key-pair", physics.cloud.ec2.create_key_pair)):
        named = {"GroupName": "classroom-physics", "Description": "x"} if kind == "security-group" else {"KeyName": "classroom-physics"}
        make(**named, TagSpecifications=[{"ResourceType": kind, "Tags": label}])


FEW = ("ec2:DescribeInstances", "ec2:RunInstances", "ec2:TerminateInstances", "ssm:GetParameter")  # the others take their time


@pytest.mark.parametrize(
    "action", [pytest.param(one, marks=() if one in FEW else pytest.mark.slow) for one in (*TRIED_WITH_A_SEAT, "ssm:GetParameter")]
)
def test_a_single_permission_that_is_missing_is_listed_as_a_policy(physics: Class, action: str) -> None:
    with_a_seat(physics)
    done = physics.run({"action": action, "code": "Denied"})
    (problem,) = [one for one in done["problems"] if "may not do what a class needs" in one]
    assert f"needs: {action}. Add the policy above" in problem and done["failed"]
    printed = "\n".join(done["plan"])
    policy = json.loads(printed[printed.index("\n  {") :])
    assert (
        iam_policy.actions(policy) == [action]
        and policy["Statement"][0] in iam_policy.narrowed(iam_policy.policy(POLICY.read_text()), {action})["Statement"]
    )


def test_permissions_that_are_missing_are_listed_together_and_what_is_there_is_told(physics: Class) -> None:
    done = physics.run(*({"action": action, "code": "Denied"} for action in ("DescribeVolumes", "RunInstances", "CreateSecurityGroup")))
    assert done["msg"].startswith(
        "These credentials may not do what a class needs: ec2:CreateSecurityGroup, ec2:DescribeVolumes, ec2:RunInst"
    )
    assert "ec2:StartInstances" in said(done) and "alone, as there is nothing to try them on" in said(done)
    assert "s01, s02, s03, s04" in said(done)


def test_what_is_tried_is_a_dry_run_of_what_the_class_would_do(physics: Class) -> None:
    with_a_seat(physics)
    done = physics.run()
    assert set(json.loads((physics.folder / "plan.json").read_text())["permissions"]["allowed"]) >= set(TRIED_WITH_A_SEAT)
    assert done["permissions"]["denied"] == [] and done["permissions"]["odd"] == {}
    changing = {name for name in physics.calls if not name.partition(":")[2].startswith(READING)}
    assert changing == {name for name in TRIED_WITH_A_SEAT if not name.startswith("ec2:Describe")}


def test_a_launch_that_may_not_tag_lacks_the_tags_permission(physics: Class) -> None:
    message = "You are not authorized to perform this operation. User: x is not authorized to perform: ec2:CreateTags on resource: y"
    assert (
        "needs: ec2:CreateTags. Add" in physics.run({"action": "RunInstances", "code": "UnauthorizedOperation", "message": message})["msg"]
    )


# --- quota -----------------------------------------------------------------------------------------------------------
def test_an_increase_is_filed_once_found_and_after_a_partial_grant_not_repeated(physics: Class) -> None:
    physics.control("SetQuota", **G, value=0)
    assert physics.run(request_quota=True, check=True)["failed"] and physics.requests() == []
    assert "AWS has not answered the request for 20" in physics.run(request_quota=True)["msg"]
    (asked,) = physics.requests()
    assert (asked["QuotaCode"], asked["DesiredValue"], asked["Status"]) == ("L-DB2E81BA", 20.0, "PENDING")
    assert "AWS has not answered the request for 20" in physics.run(request_quota=True)["msg"]
    physics.control("GrantQuota", **G, value=8)
    done = physics.run(request_quota=True)
    assert "1 of 4 seats fit" in done["msg"] and "AWS has answered the request for 20" in done["msg"] and "with 8." in done["msg"]
    assert "-e seats=s01`. Two students at each seat, that is 2 of 4." in done["msg"]
    assert len(physics.requests()) == 1


def test_an_increase_that_is_pending_since_long_is_found(physics: Class) -> None:
    physics.control("SetQuota", **G, value=8)
    physics.cloud.quotas.request_service_quota_increase(ServiceCode="ec2", QuotaCode="L-DB2E81BA", DesiredValue=999)
    done = physics.run(request_quota=True)
    assert "AWS has not answered the request for 999" in done["msg"] and len(physics.requests()) == 1


def test_a_permission_to_ask_that_is_missing_keeps_the_text(physics: Class) -> None:
    physics.control("SetQuota", **G, value=0)
    done = physics.run({"action": "RequestServiceQuotaIncrease", "code": "Denied"}, request_quota=True)
    assert '"servicequotas:RequestServiceQuotaIncrease"' in said(done) and "--desired-value 20" in said(done)
    assert [problem.split(":")[0] for problem in done["problems"]] == ["The vCPU quota is too small"]


def test_a_launch_does_not_begin_with_half_a_quota(physics: Class) -> None:
    """As site.yml asks: a short plan, and few calls."""
    physics.control("SetQuota", **G, value=13)
    done = physics.run(page=False, request_quota=True)
    assert done["problems"][0].startswith("The vCPU quota is too small: 2 of 4 seats fit.") and physics.requests() == []
    assert not physics.run(page=False, only="s01,s02").get("failed")
    physics.launch("physics", "s01", "s02")
    assert not physics.run(page=False, only="s01,s02").get("failed")


def test_seats_that_stand_still_need_vcpus_to_start(physics: Class) -> None:
    ids = physics.launch("physics", *SEATS)
    physics.control("SetQuota", **G, value=12)
    assert not physics.run(page=False).get("failed")
    physics.cloud.ec2.stop_instances(InstanceIds=ids)
    assert "2 of 4 seats fit" in physics.run(page=False)["msg"]


def test_site_asks_for_a_quota_only_where_something_is_to_run_and_tries_nothing(physics: Class) -> None:
    physics.run(page=False)
    assert physics.calls["servicequotas:GetServiceQuota"] == 1 and sum(physics.calls.values()) <= 14
    physics.launch("physics", *SEATS)
    done = physics.run(page=False)
    assert not any(name.startswith("servicequotas:") for name in physics.calls) and sum(physics.calls.values()) <= 12
    assert all(name.partition(":")[2].startswith(READING) for name in physics.calls)
    assert "  Cost of 4 seats: about $2.17 an hour while they run, $0.044 while they are stopped" in done["plan"]
    assert not (physics.folder / "plan.json").exists()


def test_a_seat_that_may_come_as_one_type_or_another_has_a_price_from_and_to(physics: Class) -> None:
    physics.launch("physics", "s01")
    done = physics.run(page=False, instance_types=["g4dn.xlarge", "g5.xlarge"])
    assert "  Cost of 4 seats: from $2.17 to $3.61 an hour while they run, $0.044 while they are stopped" in done["plan"]
    assert done["cost"]["most"]["day"] == pytest.approx(24 * (0.526 + 3 * 1.006 + 4 * (0.005 + 0.08 * 100 / 730)), abs=2)


def test_one_look_is_all_that_a_run_needs(physics: Class) -> None:
    ids = physics.launch("physics", *SEATS)
    physics.cloud.ec2.terminate_instances(InstanceIds=ids[3:])
    done = physics.run(page=False, only="s01,s02,s03", ledger=True)
    asked = {name: count for name, count in physics.calls.items() if name not in ("ec2:DescribeKeyPairs", "ec2:DescribeSecurityGroups")}
    assert set(asked.values()) == {1} and {one["InstanceId"] for one in done["machines"]} == set(ids[:3])
    assert not physics.folder.exists(), "a machine that made no class keeps nothing of it"
    physics.folder.mkdir()
    assert not physics.run(page=False, only="s01,s02,s03", ledger=True, check=True).get("failed") and not list(physics.folder.iterdir())
    assert physics.run(page=False, only="s01,s02,s03", ledger=True)["changed"]
    runs = json.loads((physics.folder / "ledger.json").read_text())["runs"]
    assert {run["instance_id"]: bool(run["ended"]) for run in runs} == {name: name == ids[3] for name in ids}
    assert not physics.run(page=False, only="s01,s02,s03", ledger=True)["changed"]


def test_a_group_that_only_has_the_class_s_name_is_told_where_the_class_has_none_there(physics: Class) -> None:
    assert physics.run(page=False)["group_id"] == ""
    with_a_seat(physics)
    own = physics.run(page=False, only="s01")
    assert own["groups"] == [own["group_id"]] == [one["GroupId"] for one in own["security_groups"]]
    physics.cloud.ec2.delete_security_group(GroupId=own["group_id"])
    physics.cloud.ec2.create_security_group(GroupName="classroom-physics", Description="x")
    assert "There is a security group classroom-physics that does not belong to this class" in physics.run(page=False)["msg"]


def test_a_seat_that_a_person_has_to_settle_is_told_and_is_neither_missing_nor_existing(physics: Class) -> None:
    ids = physics.launch("physics", *SEATS[:3])
    ec2 = physics.cloud.ec2
    ec2.create_tags(Resources=[ids[2]], Tags=[{"Key": "Name", "Value": "physics-s03"}, {"Key": "classroom:seat", "Value": "s01"}])
    done = physics.run(page=False)
    assert [one["seat"] for one in done["held"]] == ["s01", "s03"] and [one["seat"] for one in done["existing"]] == ["s02"]
    assert [one["seat"] for one in done["missing"]] == ["s04"] and done["wanted"] == SEATS
    plan = "\n".join(done["plan"])
    assert f"  s03: The machine of s03, {ids[2]}, has the tag classroom:seat=s01. It is known as s03 by its Name. Put it back: `aws" in plan
    both = " and ".join(sorted([ids[0], ids[2]]))  # launched in one second
    assert f"  s01: Seat s01 has two machines, {both}: nothing is done" in plan and "to be ended" not in plan
    assert "Seat s01 has two machines" in "\n".join(physics.run()["plan"])
    assert "The machine of s03" in physics.run(page=False, launch=False, only="s03")["msg"]
    looked = physics.run(page=False, launch=False)
    assert looked["wanted"] == SEATS[:3] and [one["seat"] for one in looked["existing"]] == ["s02"]

    ec2.delete_tags(Resources=[ids[2]], Tags=[{"Key": "classroom:seat"}, {"Key": "Name"}])
    told = {one["seat"]: one["message"] for one in physics.run(page=False)["held"]}
    assert list(told) == ["s03", "s04"] and told["s04"].startswith(f"{ids[2]} has the tag of the class and no seat, and nothing here knows")
    plan = "\n".join(physics.run(page=False, launch=False)["plan"])
    assert "  : " not in plan and "-e seats=," not in plan


def test_a_region_in_which_the_class_does_not_live_is_refused(physics: Class, tmp_path: Path) -> None:
    run = {"seat": "s01", "instance_id": "i-1", "instance_type": SIZE, "zone": "x", "disk_gib": 8, "since": "x", "started": "x"}
    for region in ("us-east-1", "us-west-2"):
        (tmp_path / f"123456789012-{region}" / "physics").mkdir(parents=True)
    here, there = (tmp_path / f"123456789012-{region}" / "physics" for region in ("us-west-2", "us-east-1"))
    (there / "ledger.json").write_text(json.dumps({"runs": [run]}))
    words = "Class physics lives in us-east-1 (s01), and this is us-west-2: type `export AWS_REGION=us-east-1`."
    for options in ({"launch": False}, {}):
        done = physics.run(page=False, class_dir=str(here), **options)
        assert done["problems"] == [
            f'{words} For another one of that name in us-west-2, write `classroom_home_region: "us-west-2"`'
            " into group_vars/classroom_physics.yml."
        ]
    done = physics.run(page=False, class_dir=str(here), home_region="us-west-2")
    assert "region us-west-2; it lives in us-east-1 too (s01): export AWS_REGION=us-east-1" in done["plan"][0]
    done = physics.run(page=False, class_dir=str(here), home_region="eu-west-1")
    assert done["msg"].startswith("This is region us-west-2, but the class may only touch eu-west-1 (classroom_home_region). Type `export")
    (there / "ledger.json").write_text(json.dumps({"runs": [run | {"ended": "2026-12-04T09:00:00Z"}]}))
    assert not physics.run(page=False, class_dir=str(here)).get("failed")


# --- what is kept ----------------------------------------------------------------------------------------------------
def test_the_plan_is_kept_for_its_owner_and_changes_only_with_what_it_tells(physics: Class) -> None:
    assert not physics.run(check=True)["changed"] and not physics.folder.exists()
    assert physics.run()["changed"]
    path = physics.folder / "plan.json"
    kept = json.loads(path.read_text())
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent)] == [0o600, 0o700] and list(path.parent.iterdir()) == [path]
    assert (kept["account"], kept["problems"], [one["seat"] for one in kept["missing"]]) == ("123456789012", [], SEATS)
    assert kept["quotas"][0]["limit"] == 5000 and kept["cost"]["sessions"] == pytest.approx(8 * 4 * (0.526 + 0.005) + 8 * 4 * 8 / 730)
    assert not physics.run()["changed"] and json.loads(path.read_text())["made"] == kept["made"]
    physics.control("SetQuota", **G, value=0)
    assert physics.run()["changed"] and "too small" in json.loads(path.read_text())["problems"][0]


def test_nothing_is_kept_of_a_class_whose_account_is_another(physics: Class) -> None:
    assert physics.run(account="210987654321")["failed"] and not physics.folder.exists()


def test_a_page_that_tells_no_policy_is_said(physics: Class, tmp_path: Path) -> None:
    (tmp_path / "aws.md").write_text("nothing")
    assert "aws.md tells no policy (it has no block of JSON.)" in physics.run(policy=str(tmp_path / "aws.md"))["msg"]


# --- arithmetic ------------------------------------------------------------------------------------------------------
def test_vcpus_and_families_are_those_of_ec2() -> None:
    """Against DescribeInstanceTypes, as moto carries it, and the rehearsal's quotas."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    from rehearsal.api import quotas

    gpus = {
        kind: about["VCpuInfo"]["DefaultVCpus"] for kind, about in INSTANCE_TYPES.items() if "GpuInfo" in about or kind.startswith("t3")
    }
    assert len(gpus) > 70 and {kind: quota.vcpus(kind) for kind in gpus} == gpus
    assert all(quota.family_of(kind).code == quotas.family_of(kind).code for kind in INSTANCE_TYPES)
    assert {(one.code, one.title) for one in quota.FAMILIES} | {(quota.STANDARD.code, quota.STANDARD.title)} == {
        (one.code, one.title) for one in quotas.FAMILIES
    }


def test_only_on_demand_machines_count_with_the_processors_that_they_have() -> None:
    g, machine = quota.family_of(SIZE), {"InstanceType": SIZE}
    fewer = {"CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 2}}
    assert quota.used([machine, machine | fewer, machine | {"InstanceLifecycle": "spot"}, {"InstanceType": "t3.large"}], g) == 6


def test_a_partial_grant_is_eight_of_forty_two() -> None:
    seats = {f"s{number:02}": [SIZE] for number in range(1, 43)}
    mine = quota.Quota(quota.family_of(SIZE), 32.0, True, 0)
    assert (quota.needed(seats, mine.family), len(quota.fitting(seats, [mine])), quota.desired(seats, mine)) == (168, 8, 168)
    told = quota.problem(seats, [mine], "us-west-2", {})
    assert "8 of 42 seats fit" in told and "-e seats=s01,s02,s03,s04,s05,s06,s07,s08`. Two students at each seat, that is 16 of 42." in told
