"""The rehearsal's scarcity and faults as SDKs and commands meet them: the API alone (`up --no-hosts`), in a process of its own."""

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from rehearsal import API_URL, state
from rehearsal.api.errors import Call, Refused
from rehearsal.api.throttle import Throttle
from rehearsal.control import Control
from tests.support.simulated_hosts import DEBIAN, SIZE, ZONES, Cloud

G = "L-DB2E81BA"


@pytest.fixture
def cloud(simulated: Cloud) -> Cloud:
    """An empty account without limits."""
    simulated.control("Reset")
    return simulated


def refused(call: Callable, *args, **kwargs) -> tuple[str, int, str]:
    """Return code, HTTP status and message of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


# --- capacity --------------------------------------------------------------------------------------------------------
def test_without_a_word_there_is_room_and_machines_run_by_themselves(cloud):
    assert [one["State"]["Name"] for one in cloud.instances(InstanceIds=cloud.run(3, 3))] == ["running"] * 3


def test_an_empty_zone_is_named_with_the_zones_that_have_room(cloud):
    cloud.control("Capacity", types=SIZE, zones="us-west-2a", room=0)
    cloud.control("Capacity", types=SIZE, zones="us-west-2b", room=1)
    assert refused(cloud.in_zone, "us-west-2a") == (
        "InsufficientInstanceCapacity",
        500,
        "We currently do not have sufficient g4dn.xlarge capacity in the Availability Zone you requested (us-west-2a). Our system will be "
        "working on provisioning additional capacity. You can currently get g4dn.xlarge capacity by not specifying an Availability Zone in "
        "your request or choosing us-west-2b, us-west-2c.",
    )
    cloud.in_zone("us-west-2b")
    assert refused(cloud.in_zone, "us-west-2b")[2].endswith("or choosing us-west-2c.")
    assert len(cloud.instances()) == 1


def test_a_subnet_is_a_zone_and_no_zone_is_the_one_with_room(cloud):
    subnets = {one["AvailabilityZone"]: one["SubnetId"] for one in cloud.ec2.describe_subnets()["Subnets"]}
    cloud.control("Capacity", types="g*", zones="*", room=0)
    cloud.control("Capacity", types=SIZE, zones="us-west-2c", room=2)
    nic = [{"DeviceIndex": 0, "SubnetId": subnets["us-west-2a"], "AssociatePublicIpAddress": True}]
    for extra in ({"SubnetId": subnets["us-west-2a"]}, {"NetworkInterfaces": nic}):
        assert refused(cloud.run, **extra)[0] == "InsufficientInstanceCapacity"
    (instance_id,) = cloud.run()
    assert cloud.see(instance_id)["Placement"]["AvailabilityZone"] == "us-west-2c"


def test_nowhere_is_said_without_a_zone(cloud):
    cloud.control("Capacity", types=SIZE, zones="*", room=0)
    code, status, message = refused(cloud.run)
    assert (code, status) == ("InsufficientInstanceCapacity", 500)
    assert message == (
        "We currently do not have sufficient g4dn.xlarge capacity in zones with support for 'gp3' volumes. "
        "Our system will be working on provisioning additional capacity."
    )


def test_a_launch_is_filled_in_part_down_to_its_least_count(cloud):
    cloud.control("Capacity", types=SIZE, zones="us-west-2a", room=3)
    assert refused(cloud.in_zone, "us-west-2a", 4, 9)[0] == "InsufficientInstanceCapacity"
    assert cloud.instances() == []
    assert len(cloud.in_zone("us-west-2a", 2, 9)) == 3


def test_a_stopped_machine_gives_its_place_back_and_may_not_get_it_again(cloud):
    cloud.control("Capacity", types=SIZE, zones="us-west-2a", room=2)
    mine = cloud.in_zone("us-west-2a", 2, 2)
    cloud.ec2.stop_instances(InstanceIds=mine)
    (other,) = cloud.in_zone("us-west-2a")
    assert refused(cloud.ec2.start_instances, InstanceIds=mine) == ("InsufficientInstanceCapacity", 500, "Insufficient capacity.")
    assert {cloud.see(one)["State"]["Name"] for one in mine} == {"stopped"}
    cloud.ec2.start_instances(InstanceIds=mine[:1])
    assert refused(cloud.in_zone, "us-west-2a")[0] == "InsufficientInstanceCapacity"
    cloud.ec2.terminate_instances(InstanceIds=[other])
    cloud.ec2.start_instances(InstanceIds=mine)
    assert {cloud.see(one)["State"]["Name"] for one in mine} == {"running"}


def test_capacity_that_comes_after_a_while(cloud):
    cloud.control("Capacity", types=SIZE, zones="*", room=0)
    cloud.control("Capacity", types=SIZE, zones="*", room=1, after=0.5)
    assert refused(cloud.run)[0] == "InsufficientInstanceCapacity"
    time.sleep(0.6)
    cloud.run()


def test_a_zone_that_does_not_offer_a_type(cloud):
    assert refused(cloud.in_zone, "us-west-2d") == (
        "Unsupported",
        400,
        "Your requested instance type (g4dn.xlarge) is not supported in your requested Availability Zone (us-west-2d). Please retry your "
        "request by not specifying an Availability Zone or choosing us-west-2a, us-west-2b, us-west-2c.",
    )


def fleet(cloud: Cloud, count: int, *overrides: dict, **extra) -> dict:
    """Ask for an instant fleet of a template's machines."""
    data = {"ImageId": cloud.image, "InstanceType": SIZE}
    template = cloud.ec2.create_launch_template(LaunchTemplateName="t", LaunchTemplateData=data)["LaunchTemplate"]["LaunchTemplateId"]
    config = {"LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "$Latest"}, "Overrides": list(overrides)}
    target = {"TotalTargetCapacity": count, "DefaultTargetCapacityType": "on-demand"}
    return cloud.ec2.create_fleet(Type="instant", LaunchTemplateConfigs=[config], TargetCapacitySpecification=target, **extra)


def test_an_instant_fleet_walks_its_overrides_and_says_why_each_gave_nothing(cloud):
    cloud.control("Capacity", types=SIZE, zones="us-west-2a", room=0)
    cloud.control("Capacity", types=SIZE, zones="us-west-2b", room=2)
    cloud.control("SetQuota", region="us-west-2", family="p", value=0)
    walk = [{"AvailabilityZone": "us-west-2a"}, {"InstanceType": "p4d.24xlarge"}, *({"AvailabilityZone": zone} for zone in ZONES[1:])]
    answer = fleet(cloud, 5, *walk)
    assert [(one["ErrorCode"], one["Lifecycle"]) for one in answer["Errors"]] == [
        ("InsufficientInstanceCapacity", "on-demand"),
        ("VcpuLimitExceeded", "on-demand"),
    ]
    assert "(us-west-2a)" in answer["Errors"][0]["ErrorMessage"]
    assert answer["Errors"][0]["LaunchTemplateAndOverrides"]["Overrides"]["AvailabilityZone"] == "us-west-2a"
    launched = list(chain(*(one["InstanceIds"] for one in answer["Instances"])))
    assert sorted(cloud.see(one)["Placement"]["AvailabilityZone"] for one in launched) == ["us-west-2b"] * 2 + ["us-west-2c"] * 3


def test_a_fleet_without_room_anywhere_is_an_answer_and_not_an_error(cloud):
    cloud.control("Capacity", types="*", zones="*", room=0)
    answer = fleet(cloud, 2, *({"AvailabilityZone": zone} for zone in ZONES))
    assert (len(answer["Errors"]), answer.get("Instances", [])) == (3, [])


def test_a_fleet_goes_by_priority_where_told(cloud):
    walk = [{"AvailabilityZone": zone, "Priority": float(priority)} for priority, zone in enumerate(reversed(ZONES))]
    (first,) = fleet(cloud, 1, *reversed(walk), OnDemandOptions={"AllocationStrategy": "prioritized"})["Instances"]
    assert cloud.see(first["InstanceIds"][0])["Placement"]["AvailabilityZone"] == "us-west-2c"


# --- quotas ----------------------------------------------------------------------------------------------------------
def test_a_launch_and_a_start_beyond_the_quota_are_refused_with_the_limit(cloud):
    cloud.control("SetQuota", region="us-west-2", family="g", value=8)
    mine = cloud.run(1, 5)
    assert len(mine) == 2
    code, status, message = refused(cloud.run)
    assert (code, status) == ("VcpuLimitExceeded", 400)
    assert message.startswith("You have requested more vCPU capacity than your current vCPU limit of 8 allows for the instance bucket")
    cloud.run(InstanceType="t3.large")
    cloud.ec2.stop_instances(InstanceIds=mine)
    cloud.run()
    assert refused(cloud.ec2.start_instances, InstanceIds=mine)[0] == "VcpuLimitExceeded"
    cloud.ec2.start_instances(InstanceIds=mine[:1])


def test_quotas_are_read_applied_else_by_default(cloud):
    cloud.control("SetQuota", region="us-west-2", family=G, value=32)
    named = {"ServiceCode": "ec2", "QuotaCode": G}
    quota = cloud.quotas.get_service_quota(**named)["Quota"]
    assert (quota["QuotaName"], quota["Value"], quota["Adjustable"]) == ("Running On-Demand G and VT instances", 32.0, True)
    cloud.control("SetQuota", region="us-west-2", family=G, value=None)
    assert refused(cloud.quotas.get_service_quota, **named)[:2] == ("NoSuchResourceException", 400)
    assert cloud.quotas.get_aws_default_service_quota(**named)["Quota"]["Value"] == 0.0
    assert refused(cloud.run)[0] == "VcpuLimitExceeded"
    pages = cloud.quotas.get_paginator("list_service_quotas").paginate(ServiceCode="ec2", PaginationConfig={"PageSize": 4})
    codes = [one["QuotaCode"] for page in pages for one in page["Quotas"]]
    assert "L-1216C47A" in codes and len(set(codes)) == 9 and G not in codes
    assert refused(cloud.quotas.get_service_quota, ServiceCode="ec2", QuotaCode="L-00000000")[0] == "NoSuchResourceException"
    assert refused(cloud.quotas.list_service_quotas, ServiceCode="EC2")[0] == "NoSuchResourceException"


@pytest.mark.parametrize(("granted", "status", "seats"), [(None, "APPROVED", 5), (8, "CASE_CLOSED", 2)])
def test_an_increase_is_filed_once_and_granted_whole_or_in_part(cloud, granted, status, seats):
    cloud.control("SetQuota", region="us-west-2", family="g", value=0)
    named = {"ServiceCode": "ec2", "QuotaCode": G}
    filed = cloud.quotas.request_service_quota_increase(**named, DesiredValue=20)["RequestedQuota"]
    assert (filed["Status"], filed["DesiredValue"]) == ("PENDING", 20.0)
    assert refused(cloud.quotas.request_service_quota_increase, **named, DesiredValue=24) == (
        "ResourceAlreadyExistsException",
        400,
        "Only one open service quota increase request is allowed per quota.",
    )
    history = cloud.quotas.list_requested_service_quota_change_history_by_quota
    assert [one["Id"] for one in history(**named, Status="PENDING")["RequestedQuotas"]] == [filed["Id"]]
    cloud.control("GrantQuota", region="us-west-2", family="g", value=granted)
    assert [(one["Id"], one["Status"]) for one in history(**named)["RequestedQuotas"]] == [(filed["Id"], status)]
    assert len(cloud.run(1, 10)) == seats
    assert refused(cloud.quotas.request_service_quota_increase, **named, DesiredValue=1)[0] == "IllegalArgumentException"


def test_a_denied_increase_may_be_asked_for_again(cloud):
    cloud.control("SetQuota", region="us-west-2", family="g", value=0)
    named = {"ServiceCode": "ec2", "QuotaCode": G, "DesiredValue": 20}
    first = cloud.quotas.request_service_quota_increase(**named)["RequestedQuota"]["Id"]
    cloud.control("DenyQuota", region="us-west-2", family="g")
    assert cloud.quotas.get_requested_service_quota_change(RequestId=first)["RequestedQuota"]["Status"] == "DENIED"
    assert cloud.quotas.request_service_quota_increase(**named)["RequestedQuota"]["Id"] != first


def test_an_account_that_is_being_validated_launches_nothing(cloud):
    (mine,) = cloud.run()
    cloud.ec2.stop_instances(InstanceIds=[mine])
    cloud.control("Verification", pending=True)
    for call, asked in ((cloud.run, {}), (cloud.ec2.start_instances, {"InstanceIds": [mine]})):
        code, status, message = refused(call, **asked)
        assert (code, status) == ("PendingVerification", 400) and message.startswith("Your request for accessing resources in this region")
    cloud.control("Verification", pending=False)
    cloud.run()


# --- client tokens ---------------------------------------------------------------------------------------------------
def test_a_token_launches_once(cloud):
    wanted = {"ImageId": cloud.image, "InstanceType": SIZE, "MinCount": 1, "MaxCount": 2, "ClientToken": "s01", "UserData": "#!/bin/sh\n"}
    first, second = cloud.ec2.run_instances(**wanted), cloud.ec2.run_instances(**wanted)
    assert first["ReservationId"] == second["ReservationId"] and len(cloud.instances()) == 2
    assert [[one["State"]["Name"] for one in answer["Instances"]] for answer in (first, second)] == [["pending"] * 2, ["running"] * 2]


def test_a_token_with_other_parameters_or_a_terminated_machine_is_refused(cloud):
    (mine,) = cloud.run(ClientToken="s01")
    assert refused(cloud.run, ClientToken="s01", UserData="other") == (
        "IdempotentParameterMismatch",
        400,
        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
    )
    cloud.ec2.terminate_instances(InstanceIds=[mine])
    assert refused(cloud.run, ClientToken="s01")[:2] == ("IdempotentInstanceTerminated", 400)
    assert [one["State"]["Name"] for one in cloud.instances()] == ["terminated"]


def test_a_token_holds_in_its_zone_and_after_a_launch_without_room(cloud):
    assert cloud.in_zone("us-west-2a", ClientToken="s01") != cloud.in_zone("us-west-2b", ClientToken="s01")
    cloud.control("Capacity", types=SIZE, zones="us-west-2c", room=0)
    assert refused(cloud.in_zone, "us-west-2c", ClientToken="s01")[0] == "InsufficientInstanceCapacity"
    assert refused(cloud.in_zone, "us-west-2c", ClientToken="s01", InstanceType="g5.xlarge")[0] == "IdempotentParameterMismatch"
    cloud.control("Capacity", clear=True)
    assert cloud.in_zone("us-west-2c", ClientToken="s01") == cloud.in_zone("us-west-2c", ClientToken="s01")
    assert len(cloud.instances()) == 3


def test_a_dry_run_changes_nothing_whatever_the_action(cloud):
    (instance,) = cloud.run()
    before = cloud.see(instance)
    for call in (cloud.ec2.modify_instance_metadata_options, cloud.ec2.modify_instance_attribute, cloud.ec2.terminate_instances):
        about = {"InstanceIds": [instance]} if call == cloud.ec2.terminate_instances else {"InstanceId": instance}
        assert refused(call, DryRun=True, **about)[:2] == ("DryRunOperation", 412)
    assert cloud.see(instance) == before


def test_a_dry_run_uses_no_token_and_wants_no_room(cloud):
    cloud.control("Capacity", types="*", zones="*", room=0)
    assert refused(cloud.run, ClientToken="s01", DryRun=True)[0] == "DryRunOperation"
    cloud.control("Capacity", clear=True)
    cloud.run(ClientToken="s01", InstanceType="g5.xlarge")


# --- rates -----------------------------------------------------------------------------------------------------------
def test_without_a_word_no_rate_holds(cloud):
    for _ in range(8):
        cloud.run()


@pytest.fixture
def throttle() -> tuple[Throttle, list[float]]:
    """A throttle by a clock that stands still, and the seconds that it shows."""
    seconds = [0.0]
    return Throttle(on=True, clock=lambda: seconds[0]), seconds


def passing(throttle: Throttle, action: str, tries: int, whole: bool = False, instances: int = 0) -> int:
    """Return how many of so many calls are let through."""
    passed = 0
    for _ in range(tries):
        with suppress(Refused):
            throttle.check("us-west-2", Call("ec2", action, "ec2"), whole, instances)
            passed += 1
    return passed


def test_launches_have_a_bucket_of_five_that_fills_by_two_a_second(throttle):
    buckets, seconds = throttle
    assert passing(buckets, "RunInstances", 9, instances=1) == 5
    seconds[0] += 0.4
    assert passing(buckets, "RunInstances", 9, instances=1) == 0
    seconds[0] += 1.2
    assert passing(buckets, "RunInstances", 9, instances=1) == 3
    seconds[0] += 60
    assert passing(buckets, "RunInstances", 9, instances=1) == 5


def test_reads_without_filter_or_page_have_the_smaller_bucket(throttle):
    assert passing(throttle[0], "DescribeVolumes", 200, whole=True) == 50
    assert passing(throttle[0], "DescribeVolumes", 200) == 100


def test_each_instance_of_a_launch_takes_a_token_of_its_own(cloud):
    cloud.control("Throttle", on=True)
    assert refused(cloud.run, 1, 1001)[0] == "RequestLimitExceeded"
    assert cloud.instances(Filters=[{"Name": "instance-type", "Values": [SIZE]}]) == []


# --- faults ----------------------------------------------------------------------------------------------------------
def test_a_fault_meets_so_many_calls_and_carries_nothing_out(cloud):
    cloud.control("AddFault", action="RunInstances", code="InsufficientInstanceCapacity", count=2, skip=1)
    cloud.run()
    for _ in range(2):
        assert refused(cloud.run) == ("InsufficientInstanceCapacity", 500, "Insufficient capacity.")
    cloud.run()
    assert len(cloud.instances()) == 2


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Denied", [("UnauthorizedOperation", 403), ("AccessDenied", 403), ("AccessDeniedException", 400), ("AccessDeniedException", 400)]),
        (
            "Throttled",
            [("RequestLimitExceeded", 503), ("Throttling", 400), ("ThrottlingException", 400), ("TooManyRequestsException", 400)],
        ),
        ("ServiceUnavailable", [("ServiceUnavailable", 503)] * 4),
    ],
)
def test_each_service_fails_in_its_own_words(cloud, word, expected):
    cloud.control("AddFault", action="*", code=word, count=4)
    calls = [
        (cloud.ec2.describe_instances, {}),
        (cloud.sts.get_caller_identity, {}),
        (cloud.ssm.get_parameter, {"Name": DEBIAN}),
        (cloud.quotas.list_service_quotas, {"ServiceCode": "ec2"}),
    ]
    assert [refused(call, **asked)[:2] for call, asked in calls] == expected


