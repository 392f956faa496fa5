"""The one way to launch: RunInstances, fleets, Auto Scaling and templates all pass moto's run_instances, and so this hook."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.responses.instances import InstanceResponse

from rehearsal import REGION

from . import images, volumes
from .capacity import check_zone, zones_of

if TYPE_CHECKING:
    from .cloud import Cloud

METADATA_TAG = re.compile(r"[0-9a-zA-Z\-_+=,.@:]{1,255}")  # EC2's words
# The MinCount of the request that is being answered, which moto does not hand on; without one a launch is all or nothing.
least: ContextVar[int | None] = ContextVar("least", default=None)


def install(cloud: Cloud) -> None:
    """Check a launch as EC2 does, place it, admit what there is room for, and give each new instance its host."""
    original = InstanceBackend.run_instances

    def run_instances(self: Any, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any) -> Any:
        before = set(self.reservations)
        try:
            instance_type, chosen = prepare(self, image_id, kwargs)
            zone = _place(self, cloud, instance_type, chosen, kwargs)
            spot = bool(kwargs.get("instance_market_options"))
            admitted = cloud.limits.admitted(self, instance_type, zone, least.get() or count, count, spot, chosen is not None)
            reservation = original(self, image_id, admitted, user_data, security_group_names, **kwargs)
        except Exception:
            for leftover in set(self.reservations) - before:
                self.reservations.pop(leftover)
            raise
        for instance in reservation.instances:
            for nic in instance.nics.values():  # moto tags instance and volumes only
                nic.add_tags((kwargs.get("tags") or {}).get("network-interface", {}))
            cloud.launch(instance)
        return reservation

    InstanceBackend.run_instances = run_instances
    _answer_requests(cloud)


def _answer_requests(cloud: Cloud) -> None:
    """Heed MinCount, ClientToken and DisableApiTermination of a request, which moto drops, and report the state that is."""
    original = InstanceResponse.run_instances
    # moto writes `pending` over the state, also over that of an instance launched long ago with the same token.
    EC2BaseResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER.pop("RunInstances.Reservation.Instances.Instance.State")

    def run_instances(self: Any) -> Any:
        request = dict(self.params)
        token, dry_run = request.pop("ClientToken", ""), self._get_param("DryRun", False)
        about = {"nics": self._get_param("NetworkInterfaces", []), "subnet_id": self._get_param("SubnetId")}
        zone = _zone(self.ec2_backend, about | {"placement": self._get_param("Placement.AvailabilityZone")}) or ""

        def launch() -> Any:
            before = least.set(int(request.get("MinCount", 1)))
            self.params["MinCount"] = request.get("MaxCount", 1)  # what moto launches
            try:
                reservation = original(self).result
            finally:
                least.reset(before)
            for instance in reservation.instances:
                instance.disable_api_termination = bool(self._get_param("DisableApiTermination", False))
            return reservation

        return ActionResult(cloud.limits.tokens.launch((self.region, zone, "" if dry_run else token), request, launch))

    InstanceResponse.run_instances = run_instances


def prepare(backend: Any, image_id: str | None, kwargs: dict[str, Any]) -> tuple[str, str | None]:
    """Check type and image, complete the block devices; changes kwargs. Returns the type, and the zone if the request names one.

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
    image = images.launchable(backend, image_id)
    requested = kwargs.get("block_device_mappings") or template.get("BlockDeviceMappings") or _of_launch_config(kwargs)
    kwargs["block_device_mappings"] = volumes.mappings(image, requested)
    return instance_type, _zone(backend, kwargs)


def _zone(backend: Any, kwargs: dict[str, Any]) -> str | None:
    """Return the zone of the subnet, the interface or the placement that a request names."""
    nic = next(iter(kwargs.get("nics") or []), {})
    if nic.get("NetworkInterfaceId"):
        return backend.get_network_interface(nic["NetworkInterfaceId"]).subnet.availability_zone
    subnet_id = kwargs.get("subnet_id") or nic.get("SubnetId")
    return backend.get_subnet(subnet_id).availability_zone if subnet_id else kwargs.get("placement")


def _place(backend: Any, cloud: Cloud, instance_type: str, chosen: str | None, kwargs: dict[str, Any]) -> str:
    """Return the zone of a launch; without a subnet it gets a default one (moto would place it in EC2-Classic). Changes kwargs."""
    if chosen:
        check_zone(backend.region_name, instance_type, chosen)
    named = kwargs.get("subnet_id") or any(nic.get("SubnetId") or nic.get("NetworkInterfaceId") for nic in kwargs.get("nics") or [])
    if named:
        return chosen
    offering = zones_of(backend.region_name, instance_type)
    subnets = {zone: subnet for zone, subnet in backend.get_default_subnets().items() if zone in offering}
    if not subnets or chosen not in (None, *subnets):
        raise EC2ClientError("MissingInput", "No subnets found for the default VPC. Please specify a subnet.")
    zone = chosen or cloud.limits.capacity.best_zone(backend, instance_type, subnets)
    kwargs["subnet_id"] = subnets[zone].id
    return zone


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


def _of_launch_config(kwargs: dict[str, Any]) -> list[dict[str, Any]]:
    return kwargs["launch_config"].block_device_mapping_dict if kwargs.get("launch_config") else []
