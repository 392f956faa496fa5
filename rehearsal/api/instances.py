"""moto's instance, with states that tell the truth about its host."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import instances as moto_instances
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance, InstanceState, StateReason

if TYPE_CHECKING:
    from .cloud import Cloud

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
BY_CALLER = StateReason("Client.UserInitiatedShutdown: User initiated shutdown", "Client.UserInitiatedShutdown")
BY_GUEST = StateReason("Client.InstanceInitiatedShutdown: Instance initiated shutdown", "Client.InstanceInitiatedShutdown")
# What EC2 refuses with IncorrectInstanceState.
REFUSED = {
    "start": ("pending", "stopping", "shutting-down", "terminated"),
    "stop": ("pending", "shutting-down", "terminated"),
    "reboot": ("pending", "stopping", "stopped", "shutting-down", "terminated"),
}
STATUS = {True: ("ok", "passed"), False: ("initializing", "initializing")}


def failure(problem: Exception) -> StateReason:
    """Return EC2's reason for an instance that its host could not carry: an internal error, unless a fault says another."""
    code = getattr(problem, "code", "") or "Server.InternalError"
    return StateReason(f"{code}: {problem}", code)


class HostedInstance(Instance):
    """An instance whose state changes when its host has changed, not when the caller asks.

    `cloud` is set by `install`; every method that changes a state runs under the cloud's lock.
    """

    cloud: Cloud

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.born = time.monotonic()
        self.become("pending")

    def become(self, state: str, reason: StateReason | None = None) -> None:
        """Enter a state; the object is replaced whole, so that nobody reads half of it."""
        self._state = InstanceState(state, CODES[state])
        self.state_reason = reason or StateReason()
        self._reason = f"User initiated ({utcnow():%Y-%m-%d %H:%M:%S} GMT)" if reason is BY_CALLER else ""

    @property
    def instance_id(self) -> str:
        """The field's name: moto finds `id` by itself only on a class that is called Instance."""
        return self.id

    # moto keeps an instance's groups twice, on the instance and on its interface, and changes only one of them.
    @property
    def security_groups(self) -> list[Any]:
        nics = getattr(self, "nics", None)
        return list(nics[0]._group_set) if nics else self._requested_groups

    @security_groups.setter
    def security_groups(self, groups: list[Any]) -> None:
        if getattr(self, "nics", None):
            self.nics[0]._group_set = list(groups)
        else:
            self._requested_groups = list(groups)

    def prep_nics(self, nic_spec: list[dict[str, Any]], *args: Any, **kwargs: Any) -> None:
        """Delete interfaces made at launch with their instance: EC2's default, where moto leaves them behind."""
        kept = {
            int(nic.get("DeviceIndex", 0)) for nic in nic_spec if nic.get("NetworkInterfaceId") or nic.get("DeleteOnTermination") is False
        }
        super().prep_nics(nic_spec, *args, **kwargs)
        for index, nic in self.nics.items():
            nic.delete_on_termination = index not in kept

    @property
    def instance_status(self) -> dict[str, Any]:
        return self._check(self.cloud.answered(self.id))

    @property
    def system_status(self) -> dict[str, Any]:
        return self._check(True)

    def _check(self, passed: bool) -> dict[str, Any]:
        if self.state != "running":
            return {"Status": "not-applicable"}
        status, detail = STATUS[passed]
        return {"Status": status, "Details": [{"Name": "reachability", "Status": detail}]}

    def start(self) -> InstanceState:
        previous = copy.copy(self._state)
        if previous.name == "stopped":
            for nic in self.nics.values():
                nic.start()
            self.launch_time = utcnow()
            self.become("pending")
            self.cloud.start(self)
        return previous

    def stop(self, reason: StateReason = BY_CALLER) -> InstanceState:
        previous = copy.copy(self._state)
        if previous.name == "running":
            for nic in self.nics.values():
                nic.stop()
            self.become("stopping", reason)
            self.cloud.stop(self)
        return previous

    def reboot(self) -> None:
        self.cloud.reboot(self)

    def terminate(self, reason: StateReason = BY_CALLER) -> InstanceState:
        previous = copy.copy(self._state)
        if previous.name not in ("shutting-down", "terminated"):
            for nic in self.nics.values():
                nic.stop()
            self.become("shutting-down", reason)
            self.cloud.terminate(self)
        return previous

    def gone(self, reason: StateReason) -> None:
        """Give back volumes, interfaces and addresses: only now, when the host is gone, may another have them."""
        super().terminate()
        self.become("terminated", reason)


def check_states(backend: Any, verb: str, instance_ids: list[str]) -> None:
    """Refuse as EC2 does, before any of the instances is touched.

    Raises:
        EC2ClientError: IncorrectInstanceState.
    """
    for instance in backend.get_multi_instances_by_id(instance_ids):
        if instance.state in REFUSED[verb]:
            past = {"start": "started", "stop": "stopped", "reboot": "rebooted"}[verb]
            raise EC2ClientError("IncorrectInstanceState", f"The instance '{instance.id}' is not in a state from which it can be {past}.")


def install(cloud: Cloud) -> None:
    """Make moto build hosted instances, and check states and limits before it changes them."""
    HostedInstance.cloud = cloud
    moto_instances.Instance = HostedInstance
    for verb in REFUSED:
        _check_first(cloud, verb)
    _check_type()


def _check_first(cloud: Cloud, verb: str) -> None:
    name = f"{verb}_instances"
    original = getattr(moto_instances.InstanceBackend, name)

    def checked(self: Any, instance_ids: list[str]) -> Any:
        check_states(self, verb, instance_ids)
        if verb == "start":
            stopped = [one for one in self.get_multi_instances_by_id(instance_ids) if one.state == "stopped"]
            cloud.limits.check_start(self, stopped)
        return original(self, instance_ids)

    setattr(moto_instances.InstanceBackend, name, checked)


def _check_type() -> None:
    """Let a type change while the instance is stopped alone, and to a type that there is.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyInstanceAttribute.html: "you must stop the instance to modify" it.
    """
    original = moto_instances.InstanceBackend.modify_instance_attribute

    def modify_instance_attribute(self: Any, instance_id: str, key: str, value: Any) -> Any:
        if key == "instance_type" and self.get_instance(instance_id).state != "stopped":
            raise EC2ClientError("IncorrectInstanceState", f"The instance '{instance_id}' is not in the 'stopped' state.")
        if key == "instance_type" and value not in INSTANCE_TYPES:
            raise EC2ClientError("InvalidInstanceAttributeValue", f"Invalid value '{value}' for InstanceType.")
        return original(self, instance_id, key, value)

    moto_instances.InstanceBackend.modify_instance_attribute = modify_instance_attribute
