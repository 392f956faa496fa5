"""Images made of instances: CreateImage freezes an instance's disk, and a launch of the image begins with it.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html: the instance is shut down and booted again around the
snapshot, unless NoReboot says otherwise.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError, InvalidAMIIdError, MissingParameterError
from moto.ec2.models.amis import Ami
from moto.ec2.models.elastic_block_store import EBSBackend, Snapshot
from moto.ec2.models.instances import StateReason
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.utils import random_ami_id

if TYPE_CHECKING:
    from .cloud import Cloud

NAME = re.compile(r"[A-Za-z0-9()\[\] ./'@_-]{3,128}")
# github.com/aws-samples/aws-systemsmanagerautomation-with-asglifecyclehooks/issues/2 has the message with these three.
STATES = ("running", "stopping", "stopped")
# Filters of DescribeImages that moto lacks, and the fields that they compare.
FILTERS = {
    "description": "description",
    "hypervisor": "hypervisor",
    "image-type": "image_type",
    "root-device-name": "root_device_name",
    "root-device-type": "root_device_type",
}


def install(cloud: Cloud) -> None:
    """Make images of disks, and refuse what would make an image without one."""
    _create(cloud)
    _delete(cloud)
    _filters()
    for name in ("copy_image", "register_image"):
        setattr(AmisResponse, name, _unsupported)
    for name in ("create_snapshot", "create_snapshots", "copy_snapshot"):
        setattr(ElasticBlockStore, name, _unsupported)


def launchable(backend: Any, image_id: str) -> Any:
    """Return an image from which an instance can be launched.

    Raises:
        EC2ClientError: InvalidAMIID.NotFound, also for one that was deregistered; InvalidAMIID.Unavailable for one that is pending.
    """
    found = backend.describe_images(ami_ids=[image_id])
    if not found:
        raise InvalidAMIIdError(image_id)
    if found[0].state != "available":
        raise EC2ClientError("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is not available")
    return found[0]


def disk_of(image: Any) -> str | None:
    """Return the id of the snapshot with which an instance of this image begins; None for the seat image."""
    return image.ebs_snapshot.id if hasattr(image, "snapshots") else None


def mappings_of(image: Any) -> list[dict[str, Any]]:
    """Return the block devices of an image: those of the instance that it was made of, the root alone for the others."""
    snapshots = getattr(image, "snapshots", {image.root_device_name: image.ebs_snapshot})
    return [{"DeviceName": device, "Ebs": _ebs(snapshot)} for device, snapshot in snapshots.items()]


def _ebs(snapshot: Any) -> dict[str, Any]:
    """Report a snapshot's own size and EC2's default of deleting with the instance; moto says 15 GiB and keep for all."""
    return {
        "SnapshotId": snapshot.id,
        "VolumeSize": snapshot.volume.size,
        "VolumeType": "gp3",
        "DeleteOnTermination": True,
        "Encrypted": snapshot.encrypted,
    }


def _create(cloud: Cloud) -> None:
    def create_image(self: Any) -> ActionResult:
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        _check(self.ec2_backend, instance, self._get_param("Name"))
        tags = self._parse_tag_specification()
        image = _image_of(self.ec2_backend, instance, self._get_param("Name"), self._get_param("Description", ""), tags)
        live = bool(self._get_param("NoReboot", False))
        cloud.freeze(instance, image.ebs_snapshot.id, live, lambda problem: _done(cloud, image, problem))
        return ActionResult({"ImageId": image.id})

    AmisResponse.create_image = create_image


def _check(backend: Any, instance: Any, name: str | None) -> None:
    """Refuse as EC2 does, before anything is made. Raises EC2ClientError."""
    if not name:
        raise MissingParameterError("Name")
    if not NAME.fullmatch(name):
        raise EC2ClientError(
            "InvalidAMIName.Malformed",
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'",
        )
    for image in backend.amis.values():
        if image.owner_id == backend.account_id and image.name == name:
            raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {image.id}")
    if instance.state not in STATES:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"Invalid value '{instance.id}' for instanceId. Instance is not in state 'running' or 'stopping' or 'stopped'",
        )


def _image_of(backend: Any, instance: Any, name: str, description: str, tags: dict[str, dict[str, str]]) -> Ami:
    """Return a pending image with a pending snapshot of each volume, as large as the volume is now."""
    image = Ami(
        backend,
        random_ami_id(),
        instance=instance,
        name=name,
        description=description,
        state="pending",
        root_device_type="ebs",
        root_device_name=instance.root_device_name,
        image_location=f"{backend.account_id}/{name}",
        hypervisor="xen",
        tags=tags.get("image", {}),
    )
    backend.snapshots.pop(image.ebs_snapshot.id)  # moto's, of no volume of the instance
    image.snapshots = {
        device: _snapshot_of(backend, block.volume_id, image, tags.get("snapshot", {}))
        for device, block in instance.block_device_mapping.items()
    }
    image.ebs_snapshot = image.snapshots[image.root_device_name]
    backend.amis[image.id] = image
    return image


def _snapshot_of(backend: Any, volume_id: str, image: Ami, tags: dict[str, str]) -> Snapshot:
    snapshot = backend.create_snapshot(volume_id, f"Created by CreateImage({image.instance_id}) for {image.id}", from_ami=image.id)
    size = snapshot.volume.size
    snapshot.volume = copy.copy(snapshot.volume)
    snapshot.volume.modifications, snapshot.volume.size = [], size
    snapshot.status, snapshot.progress = "pending", "0%"
    snapshot.add_tags(tags)
    return snapshot


def _done(cloud: Cloud, image: Ami, problem: Exception | None) -> None:
    """Tell what became of an image. Called under the cloud's lock."""
    image.state = "failed" if problem else "available"
    if problem:
        code = getattr(problem, "code", "") or "Client.InternalError"
        image.state_reason = StateReason(f"{code}: {problem}", code)
    for snapshot in image.snapshots.values():
        snapshot.status, snapshot.progress = ("error", "0%") if problem else ("completed", "100%")
    if image.ebs_snapshot.id not in image.ec2_backend.snapshots:  # deleted while it was pending
        cloud.forget(image.ebs_snapshot.id)


