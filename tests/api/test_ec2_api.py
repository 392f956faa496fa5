"""The rehearsal's API as an SDK sees it: errors, states, groups, metadata. Hosts are pretended here; real ones are in tests/rehearsal.

What needs moto is imported where it is used: that takes a second, and processes that run none of these tests collect them, too.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from werkzeug.serving import make_server
from werkzeug.test import Client

from rehearsal import ACCOUNT, EXPIRED_KEY, REGION
from rehearsal.hosts.containers import HostError
from rehearsal.hosts.firewall import Rule

if TYPE_CHECKING:
    from rehearsal.api.cloud import Cloud

SESSION = boto3.Session()
KEY, SECRET = "AKIATESTTESTTESTTEST", "a secret"
DEBIAN = "/aws/service/debian/release/12/latest/amd64"
UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
DEEP = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
ORGANISER = "198.19.0.1/32"


class PretendedHosts:
    """Remembers what hosts were told. broken: every boot fails. gate: boots wait for it."""

    def __init__(self) -> None:
        self.told: dict[str, tuple] = {}
        self.specs = {}
        self.broken = False
        self.answer = True
        self.gate = threading.Event()
        self.gate.set()
        self.disks: list[tuple] = []

    def claim(self, instance_id, snapshot):
        self.disks.append(("claim", instance_id, snapshot))

    def freeze(self, instance_id, snapshot):
        assert instance_id not in self.told, "the disk of a host that runs"
        self.disks.append(("freeze", instance_id, snapshot))

    def copy(self, instance_id, snapshot):
        assert instance_id in self.told
        self.disks.append(("copy", instance_id, snapshot))

    def delete(self, snapshot):
        self.disks.append(("delete", snapshot))

    def create(self, spec, public_ip, rules):
        self.specs[spec.instance_id] = spec
        self.start(spec.instance_id, public_ip, rules)

    def start(self, instance_id, public_ip, rules):
        assert self.gate.wait(10)
        if self.broken:
            raise HostError("the machine is full")
        self.told[instance_id] = (public_ip, rules)

    reboot = set_rules = start

    def stop(self, instance_id):
        self.told.pop(instance_id, None)

    destroy = stop

    def reachable(self, instance_id):
        return self.answer


@functools.cache
def client(url: str, service: str, key: str, secret: str, region: str):
    """Make each client once: that takes longer than the call it is for."""
    return SESSION.client(
        service,
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


class Account:
    """One cloud with pretended hosts behind a real port."""

    def __init__(self, port: int, cloud: Cloud, application) -> None:
        self.url, self.cloud, self.application = f"http://127.0.0.1:{port}", cloud, application

    @property
    def hosts(self) -> PretendedHosts:
        return self.cloud.hosts

    def client(self, service: str, key: str = KEY, secret: str = SECRET, region: str = REGION):
        return client(self.url, service, key, secret, region)

    def image(self, parameter: str = DEBIAN) -> str:
        return self.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"]

    def launch(self, **extra) -> str:
        """Launch one instance and return its id."""
        wanted = {"ImageId": self.image(), "InstanceType": "t3.large", "MinCount": 1, "MaxCount": 1} | extra
        return self.client("ec2").run_instances(**wanted)["Instances"][0]["InstanceId"]

    def see(self, instance_id: str) -> dict:
        return self.client("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]

    def state(self, instance_id: str) -> str:
        return self.see(instance_id)["State"]["Name"]

    def group(self, name: str, *permissions: dict) -> str:
        ec2 = self.client("ec2")
        group_id = ec2.create_security_group(GroupName=name, Description=name)["GroupId"]
        if permissions:
            ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=list(permissions))
        return group_id

    def metadata(self, instance_id: str, path: str, method: str = "GET", **headers: str):
        address = self.see(instance_id)["PrivateIpAddress"]
        fixed = {name.replace("_", "-"): value for name, value in headers.items()}
        return Client(self.application).open(path, method=method, headers=fixed, environ_overrides={"REMOTE_ADDR": address})


def port(number: int, source: str = ORGANISER) -> dict:
    return {"IpProtocol": "tcp", "FromPort": number, "ToPort": number, "IpRanges": [{"CidrIp": source}]}


def code(call, *args, **kwargs) -> tuple[str, int]:
    """Return the error code and HTTP status of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    return caught.value.response["Error"]["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture(scope="module")
def _account() -> Iterator[Account]:
    from rehearsal import server
    from rehearsal.api.cloud import Cloud
    from rehearsal.api.setup import build

    cloud = Cloud()
    application = build(cloud, "172.31.0.0/16", KEY, SECRET)
    listener = make_server("127.0.0.1", 0, application, threaded=True, request_handler=server.QuietHandler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield Account(listener.port, cloud, application)
    listener.shutdown()


@pytest.fixture
def account(_account: Account) -> Account:
    """An empty account; moto's patches hold for the process."""
    from moto.ec2.models import ec2_backends

    _account.cloud.__init__()
    _account.cloud.hosts = PretendedHosts()
    ec2_backends[ACCOUNT][REGION].reset()
    return _account


# --- credentials ---------------------------------------------------------------------------------------------------
CALLS = {"ec2": "describe_instances", "sts": "get_caller_identity", "iam": "list_users", "ssm": "describe_parameters", "s3": "list_buckets"}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (
            {"key": "AKIAUNKNOWN"},
            {
                "ec2": ("AuthFailure", 401),
                "sts": ("InvalidClientTokenId", 403),
                "iam": ("InvalidClientTokenId", 403),
                "ssm": ("UnrecognizedClientException", 400),
                "s3": ("InvalidAccessKeyId", 403),
            },
        ),
        (
            {"secret": "wrong"},
            {
                "ec2": ("AuthFailure", 401),
                "sts": ("SignatureDoesNotMatch", 403),
                "iam": ("SignatureDoesNotMatch", 403),
                "ssm": ("InvalidSignatureException", 400),
                "s3": ("SignatureDoesNotMatch", 403),
            },
        ),
        (
            {"key": EXPIRED_KEY},
            {
                "ec2": ("RequestExpired", 400),
                "sts": ("ExpiredToken", 403),
                "iam": ("ExpiredToken", 403),
                "ssm": ("ExpiredTokenException", 400),
                "s3": ("ExpiredToken", 400),
            },
        ),
        (
            {"region": "us-moon-1"},
            {"ec2": ("AuthFailure", 401), "sts": ("SignatureDoesNotMatch", 403), "ssm": ("InvalidSignatureException", 400)},
        ),
    ],
)
def test_a_key_that_does_not_hold_gets_the_error_of_its_service(account, case, expected):
    assert {service: code(getattr(account.client(service, **case), CALLS[service])) for service in expected} == expected


