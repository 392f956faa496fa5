"""Images of instances as SDKs and amazon.aws meet them: the API alone (`up --no-hosts`), in a process of its own."""

import time
from collections.abc import Callable

import pytest
from ansible_collections.amazon.aws.plugins.modules import ec2_ami
from botocore.exceptions import ClientError

from tests.support.simulated_hosts import SIZE, Cloud, running_module

TAGS = [{"ResourceType": kind, "Tags": [{"Key": "for", "Value": kind}]} for kind in ("image", "snapshot")]


@pytest.fixture
def cloud(simulated: Cloud) -> Cloud:
    """An empty account."""
    simulated.control("Reset")
    return simulated


def refused(call: Callable, **kwargs) -> tuple[str, str]:
    """Return code and message of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        call(**kwargs)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def image_of(cloud: Cloud, instance_id: str, name: str = "seat", **extra) -> str:
    return cloud.ec2.create_image(InstanceId=instance_id, Name=name, **extra)["ImageId"]


def seen(cloud: Cloud, image_id: str) -> dict:
    return cloud.ec2.describe_images(ImageIds=[image_id])["Images"][0]


def snapshot_of(cloud: Cloud, image_id: str) -> str:
    return seen(cloud, image_id)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]


def found(cloud: Cloud, name: str, value: str) -> list[str]:
    """Return the ids of one's own images that a filter lets through."""
    filters = [{"Name": name, "Values": [value]}]
    return [one["ImageId"] for one in cloud.ec2.describe_images(Owners=["self"], Filters=filters)["Images"]]


def with_disks(*gib: int) -> dict:
    return {"BlockDeviceMappings": [{"DeviceName": f"/dev/xvd{'ab'[n]}", "Ebs": {"VolumeSize": size}} for n, size in enumerate(gib)]}


# --- what is made -----------------------------------------------------------------------------------------------------
def test_an_image_has_a_snapshot_of_each_volume_as_large_as_it_is(cloud):
    (instance_id,) = cloud.run(**with_disks(20, 5))
    image = seen(cloud, image_of(cloud, instance_id, Description="a seat"))
    assert (image["State"], image["Name"], image["Description"]) == ("available", "seat", "a seat")
    assert (image["OwnerId"], image["SourceInstanceId"], image["RootDeviceName"]) == ("123456789012", instance_id, "/dev/xvda")
    sizes = {one["DeviceName"]: one["Ebs"]["VolumeSize"] for one in image["BlockDeviceMappings"]}
    assert sizes == {"/dev/xvda": 20, "/dev/xvdb": 5}
    volumes = {one["VolumeId"] for one in cloud.ec2.describe_volumes()["Volumes"]}
    snapshots = cloud.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert {one["VolumeId"] for one in snapshots} == volumes
    assert {one["SnapshotId"] for one in snapshots} == {one["Ebs"]["SnapshotId"] for one in image["BlockDeviceMappings"]}
    assert {(one["State"], one["Progress"]) for one in snapshots} == {("completed", "100%")}