def _delete(cloud: Cloud) -> None:
    """Delete a snapshot's disk with it, and an image's snapshots with the image where that is asked for."""
    original, deregister = EBSBackend.delete_snapshot, AmisResponse.deregister_image

    def delete_snapshot(self: Any, snapshot_id: str) -> Any:
        snapshot = original(self, snapshot_id)
        cloud.forget(snapshot_id)
        return snapshot

    def deregister_image(self: Any) -> Any:
        image = self.ec2_backend.amis.get(self._get_param("ImageId"))
        answer = deregister(self)
        if self._get_param("DeleteAssociatedSnapshots", False):
            for snapshot in getattr(image, "snapshots", {}).values():
                self.ec2_backend.delete_snapshot(snapshot.id)
        return answer

    EBSBackend.delete_snapshot = delete_snapshot
    AmisResponse.deregister_image = deregister_image


def _filters() -> None:
    """Let images be found by all that an image here has, and snapshots by their owner."""
    of_image, snapshots = Ami.get_filter_value, ElasticBlockStore.describe_snapshots

    def get_filter_value(self: Any, filter_name: str, method_name: str | None = None) -> Any:
        if filter_name == "block-device-mapping.snapshot-id":
            return [mapping["Ebs"]["SnapshotId"] for mapping in self.block_device_mappings]
        return getattr(self, FILTERS[filter_name]) if filter_name in FILTERS else of_image(self, filter_name, method_name)

    def describe_snapshots(self: Any) -> Any:
        answer = snapshots(self)
        owners = {self.current_account if owner == "self" else owner for owner in self._get_param("OwnerIds", [])}
        if owners:
            answer.result["Snapshots"] = [one for one in answer.result["Snapshots"] if one.owner_id in owners]
        return answer

    Ami.get_filter_value = get_filter_value
    ElasticBlockStore.describe_snapshots = describe_snapshots
    Snapshot.progress = "100%"


def _unsupported(self: Any) -> Any:
    """Have the application say that there is no such action: moto's would make an image without a disk."""
    raise NotImplementedError