def test_an_unknown_region_is_named(account):
    with pytest.raises(ClientError, match="Credential should be scoped to a valid region, not 'us-moon-1'"):
        account.client("sts", region="us-moon-1").get_caller_identity()


def test_every_service_accepts_the_issued_key(account):
    for service, call in CALLS.items():
        getattr(account.client(service), call)()
    account.client("s3").create_bucket(Bucket="names", CreateBucketConfiguration={"LocationConstraint": REGION})
    account.client("s3").put_object(Bucket="names", Key="a folder/a name +%&?", Body=b"content")


def test_a_key_of_an_assumed_role_holds_with_its_token_alone(account):
    role = {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/organiser", "RoleSessionName": "ada"}
    given = account.client("sts").assume_role(**role)["Credentials"]
    keys = {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"]}
    ends = {"region_name": REGION, "endpoint_url": account.url, "config": Config(retries={"total_max_attempts": 1})}
    whole = {service: SESSION.client(service, aws_session_token=given["SessionToken"], **keys, **ends) for service in ("sts", "ec2")}
    assert whole["sts"].get_caller_identity()["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/organiser/ada"
    instance_id = account.launch()
    whole["ec2"].stop_instances(InstanceIds=[instance_id])
    assert account.state(instance_id) == "stopped"
    assert code(SESSION.client("ec2", **keys, **ends).describe_regions) == ("AuthFailure", 401)
    assert code(SESSION.client("sts", aws_session_token="x", **keys, **ends).get_caller_identity) == ("InvalidClientTokenId", 403)


@pytest.mark.parametrize("path", ["/", "/moto-api/reset", "/favicon.ico"])
def test_unsigned_requests_change_nothing(account, path):
    instance_id = account.launch()
    assert Client(account.application).post(path).status_code in (401, 404)
    assert account.state(instance_id) == "running"


def test_a_signature_over_another_body_is_refused(account):
    held = {}
    ec2 = account.client("ec2")
    ec2.meta.events.register("before-send.ec2.DescribeRegions", lambda request, **_: held.update(request=request))
    ec2.describe_regions()
    headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in held["request"].headers.items()}
    body = b"Action=TerminateInstances&Version=2016-11-15"
    reply = Client(account.application).post("/", data=body, headers=headers | {"Host": account.url[7:], "Content-Length": str(len(body))})
    assert reply.status_code == 401 and b"AuthFailure" in reply.data


# --- what is not there, and what is wrong --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("service", "call", "name"),
    [
        ("ec2", "describe_placement_groups", "ec2:DescribePlacementGroups"),
        ("ec2", "describe_volume_status", "ec2:DescribeVolumeStatus"),
        ("pricing", "describe_services", "pricing:DescribeServices"),
        ("ssm", "describe_instance_information", "ssm:DescribeInstanceInformation"),
    ],
)
def test_an_action_that_is_missing_is_named(account, service, call, name):
    with pytest.raises(ClientError, match=f"does not implement {name}") as caught:
        getattr(account.client(service), call)()
    assert caught.value.response["Error"]["Code"] == "UnsupportedOperation"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"InstanceType": "t9.large"}, "InvalidParameterValue"),
        ({"ImageId": "ami-00000000"}, "InvalidAMIID.NotFound"),
        ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
        ({"SecurityGroupIds": ["sg-00000000"]}, "InvalidGroup.NotFound"),
        ({"SubnetId": "subnet-00000000"}, "InvalidSubnetID.NotFound"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 4}}]}, "InvalidBlockDeviceMapping"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {}}]}, "MissingParameter"),
    ],
)
def test_a_launch_that_cannot_be_is_refused_and_leaves_nothing(account, wrong, expected):
    assert code(account.launch, **wrong)[0] == expected
    ec2 = account.client("ec2")
    assert (ec2.describe_instances()["Reservations"], ec2.describe_volumes()["Volumes"], account.hosts.specs) == ([], [], {})