def test_a_missing_permission_is_named_and_meets_dry_runs_too(cloud):
    cloud.control("AddFault", action="ec2:RunInstances", code="Denied", count=None)
    for dry_run in (True, False):
        code, status, message = refused(cloud.run, DryRun=dry_run)
        assert (code, status) == ("UnauthorizedOperation", 403)
        assert f"User: {cloud.sts.get_caller_identity()['Arn']} is not authorized to perform: ec2:RunInstances" in message
    cloud.control("Faults", clear=True)
    assert refused(cloud.run, DryRun=True)[0] == "DryRunOperation"


def test_a_status_a_message_and_a_delay_of_ones_own(cloud):
    cloud.control("AddFault", action="Describe*", code="InternalError", status=500, message="an <odd> & end", delay=0.3)
    begin = time.monotonic()
    assert refused(cloud.ec2.describe_regions) == ("InternalError", 500, "an <odd> & end")
    assert time.monotonic() - begin > 0.3


def test_a_lost_reply_is_carried_out_and_its_token_finds_it(cloud):
    cloud.control("AddFault", action="RunInstances", lost_reply=True)
    with pytest.raises(ConnectionClosedError):
        cloud.run(ClientToken="s01")
    (made,) = cloud.instances()
    assert cloud.run(ClientToken="s01") == [made["InstanceId"]] and len(cloud.instances()) == 1


