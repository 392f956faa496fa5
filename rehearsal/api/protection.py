"""Termination protection over several zones, where moto ends what comes before the first protected instance in the list.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html: instances in the zone of a protected one stay, those in
other zones are terminated, and the request fails.
"""

from __future__ import annotations

from typing import Any

from moto.ec2.exceptions import OperationNotPermitted4
from moto.ec2.models.instances import InstanceBackend


def install() -> None:
    """Make moto's TerminateInstances heed the zones. A host that powers itself off is ended all the same, as on EC2."""
    original = InstanceBackend.terminate_instances

    def terminate_instances(self: Any, instance_ids: list[str]) -> Any:
        wanted = self.get_multi_instances_by_id(instance_ids)
        protected = [one for one in wanted if one.disable_api_termination]
        zones = {one.placement.zone for one in protected}
        free = [one.id for one in wanted if one.placement.zone not in zones]
        if not protected:
            return original(self, instance_ids)
        if free:
            original(self, free)
        raise OperationNotPermitted4(protected[0].id)

    InstanceBackend.terminate_instances = terminate_instances