def test_tags_that_metadata_could_not_show_are_refused(account):
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "classroom/seat", "Value": "s01"}]}]
    assert code(account.launch, TagSpecifications=tags, MetadataOptions={"InstanceMetadataTags": "enabled"})[0] == "InvalidParameterValue"


def test_hosts_are_in_one_region(account):
    elsewhere = account.client("ec2", region="eu-central-1")
    assert elsewhere.describe_vpcs()["Vpcs"]
    call = {"ImageId": account.image(), "InstanceType": "t3.large", "MinCount": 1, "MaxCount": 1}
    assert code(elsewhere.run_instances, **call)[0] == "UnsupportedOperation"


# --- images ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("parameter", "root", "owner"), [(DEBIAN, "/dev/xvda", "136693071363"), (UBUNTU, "/dev/sda1", "099720109477"),
                                                           (DEEP, "/dev/sda1", "898082745236")])  # fmt: skip
def test_public_parameters_lead_to_images_with_their_own_root_device(account, parameter, root, owner):
    image = account.client("ec2").describe_images(ImageIds=[account.image(parameter)])["Images"][0]
    assert (image["RootDeviceName"], image["OwnerId"], image["State"]) == (root, owner, "available")
    assert [one["DeviceName"] for one in image["BlockDeviceMappings"]] == [root]


def test_the_root_volume_is_the_images_with_what_the_request_says(account):
    mapping = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "Encrypted": True}}]
    instance_id = account.launch(BlockDeviceMappings=mapping)
    (volume,) = account.client("ec2").describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance_id]}])["Volumes"]
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"], volume["Throughput"]) == (20, "gp3", True, 125)
    assert volume["Attachments"][0]["DeleteOnTermination"] and volume["SnapshotId"].startswith("snap-")
    assert volume["MultiAttachEnabled"] is False


def test_without_a_word_about_disks_the_root_is_as_large_as_its_snapshot(account):
    account.launch(ImageId=account.image(DEEP))
    (volume,) = account.client("ec2").describe_volumes()["Volumes"]
    assert (volume["Size"], volume["Attachments"][0]["Device"]) == (75, "/dev/sda1")


# --- states ----------------------------------------------------------------------------------------------------------
def test_an_instance_is_pending_until_its_host_runs(account, monkeypatch):
    monkeypatch.setattr("rehearsal.api.cloud.SETTLE_SECONDS", 0.0)
    monkeypatch.setattr("rehearsal.api.cloud.SETTLE_SECONDS_A_HOST", 0.0)
    account.hosts.gate.clear()
    instance_id = account.launch()
    assert account.state(instance_id) == "pending"
    assert code(account.client("ec2").stop_instances, InstanceIds=[instance_id])[0] == "IncorrectInstanceState"
    account.hosts.gate.set()
    account.cloud.close()
    assert account.state(instance_id) == "running"


