"""Volumes of an instance as EC2 makes them: the image's root device always, at least as large as its snapshot."""

from __future__ import annotations

from typing import Any

from moto.ec2.exceptions import EC2ClientError, MissingParameterError
from moto.ec2.models import elastic_block_store as ebs
from moto.ec2.responses.instances import InstanceResponse

GP3_THROUGHPUT = 125  # MiB/s, the default of gp3


def mappings(image: Any, requested: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Complete a request's block devices with the image's root device.

    Args:
        image: moto's image.
        requested: mappings as the request or a launch template gives them.

    Raises:
        EC2ClientError: a root volume smaller than its snapshot; MissingParameter for another volume without size and snapshot.
    """
    named = {mapping["DeviceName"]: mapping for mapping in requested}
    root = named.pop(image.root_device_name, {"DeviceName": image.root_device_name, "Ebs": {}})
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
    ebs.VolumeAttachment.delete_on_termination = property(_delete_on_termination)
    InstanceResponse._validate_block_device_mapping = staticmethod(lambda mapping: None)
    InstanceResponse._parse_block_device_mapping = lambda self: self._get_param("BlockDeviceMappings", [])


def _delete_on_termination(attachment: Any) -> bool:
    """moto keeps this on the instance's side alone; EC2 tells it with the volume too, and ec2_vol_info asks there."""
    device = attachment.instance.block_device_mapping.get(attachment.device)
    return bool(device and device.delete_on_termination)