def test_partial_answers(cloud):
    cloud.control("AddFault", action="RunInstances", partial=2)
    assert len(cloud.run(1, 5)) == 2
    cloud.control("AddFault", action="RunInstances", partial=2)
    assert refused(cloud.run, 3, 5)[0] == "InsufficientInstanceCapacity"
    cloud.run()
    cloud.control("AddFault", action="DescribeInstances", partial=1, count=None)
    answer = cloud.ec2.describe_instances()
    assert len(answer["Reservations"]) == 1 and answer["NextToken"]
    assert len(cloud.instances()) == 3


def test_stale_reads_miss_what_is_young_and_nothing_else(cloud):
    tags = [{"ResourceType": kind, "Tags": [{"Key": "seat", "Value": "s01"}]} for kind in ("instance", "volume")]
    (old,) = cloud.run()
    time.sleep(6)  # the old one has to be older than what is hidden, and that longer than four reads take on a busy machine
    (young,) = cloud.run(TagSpecifications=tags)
    cloud.control("AddFault", action="*", stale=5.5, count=4)
    assert [one["InstanceId"] for one in cloud.instances()] == [old]
    assert refused(cloud.ec2.describe_instances, InstanceIds=[young])[0] == "InvalidInstanceID.NotFound"
    assert len(cloud.ec2.describe_volumes()["Volumes"]) == 1 and cloud.ec2.describe_tags()["Tags"] == []
    assert {one["InstanceId"] for one in cloud.instances()} == {old, young}
    assert (len(cloud.ec2.describe_volumes()["Volumes"]), len(cloud.ec2.describe_tags()["Tags"])) == (2, 2)
    cloud.control("AddFault", action="DescribeInstances", stale=60.0, count=1)
    assert (cloud.instances(), len(cloud.instances())) == ([], 2)