def test_status_is_ok_only_once_sshd_answers(account):
    account.hosts.answer = False
    instance_id = account.launch()
    status = account.client("ec2").describe_instance_status
    seen = [status(InstanceIds=[instance_id])["InstanceStatuses"][0]["InstanceStatus"]["Status"]]
    account.hosts.answer = True
    seen.append(status(InstanceIds=[instance_id])["InstanceStatuses"][0]["InstanceStatus"]["Status"])
    assert seen == ["initializing", "ok"]
    assert status()["InstanceStatuses"][0]["InstanceId"] == instance_id


def test_a_host_that_cannot_start_ends_its_instance_with_a_reason(account):
    account.hosts.broken = True
    seen = account.see(account.launch())
    assert (seen["State"]["Name"], seen["StateReason"]["Code"]) == ("terminated", "Server.InternalError")
    assert "the machine is full" in seen["StateReason"]["Message"]
    assert account.client("ec2").describe_volumes()["Volumes"] == []


def test_a_stopped_host_that_cannot_start_is_stopped_again(account):
    instance_id = account.launch()
    account.client("ec2").stop_instances(InstanceIds=[instance_id])
    account.hosts.broken = True
    account.client("ec2").start_instances(InstanceIds=[instance_id])
    assert (account.state(instance_id), account.see(instance_id)["StateReason"]["Code"]) == ("stopped", "Server.InternalError")


@pytest.mark.parametrize(("extra", "how"), [({}, "freeze"), ({"NoReboot": True}, "copy")])
def test_an_image_is_a_hosts_disk_and_a_launch_of_it_claims_that(account, extra, how):
    ec2, source = account.client("ec2"), account.launch()
    before = account.hosts.told[source]
    image = ec2.create_image(InstanceId=source, Name="seat", **extra)["ImageId"]
    snapshot = ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    clone = account.launch(ImageId=image)
    assert account.hosts.told[source] == before
    ec2.deregister_image(ImageId=image)
    ec2.delete_snapshot(SnapshotId=snapshot)
    expected = [("claim", source, None), (how, source, snapshot), ("claim", clone, snapshot), ("delete", snapshot)]
    assert account.hosts.disks == expected


def test_a_host_that_does_not_boot_after_its_disk_was_frozen_is_stopped_and_the_image_is_there(account):
    ec2, source = account.client("ec2"), account.launch()
    account.hosts.broken = True
    image = ec2.create_image(InstanceId=source, Name="seat")["ImageId"]
    assert ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available"
    assert account.see(source)["StateReason"]["Code"] == "Server.InternalError" and account.state(source) == "stopped"


def test_stop_and_start_change_the_public_address_and_keep_the_private_one(account):
    ec2, instance_id = account.client("ec2"), account.launch()
    before = account.see(instance_id)
    ec2.reboot_instances(InstanceIds=[instance_id])
    assert account.see(instance_id)["PublicIpAddress"] == before["PublicIpAddress"]
    assert ec2.stop_instances(InstanceIds=[instance_id])["StoppingInstances"][0]["CurrentState"]["Name"] == "stopping"
    assert ec2.stop_instances(InstanceIds=[instance_id])["StoppingInstances"][0]["CurrentState"]["Name"] == "stopped"
    assert (account.state(instance_id), account.see(instance_id).get("PublicIpAddress")) == ("stopped", None)
    ec2.start_instances(InstanceIds=[instance_id])
    after = account.see(instance_id)
    assert after["PublicIpAddress"].startswith("198.18.") and after["PublicIpAddress"] != before["PublicIpAddress"]
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert account.hosts.told[instance_id][0] == after["PublicIpAddress"]


def test_termination_leaves_nothing_billable(account):
    ec2, instance_id = account.client("ec2"), account.launch()
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert account.state(instance_id) == "terminated"
    assert (ec2.describe_volumes()["Volumes"], ec2.describe_network_interfaces()["NetworkInterfaces"]) == ([], [])
    assert code(ec2.start_instances, InstanceIds=[instance_id])[0] == "IncorrectInstanceState"


