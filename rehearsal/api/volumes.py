"""Volumes of an instance as EC2 makes them: the image's root device always, at least as large as its snapshot."""

from __future__ import annotations

from typing import Any

from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError, InvalidParameterValueError, MissingParameterError
from moto.ec2.models import elastic_block_store as ebs
from moto.ec2.responses.instances import InstanceResponse

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVolume.html: four modifications in a rolling 24 hours, each when the one
# before is completed. https://docs.aws.amazon.com/ebs/latest/userguide/monitoring-volume-modifications.html: a new size counts from
# `optimizing` on. These seconds are the rehearsal's; on EC2 the first takes seconds to minutes, the second up to a day for a full disk.
MODIFICATIONS, WINDOW = 4, 24 * 3600
MODIFYING, OPTIMIZING = 0.5, 3.0
GP3_THROUGHPUT = 125  # MiB/s, the default of gp3


def mappings(image: Any, requested: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Complete a request's block devices with those of the image.

    Args:
        image: moto's image.
        requested: mappings as the request or a launch template gives them.

    Raises:
        EC2ClientError: a root volume smaller than its snapshot; MissingParameter for another volume without size and snapshot.
    """
    named = {mapping["DeviceName"]: mapping for mapping in [*image.block_device_mappings, *requested]}
    root = next((one for one in requested if one["DeviceName"] == image.root_device_name), {"DeviceName": image.root_device_name})
    named.pop(image.root_device_name)
    return [_root(image, root), *(_other(mapping) for mapping in named.values())]


def _root(image: Any, mapping: dict[str, Any]) -> dict[str, Any]:
    snapshot = image.ebs_snapshot
    given = {key: value for key, value in mapping.get("Ebs", {}).items() if value is not None}
    size = int(given.get("VolumeSize") or snapshot.volume.size)
    if size < snapshot.volume.size:
        raise EC2ClientError(
            "InvalidBlockDeviceMapping",
            f"Volume of size {size}GB is smaller than snapshot '{snapshot.id}', expect size >= {snapshot.volume.size}GB",
        )
    default = {"DeleteOnTermination": True, "VolumeType": "gp3", "SnapshotId": snapshot.id}
    return {**mapping, "Ebs": {**default, **given, "VolumeSize": size}}


def _other(mapping: dict[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in mapping.get("Ebs", {}).items() if value is not None}
    if mapping.get("NoDevice") is None and not given.get("VolumeSize") and not given.get("SnapshotId"):
        raise MissingParameterError("size or snapshotId")
    return {**mapping, "Ebs": given}


def install() -> None:
    """Give volumes the fields that amazon.aws reads, and let a root mapping leave out what its image says."""
    original = ebs.Volume.__init__

    def complete(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        # ec2_vol_info and ec2_vol fail on a volume without these; EC2 always sends them.
        self.snapshot_id = self.snapshot_id or ""
        self.multi_attach_enabled = bool(self.multi_attach_enabled)
        if self.volume_type == "gp3":
            self.throughput = self.throughput or GP3_THROUGHPUT

    ebs.Volume.__init__ = complete
    _modifications()
    ebs.VolumeAttachment.delete_on_termination = property(_delete_on_termination)
    InstanceResponse._validate_block_device_mapping = staticmethod(lambda mapping: None)
    InstanceResponse._parse_block_device_mapping = lambda self: self._get_param("BlockDeviceMappings", [])


def _delete_on_termination(attachment: Any) -> bool:
    """moto keeps this on the instance's side alone; EC2 tells it with the volume too, and ec2_vol_info asks there."""
    device = attachment.instance.block_device_mapping.get(attachment.device)
    return bool(device and device.delete_on_termination)


def _modifications() -> None:
    """moto completes a modification at once, whatever it is: here it takes its time, and is refused where EC2 refuses it."""
    original = ebs.Volume.modify

    def modify(self: Any, **target: Any) -> None:
        check_modification(self, target.get("target_size"))
        original(self, **target)

    def latest(self: Any, volume_ids: list[str] | None = None, filters: Any = None) -> list[Any]:
        found = [volume.modifications[-1:] for volume in self.describe_volumes(volume_ids)]
        for asked, modifications in zip(volume_ids or (), found, strict=False):
            if not modifications:  # github.com/awslabs/aws-sdk-rust/issues/1346
                raise EC2ClientError("InvalidVolumeModification.NotFound", f"Modification for volume '{asked}' does not exist.")
        listed = [one for modifications in found for one in modifications]
        return ebs.generic_filter(filters, listed) if filters else listed

    ebs.Volume.modify = modify
    ebs.Volume.size = property(_size, lambda self, size: setattr(self, "_size", int(size)))
    ebs.VolumeModification.modification_state = property(_modification_state)
    ebs.VolumeModification.progress = property(lambda self: 100 if self.modification_state == "completed" else 0)
    ebs.EBSBackend.describe_volumes_modifications = latest


def check_modification(volume: Any, size: int | None) -> None:
    """Refuse a modification as EC2 does.

    Raises:
        EC2ClientError: smaller (github.com/aws/aws-cli/issues/4216), too early, or too often (github.com/sodafoundation/strato/issues/1094,
            from when it was once in six hours).
    """
    if size and int(size) < volume.size:
        raise InvalidParameterValueError("New size cannot be smaller than existing size")
    state = volume.modifications[-1].modification_state if volume.modifications else "completed"
    if state != "completed":
        raise EC2ClientError("IncorrectModificationState", f"Cannot modify volume {volume.id} in modification state {state.upper()}")
    if sum(_age(one) < WINDOW for one in volume.modifications) >= MODIFICATIONS:
        raise EC2ClientError("VolumeModificationRateExceeded", "You've reached the maximum modification rate per volume limit.")


def _age(modification: Any) -> float:
    return (utcnow() - modification.start_time).total_seconds()


def _modification_state(modification: Any) -> str:
    age = _age(modification)
    return "modifying" if age < MODIFYING else "optimizing" if age < MODIFYING + OPTIMIZING else "completed"


def _size(volume: Any) -> int:
    last = volume.modifications[-1] if getattr(volume, "modifications", None) else None
    return last.original_size if last and hasattr(last, "original_size") and last.modification_state == "modifying" else volume._size