def test_a_machine_that_is_long_pending_and_one_that_dies_there(cloud):
    cloud.control("AddFault", action="Boot", delay=1.0)
    (slow,) = cloud.run()
    assert cloud.see(slow)["State"]["Name"] == "pending"
    cloud.control("AddFault", action="Boot", code="Client.VolumeLimitExceeded", message="Volume limit exceeded")
    seen = cloud.see(cloud.run()[0])
    assert (seen["State"]["Name"], seen["StateReason"]["Code"]) == ("terminated", "Client.VolumeLimitExceeded")
    cloud.ec2.get_waiter("instance_running").wait(InstanceIds=[slow], WaiterConfig={"Delay": 1, "MaxAttempts": 5})


# --- protection ------------------------------------------------------------------------------------------------------
def test_protected_machines_and_their_zone_stay(cloud):
    (safe,), (beside,), (far,) = cloud.in_zone(ZONES[0], DisableApiTermination=True), cloud.in_zone(ZONES[0]), cloud.in_zone(ZONES[1])
    code, status, message = refused(cloud.ec2.terminate_instances, InstanceIds=[beside, safe, far])
    assert (code, status) == ("OperationNotPermitted", 400) and safe in message and "'disableApiTermination'" in message
    assert [cloud.see(one)["State"]["Name"] for one in (safe, beside, far)] == ["running", "running", "terminated"]
    attribute = cloud.ec2.describe_instance_attribute(InstanceId=safe, Attribute="disableApiTermination")
    assert attribute["DisableApiTermination"]["Value"] is True
    cloud.ec2.modify_instance_attribute(InstanceId=safe, DisableApiTermination={"Value": False})
    cloud.ec2.terminate_instances(InstanceIds=[beside, safe])
    (later,) = cloud.run()
    cloud.ec2.modify_instance_attribute(InstanceId=later, DisableApiTermination={"Value": True})
    assert refused(cloud.ec2.terminate_instances, InstanceIds=[later])[0] == "OperationNotPermitted"