@pytest.mark.parametrize(
    ("how", "behaviour", "state", "reason"),
    [
        ("reboot", "stop", "running", None),
        ("poweroff", "stop", "stopped", "Client.InstanceInitiatedShutdown"),
        ("poweroff", "terminate", "terminated", "Client.InstanceInitiatedShutdown"),
        ("crash", "terminate", "stopped", "Server.InternalError"),
        ("crash at once", "stop", "terminated", "Server.InternalError"),
    ],
)
def test_a_guest_that_ends_by_itself(account, monkeypatch, how, behaviour, state, reason):
    monkeypatch.setattr("rehearsal.api.cloud.STARTING_SECONDS", 30.0 if how == "crash at once" else 0.0)
    instance_id = account.launch()
    change = {"InstanceInitiatedShutdownBehavior": {"Value": behaviour}}
    account.client("ec2").modify_instance_attribute(InstanceId=instance_id, **change)
    account.cloud.begin()
    account.cloud.guest_exited(instance_id, how.split()[0])
    account.cloud.settle()
    assert (account.state(instance_id), account.see(instance_id).get("StateReason", {}).get("Code") or None) == (state, reason)


def test_a_retried_launch_is_one_launch(account):
    assert account.launch(ClientToken="once") == account.launch(ClientToken="once")


def test_every_way_to_launch_makes_hosts(account):
    ec2 = account.client("ec2")
    data = {"ImageId": account.image(), "InstanceType": "t3.large"}
    template = ec2.create_launch_template(LaunchTemplateName="t", LaunchTemplateData=data)["LaunchTemplate"]["LaunchTemplateId"]
    config = [{"LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "1"}}]
    capacity = {"TotalTargetCapacity": 2, "DefaultTargetCapacityType": "on-demand"}
    ec2.create_fleet(Type="instant", LaunchTemplateConfigs=config, TargetCapacitySpecification=capacity)
    assert len(account.hosts.told) == 2
    account.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="g", MinSize=1, MaxSize=1, AvailabilityZones=[f"{REGION}a"], LaunchTemplate={"LaunchTemplateId": template}
    )
    assert len(account.hosts.told) == 3
    ec2.run_instances(LaunchTemplate={"LaunchTemplateId": template}, MinCount=1, MaxCount=2)
    assert len(account.hosts.told) == 5


# --- security groups ---------------------------------------------------------------------------------------------
def test_rules_reach_running_hosts_at_once(account):
    ec2, group = account.client("ec2"), account.group("class", port(22), port(8888, "10.0.0.7/8"))
    instance_id = account.launch(SecurityGroupIds=[group])
    wanted = (Rule("tcp", 22, 22, (ORGANISER,)), Rule("tcp", 8888, 8888, ("10.0.0.0/8",)))
    assert account.hosts.told[instance_id][1] == wanted
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[port(22)])
    assert account.hosts.told[instance_id][1] == wanted[1:]
    other = account.group("other", {"IpProtocol": "-1", "IpRanges": [{"CidrIp": ORGANISER}]})
    ec2.modify_instance_attribute(InstanceId=instance_id, Groups=[other])
    assert account.hosts.told[instance_id][1] == (Rule("-1", None, None, (ORGANISER,)),)
    nic = account.see(instance_id)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=nic, Groups=[group])
    assert account.hosts.told[instance_id][1] == wanted[1:]
    assert [one["GroupId"] for one in account.see(instance_id)["SecurityGroups"]] == [group]


def test_a_group_as_source_is_its_members(account):
    members = account.group("members")
    group = account.group("class", {"IpProtocol": "tcp", "FromPort": 9000, "ToPort": 9001, "UserIdGroupPairs": [{"GroupId": members}]})
    instance_id = account.launch(SecurityGroupIds=[group])
    assert account.hosts.told[instance_id][1] == ()
    member = account.launch(SecurityGroupIds=[members])
    assert account.hosts.told[instance_id][1] == (Rule("tcp", 9000, 9001, (f"{account.see(member)['PrivateIpAddress']}/32",)),)
    account.client("ec2").terminate_instances(InstanceIds=[member])
    assert account.hosts.told[instance_id][1] == ()


def test_rules_hold_after_a_start_too(account):
    ec2, group = account.client("ec2"), account.group("class", port(22))
    instance_id = account.launch(SecurityGroupIds=[group])
    ec2.stop_instances(InstanceIds=[instance_id])
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[port(8888)])
    assert instance_id not in account.hosts.told
    ec2.start_instances(InstanceIds=[instance_id])
    assert [rule.to_port for rule in account.hosts.told[instance_id][1]] == [22, 8888]


