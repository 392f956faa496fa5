"""CreateFleet that walks its overrides: moto launches everything in the first and knows no errors.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleet.html: an instant fleet answers what was launched and, in Errors, why
each of the other overrides gave nothing or not enough; a part is a success. Spot is moto's own.
"""

from __future__ import annotations

import math
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.fleets import Fleet
from moto.ec2.responses.fleets import Fleets

from .errors import Refused
from .launch import least


def install() -> None:
    """Replace moto's choice of overrides and complete its answer."""
    original = Fleets.create_fleet
    Fleet.create_on_demand_requests = launch

    def create_fleet(self: Any) -> Any:
        answer = original(self)
        fleet = self.ec2_backend.get_fleet(answer.result["FleetId"])
        answer.result["Errors"] = getattr(fleet, "errors", []) if fleet.type == "instant" else []
        return answer

    Fleets.create_fleet = create_fleet


def launch(fleet: Any, capacity: float) -> None:
    """Launch on-demand instances for this much capacity from the overrides, the preferred first; moto's method."""
    fleet.errors = []
    prioritized = (fleet.on_demand_options or {}).get("AllocationStrategy") == "prioritized"
    specs = sorted(fleet.launch_specs, key=_priority) if prioritized else fleet.launch_specs
    for spec in specs:
        if capacity <= 0:
            return
        weight = float(spec.weighted_capacity or 1)
        try:
            reservation = _run(fleet, spec, math.ceil(capacity / weight))
        except (EC2ClientError, Refused) as problem:
            about = {"LaunchTemplateSpecification": spec.launch_template_spec, "Overrides": spec.overrides or {}}
            error = {"LaunchTemplateAndOverrides": about, "Lifecycle": "on-demand"}
            fleet.errors.append({**error, "ErrorCode": problem.code, "ErrorMessage": problem.message})
            continue
        made = [{"id": reservation.id, "instance": one, "launch_spec": spec} for one in reservation.instances]
        fleet.on_demand_instances.extend(made)
        fleet.fulfilled_capacity += weight * len(made)
        capacity -= weight * len(made)


def _priority(spec: Any) -> float:
    return float((spec.overrides or {}).get("Priority", math.inf))


def _run(fleet: Any, spec: Any, count: int) -> Any:
    """Launch as many as there is room for, one at least."""
    before = least.set(1)
    try:
        return fleet.ec2_backend.run_instances(
            image_id=spec.image_id,
            count=count,
            instance_type=spec.instance_type,
            is_instance_type_default=False,
            key_name=spec.key_name,
            security_group_names=spec.group_set,
            user_data=spec.user_data,
            placement=(spec.overrides or {}).get("AvailabilityZone"),
            monitoring_enabled=spec.monitoring,
            subnet_id=spec.subnet_id,
            fleet_id=fleet.id,
            tags=spec.tag_specifications,
        )
    finally:
        least.reset(before)