# --- commands --------------------------------------------------------------------------------------------------------
def test_commands_act_on_the_cloud_of_the_shell(cloud):
    assert cloud.command("capacity", "g*", "us-west-2a", "0") == "g*               us-west-2a   0\n"
    assert f"{G}  g                0 of 8 vCPUs in use\n" in cloud.command("quota", "g", "8")
    shown = cloud.command("fault", "RunInstances", "InsufficientInstanceCapacity", "--count", "2", "--status", "503")
    assert shown == "RunInstances InsufficientInstanceCapacity 2 times status=503\n"
    assert refused(cloud.run)[:2] == ("InsufficientInstanceCapacity", 503)
    assert cloud.command("fault", "--clear") == ""
    assert refused(cloud.run, 3, 3)[0] == "VcpuLimitExceeded" and refused(cloud.in_zone, ZONES[0])[0] == "InsufficientInstanceCapacity"
    assert "      3 ec2:RunInstances\n" in cloud.command("calls", "--clear") and cloud.command("calls") == ""


def test_a_command_that_cannot_be_says_why_in_one_sentence(cloud):
    assert cloud.command("quota", "gpu", "8").startswith("There is no vCPU quota gpu. There are: standard (L-1216C47A), ")
    assert cloud.command("capacity", SIZE) == "Say all three: python -m rehearsal capacity TYPE ZONE ROOM\n"
    nothing = f"There is no open request for {G} (Running On-Demand G and VT instances) in us-west-2.\n"
    assert cloud.command("quota", "g", "--grant") == nothing


