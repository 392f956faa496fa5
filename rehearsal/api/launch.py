"""The one way to launch: RunInstances, fleets, Auto Scaling and templates all pass moto's run_instances, and so this hook."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from moto.ec2.models.instances import InstanceBackend

from rehearsal import REGION

from . import volumes

if TYPE_CHECKING:
    from .cloud import Cloud

METADATA_TAG = re.compile(r"[0-9a-zA-Z\-_+=,.@:]{1,255}")  # EC2's words


def install(cloud: Cloud) -> None:
    """Check a launch as EC2 does, place it, and give each new instance its host."""
    original = InstanceBackend.run_instances
    by_token: dict[str, Any] = {}

    def run_instances(self: Any, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any) -> Any:
        token = kwargs.get("client_token")
        if token in by_token:
            return by_token[token]
        before = set(self.reservations)
        try:
            prepare(self, image_id, kwargs)
            reservation = original(self, image_id, count, user_data, security_group_names, **kwargs)
        except Exception:
            for leftover in set(self.reservations) - before:
                self.reservations.pop(leftover)
            raise
        if token and token != "ABCDE":  # moto's filler for a request without one
            by_token[token] = reservation
        for instance in reservation.instances:
            cloud.launch(instance)
        return reservation

    InstanceBackend.run_instances = run_instances


def prepare(backend: Any, image_id: str | None, kwargs: dict[str, Any]) -> None:
    """Check type and image, choose a subnet, complete the block devices; changes kwargs.

    Raises:
        EC2ClientError: what EC2 answers to a launch that cannot be.
    """
    template = backend._get_template_from_args(kwargs["launch_template"]).data if kwargs.get("launch_template") else {}
    instance_type = template.get("InstanceType") if kwargs.get("is_instance_type_default") and template else kwargs["instance_type"]
    _check_type(backend.region_name, instance_type)
    _check_tags(kwargs)
    _check_key(backend, kwargs.get("key_name") or template.get("KeyName"))
    image_id = image_id or template.get("ImageId")
    if not image_id:
        raise EC2ClientError("MissingParameter", "The request must contain the parameter ImageId")
    if backend.region_name != REGION:
        # One bridge holds one default VPC; every region's has the same addresses.
        raise EC2ClientError("UnsupportedOperation", f"The rehearsal has hosts in {REGION} only, not in {backend.region_name}.")
    image = backend.describe_images(ami_ids=[image_id])[0]
    requested = kwargs.get("block_device_mappings") or template.get("BlockDeviceMappings") or _of_launch_config(kwargs)
    kwargs["block_device_mappings"] = volumes.mappings(image, requested)
    if not kwargs.get("subnet_id") and not any(nic.get("SubnetId") or nic.get("NetworkInterfaceId") for nic in kwargs.get("nics") or []):
        kwargs["subnet_id"] = _default_subnet(backend, kwargs.get("placement"))


def _check_type(region: str, instance_type: str) -> None:
    if not any(offering["InstanceType"] == instance_type for offering in INSTANCE_TYPE_OFFERINGS["region"].get(region, [])):
        raise EC2ClientError("InvalidParameterValue", f"Invalid value '{instance_type}' for InstanceType.")


def _check_tags(kwargs: dict[str, Any]) -> None:
    """Refuse tag keys that could not be part of a metadata path, where tags are to be read there."""
    if (kwargs.get("metadata_options") or {}).get("InstanceMetadataTags") != "enabled":
        return
    for key in (kwargs.get("tags") or {}).get("instance", {}):
        if not METADATA_TAG.fullmatch(key):
            raise EC2ClientError(
                "InvalidParameterValue", f"'{key}' is not a valid tag key. Tag keys must match pattern ({METADATA_TAG.pattern})"
            )


def _check_key(backend: Any, key_name: str | None) -> None:
    if key_name and key_name not in backend.key_pairs:
        raise EC2ClientError("InvalidKeyPair.NotFound", f"The key pair '{key_name}' does not exist")


def _default_subnet(backend: Any, zone: str | None) -> str:
    """Return the default subnet of a zone or of the first; moto would place the instance in EC2-Classic."""
    subnets = backend.get_default_subnets()
    if not subnets:
        raise EC2ClientError("MissingInput", "No subnets found for the default VPC. Please specify a subnet.")
    return subnets[zone].id if zone in subnets else min(subnets.values(), key=lambda subnet: subnet.availability_zone).id


def _of_launch_config(kwargs: dict[str, Any]) -> list[dict[str, Any]]:
    return kwargs["launch_config"].block_device_mapping_dict if kwargs.get("launch_config") else []