def test_a_group_in_use_cannot_be_deleted(account):
    ec2, group = account.client("ec2"), account.group("class")
    referring = account.group("other", {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]})
    instance_id = account.launch(SecurityGroupIds=[group])
    assert code(ec2.delete_security_group, GroupId=group)[0] == "DependencyViolation"
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert code(ec2.delete_security_group, GroupId=group)[0] == "DependencyViolation"
    ec2.delete_security_group(GroupId=referring)
    ec2.delete_security_group(GroupId=group)


def test_an_elastic_address_reaches_the_host(account):
    ec2, instance_id = account.client("ec2"), account.launch()
    allocation = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(InstanceId=instance_id, AllocationId=allocation["AllocationId"])
    assert account.hosts.told[instance_id][0] == allocation["PublicIp"] == account.see(instance_id)["PublicIpAddress"]


# --- metadata -----------------------------------------------------------------------------------------------------
TTL = {"X_aws_ec2_metadata_token_ttl_seconds": "60"}


def token(account: Account, instance_id: str) -> dict[str, str]:
    return {"X_aws_ec2_metadata_token": account.metadata(instance_id, "/latest/api/token", "PUT", **TTL).text}


def test_metadata_wants_a_token_where_required(account):
    free, strict = account.launch(), account.launch(MetadataOptions={"HttpTokens": "required"})
    path = "/latest/meta-data/instance-id"
    assert account.metadata(free, path).text == free
    assert account.metadata(strict, path).status_code == 401
    assert account.metadata(strict, path, **token(account, strict)).text == strict
    assert account.metadata(strict, path, **token(account, free)).status_code == 401
    assert account.metadata(free, path, X_aws_ec2_metadata_token="made up").status_code == 401


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", {}, 400),
        ("PUT", {"X_aws_ec2_metadata_token_ttl_seconds": "0"}, 400),
        ("PUT", {"X_aws_ec2_metadata_token_ttl_seconds": "21601"}, 400),
        ("PUT", {**TTL, "X_Forwarded_For": "10.0.0.1"}, 403),
        ("GET", TTL, 405),
        ("PUT", TTL, 200),
    ],
)
def test_a_token_is_asked_for_properly(account, method, headers, status):
    assert account.metadata(account.launch(), "/latest/api/token", method, **headers).status_code == status


def test_what_metadata_says(account):
    pair = account.client("ec2").create_key_pair(KeyName="teacher", KeyType="ed25519")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "classroom:seat", "Value": "s01"}]}]
    options = {"InstanceMetadataTags": "enabled"}
    instance_id = account.launch(KeyName=pair["KeyName"], UserData="#!/bin/sh\n", TagSpecifications=tags, MetadataOptions=options)
    seen = account.see(instance_id)
    for path, text in {
        "/latest/meta-data/public-ipv4": seen["PublicIpAddress"],
        "/latest/meta-data/placement/": "availability-zone\nregion",
        "/latest/meta-data/tags/instance/classroom:seat": "s01",
        "/latest/meta-data/public-keys/0/openssh-key": account.hosts.specs[instance_id].authorized_keys.strip(),
        "/latest/meta-data/public-keys/": "0=teacher",
        "/latest/user-data": "#!/bin/sh\n",
        "/2021-03-23/meta-data/local-ipv4": seen["PrivateIpAddress"],
    }.items():
        assert account.metadata(instance_id, path).text == text
    assert account.metadata(instance_id, "/latest/dynamic/instance-identity/document").get_json(force=True)["accountId"] == ACCOUNT
    assert account.metadata(instance_id, "/latest/meta-data/nonsense").status_code == 404


def test_metadata_without_tags_and_without_a_host(account):
    instance_id = account.launch()
    assert account.metadata(instance_id, "/latest/meta-data/tags/instance/").status_code == 404
    assert Client(account.application).get("/latest/meta-data/", environ_overrides={"REMOTE_ADDR": "172.31.200.200"}).status_code == 404


def test_user_data_reaches_the_host_as_bytes(account):
    content = b"\x1f\x8b\x00\xff"
    instance_id = account.launch(UserData=content)
    assert account.hosts.specs[instance_id].user_data == account.metadata(instance_id, "/latest/user-data").data == content