def test_a_volume_that_grows_later_leaves_the_snapshot_as_it_was(cloud):
    (instance_id,) = cloud.run(**with_disks(20))
    image_id = image_of(cloud, instance_id)
    cloud.ec2.modify_volume(VolumeId=cloud.ec2.describe_volumes()["Volumes"][0]["VolumeId"], Size=40)
    assert seen(cloud, image_id)["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 20
    time.sleep(0.6)  # a new size counts from then on
    assert seen(cloud, image_id)["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 20


def test_tags_go_where_they_were_said_and_filters_find_by_them(cloud):
    (instance_id,) = cloud.run()
    image_id = image_of(cloud, instance_id, TagSpecifications=TAGS)
    other = image_of(cloud, instance_id, "another", Description="spare")
    snapshot = snapshot_of(cloud, image_id)
    assert found(cloud, "tag:for", "image") == found(cloud, "name", "seat") == [image_id]
    assert found(cloud, "block-device-mapping.snapshot-id", snapshot) == [image_id]
    assert found(cloud, "tag:for", "snapshot") == found(cloud, "state", "pending") == []
    assert found(cloud, "source-instance-id", instance_id) == found(cloud, "root-device-type", "ebs") == [image_id, other]
    assert found(cloud, "description", "spare") == [other]
    tagged = cloud.ec2.describe_snapshots(Filters=[{"Name": "tag:for", "Values": ["snapshot"]}])["Snapshots"]
    assert [one["SnapshotId"] for one in tagged] == [snapshot]


def test_a_launch_begins_with_the_images_volumes_and_not_with_smaller_ones(cloud):
    (instance_id,) = cloud.run(**with_disks(20, 5))
    image_id = image_of(cloud, instance_id)
    (clone,) = cloud.run(ImageId=image_id)
    filters = [{"Name": "attachment.instance-id", "Values": [clone]}]
    volumes = cloud.ec2.describe_volumes(Filters=filters)["Volumes"]
    assert sorted(one["Size"] for one in volumes) == [5, 20]
    code, message = refused(cloud.run, ImageId=image_id, **with_disks(10))
    assert code == "InvalidBlockDeviceMapping" and snapshot_of(cloud, image_id) in message
    assert cloud.see(clone)["ImageId"] == image_id and cloud.see(clone)["State"]["Name"] == "running"


@pytest.mark.parametrize("extra", [{}, {"NoReboot": True}])
def test_a_running_instance_runs_on_and_keeps_its_address(cloud, extra):
    (instance_id,) = cloud.run()
    before = cloud.see(instance_id)
    image_of(cloud, instance_id, **extra)
    after = cloud.see(instance_id)
    assert (after["State"], after.get("PublicIpAddress")) == (before["State"], before.get("PublicIpAddress"))


def test_a_stopped_instance_stays_stopped(cloud):
    (instance_id,) = cloud.run()
    cloud.ec2.stop_instances(InstanceIds=[instance_id])
    assert seen(cloud, image_of(cloud, instance_id))["State"] == "available"
    assert cloud.see(instance_id)["State"]["Name"] == "stopped"


# --- what takes time, and what fails ----------------------------------------------------------------------------------
def test_an_image_is_pending_until_the_disk_is_frozen(cloud):
    (instance_id,) = cloud.run()
    cloud.control("AddFault", action="Freeze", delay=2)
    image_id = image_of(cloud, instance_id)
    assert seen(cloud, image_id)["State"] == "pending"
    assert cloud.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"][0]["State"] == "pending"
    assert refused(cloud.run, ImageId=image_id) == ("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is not available")
    cloud.ec2.get_waiter("image_available").wait(ImageIds=[image_id], WaiterConfig={"Delay": 1, "MaxAttempts": 10})
    assert cloud.run(ImageId=image_id)


def test_an_image_can_fail(cloud):
    (instance_id,) = cloud.run()
    cloud.control("AddFault", action="Freeze", code="Server.InternalError", message="no room")
    image = seen(cloud, image_of(cloud, instance_id))
    assert image["State"] == "failed"
    assert image["StateReason"] == {"Code": "Server.InternalError", "Message": "Server.InternalError: no room"}
    assert cloud.see(instance_id)["State"]["Name"] == "running"


def test_a_terminated_instance_has_no_disk(cloud):
    (instance_id,) = cloud.run()
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    says = f"Invalid value '{instance_id}' for instanceId. Instance is not in state 'running' or 'stopping' or 'stopped'"
    assert refused(cloud.ec2.create_image, InstanceId=instance_id, Name="seat") == ("InvalidParameterValue", says)
    assert refused(cloud.ec2.create_image, InstanceId="i-00000000000000001", Name="seat")[0] == "InvalidInstanceID.NotFound"


def test_names_are_once_an_account_and_of_some_characters(cloud):
    (instance_id,) = cloud.run()
    image_id = image_of(cloud, instance_id)
    says = f"AMI name seat is already in use by AMI {image_id}"
    assert refused(cloud.ec2.create_image, InstanceId=instance_id, Name="seat") == ("InvalidAMIName.Duplicate", says)
    for name in ("a:b", "a*b"):  # an SDK itself counts the characters
        assert refused(cloud.ec2.create_image, InstanceId=instance_id, Name=name)[0] == "InvalidAMIName.Malformed"
    cloud.ec2.deregister_image(ImageId=image_id)
    assert image_of(cloud, instance_id) != image_id


def test_a_dry_run_makes_nothing(cloud):
    (instance_id,) = cloud.run()
    assert refused(cloud.ec2.create_image, InstanceId=instance_id, Name="seat", DryRun=True)[0] == "DryRunOperation"
    assert found(cloud, "name", "seat") == []


@pytest.mark.parametrize(
    ("action", "arguments"),
    [
        ("copy_image", {"Name": "copy", "SourceImageId": "ami-1", "SourceRegion": "us-west-2"}),
        ("register_image", {"Name": "bare"}),
        ("create_snapshot", {"VolumeId": "vol-1"}),
    ],
)
def test_what_would_be_an_image_without_a_disk_is_not_made(cloud, action, arguments):
    assert refused(getattr(cloud.ec2, action), **arguments)[0] == "UnsupportedOperation"


# --- the end ----------------------------------------------------------------------------------------------------------
def test_an_image_goes_before_its_snapshot(cloud):
    (instance_id,) = cloud.run()
    image_id = image_of(cloud, instance_id)
    snapshot = snapshot_of(cloud, image_id)
    says = f"The snapshot {snapshot} is currently in use by {image_id}"
    assert refused(cloud.ec2.delete_snapshot, SnapshotId=snapshot) == ("InvalidSnapshot.InUse", says)
    cloud.ec2.deregister_image(ImageId=image_id)
    assert refused(cloud.run, ImageId=image_id)[0] == "InvalidAMIID.NotFound"
    assert refused(cloud.ec2.deregister_image, ImageId=image_id)[0] == "InvalidAMIID.Unavailable"
    cloud.ec2.delete_snapshot(SnapshotId=snapshot)
    assert refused(cloud.ec2.delete_snapshot, SnapshotId=snapshot)[0] == "InvalidSnapshot.NotFound"


def test_snapshots_go_with_the_image_where_that_is_said(cloud):
    (instance_id,) = cloud.run(**with_disks(20, 5))
    cloud.ec2.deregister_image(ImageId=image_of(cloud, instance_id), DeleteAssociatedSnapshots=True)
    assert cloud.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_amazon_aws_makes_and_removes_an_image(cloud, monkeypatch):
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    (instance_id,) = cloud.run(InstanceType=SIZE)
    wanted = {"instance_id": instance_id, "name": "seat", "tags": {"digest": "abc"}, "wait": True, "region": "us-west-2"}
    made = running_module(ec2_ami, wanted)
    assert (made["changed"], made["state"], found(cloud, "tag:digest", "abc")) == (True, "available", [made["image_id"]])
    gone = running_module(ec2_ami, {"state": "absent", "image_id": made["image_id"], "delete_snapshot": True, "region": "us-west-2"})
    assert gone["changed"] and found(cloud, "tag:digest", "abc") == []
    assert cloud.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