def test_only_the_clouds_key_opens_the_side_door(cloud):
    with pytest.raises(state.StateError, match="UnrecognizedClientException"):
        Control(cloud.environment | {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"})("Capacity", types="*", zones="*", room=0)
    cloud.run()


def test_a_cloud_without_hosts_is_beside_the_machines(cloud, tmp_path):
    assert state.MACHINE.folder not in (state.without_hosts().folder, state.without_hosts(tmp_path).folder)
    assert cloud.environment["AWS_ENDPOINT_URL"] != API_URL


# --- size ------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("at_a_time", [250, 1])
def test_five_hundred_seats(cloud, at_a_time):
    begin = time.monotonic()
    ids = list(chain(*(cloud.run(at_a_time, at_a_time) for _ in range(500 // at_a_time))))
    launched = time.monotonic()
    assert {one["InstanceId"] for one in cloud.ec2.describe_instance_status()["InstanceStatuses"]} == set(ids) and len(ids) == 500
    for change in (cloud.ec2.stop_instances, cloud.ec2.start_instances, cloud.ec2.terminate_instances):
        change(InstanceIds=ids)
    assert cloud.instances(Filters=[{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]) == []
    print(f"500 seats: launched in {launched - begin:.1f} s, stopped, started and terminated in {time.monotonic() - launched:.1f} s")
