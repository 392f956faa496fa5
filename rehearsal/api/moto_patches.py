"""moto's remaining differences to EC2 that a class would notice, each mended in one place."""

from __future__ import annotations

import ipaddress
from functools import cache
from typing import Any

from moto import backends
from moto.ec2.exceptions import DefaultVpcAlreadyExists, DependencyViolationError, EC2ClientError, InvalidSecurityGroupNotFoundError
from moto.ec2.models import elastic_ip_addresses, elastic_network_interfaces
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.models.subnets import SubnetBackend
from moto.ec2.models.vpcs import VPCBackend
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix
from moto.iam import models as iam
from moto.utilities.utils import DEFAULT_PARTITION

from .addresses import Addresses

ZONES_AT_MOST = 8


def install(cidr: str) -> None:
    """Mend moto in this process. cidr: the network of the default VPC, which is the hosts' bridge."""
    addresses = Addresses()
    # moto's public addresses belong to others, its elastic ones to loopback.
    elastic_network_interfaces.random_public_ip = addresses.draw
    elastic_ip_addresses.random_ip = addresses.draw
    _default_vpc(cidr)
    _groups_in_use()
    _interface_groups()
    _shutdown_behaviour()
    _tags_of_one()
    _looked_up_once()
    for name, key in (("start", "StartingInstances"), ("stop", "StoppingInstances"), ("terminate", "TerminatingInstances")):
        _current_state(f"{name}_instances", key)


def _looked_up_once() -> None:
    """moto lists its own folders twice a request, and makes IAM with a thousand policies for six partitions: here there is one."""
    backends.list_of_moto_modules = cache(lambda found=backends.list_of_moto_modules: tuple(found()))
    iam.PARTITION_NAMES = [DEFAULT_PARTITION]


def _default_vpc(cidr: str) -> None:
    """moto's default VPC is 172.31.0.0/16 in a literal, with /20 subnets whatever its size."""

    def create_default_vpc(self: Any) -> Any:
        if self.describe_vpcs(filters={"is-default": ["true"]}):
            raise DefaultVpcAlreadyExists
        vpc = self.create_vpc(cidr_block=cidr, is_default=True)
        for zone in self.describe_availability_zones():
            self.create_default_subnet(zone.name)
        return vpc

    def create_default_subnet(self: Any, availability_zone: str) -> Any:
        network = ipaddress.ip_network(self.get_default_vpc().cidr_block)
        blocks = list(network.subnets(new_prefix=max(20, network.prefixlen + ZONES_AT_MOST.bit_length() - 1)))
        block = blocks[len(self.get_default_subnets())]
        return self.create_subnet(vpc_id=self.get_default_vpc().id, cidr_block=str(block), availability_zone=availability_zone)

    VPCBackend.create_default_vpc = create_default_vpc
    SubnetBackend.create_default_subnet = create_default_subnet


def _groups_in_use() -> None:
    """moto deletes a group that is in use; EC2 answers DependencyViolation."""
    original = SecurityGroupBackend.delete_security_group

    def delete_security_group(self: Any, name: str | None = None, group_id: str | None = None) -> None:
        group = self.get_security_group_by_name_or_id(group_id or name)
        if group and (_has_interfaces(self, group) or _is_referred_to(self, group)):
            raise DependencyViolationError(f"resource {group.id} has a dependent object")
        if group and group.is_default:
            raise EC2ClientError("CannotDelete", f'the specified group: "{group.id}" name: "default" cannot be deleted by a user')
        original(self, name, group_id)

    SecurityGroupBackend.delete_security_group = delete_security_group


def _has_interfaces(backend: Any, group: Any) -> bool:
    return any(group in eni.group_set for eni in backend.enis.values())


def _is_referred_to(backend: Any, group: Any) -> bool:
    others = (other for groups in backend.groups.values() for other in groups.values() if other is not group)
    return any(rule.source_group.get("GroupId") == group.id for other in others for rule in other.ingress_rules + other.egress_rules)


def _interface_groups() -> None:
    """moto mixes the instance's groups into every interface; here each interface has its own, the first one the instance's."""
    NetworkInterface.group_set = property(lambda self: self._group_set)

    def modify_instance_security_groups(self: Any, instance_id: str, group_ids: list[str]) -> Any:
        groups = [self.get_security_group_from_id(group_id) for group_id in group_ids]
        if None in groups:
            raise InvalidSecurityGroupNotFoundError(group_ids[groups.index(None)])
        instance = self.get_instance(instance_id)
        instance.security_groups = groups
        return instance

    InstanceBackend.modify_instance_security_groups = modify_instance_security_groups


def _shutdown_behaviour() -> None:
    """moto ignores InstanceInitiatedShutdownBehavior.Value, and a call that it does not understand empties the groups."""
    by_value = InstanceResponse._dot_value_instance_attribute_handler
    by_groups = InstanceResponse._security_grp_instance_attribute_handler

    def with_behaviour(self: Any) -> bool:
        behaviour = self._get_param("InstanceInitiatedShutdownBehavior.Value")
        if behaviour is None:
            return by_value(self)
        self.error_on_dryrun()
        self.ec2_backend.modify_instance_attribute(self._get_param("InstanceId"), "instance_initiated_shutdown_behavior", behaviour)
        return True

    InstanceResponse._dot_value_instance_attribute_handler = with_behaviour
    InstanceResponse._security_grp_instance_attribute_handler = lambda self: bool(self._get_param("Groups")) and by_groups(self)


def _tags_of_one() -> None:
    """moto looks for what carries a tag through the tags of all there is: 500 machines take minutes to be told."""

    def get_tags(self: Any) -> list[dict[str, str]]:
        own = self.ec2_backend.tags.get(self.id, {})
        kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(self.id), "") if own else ""
        return [{"resource_id": self.id, "key": key, "value": value, "resource_type": kind} for key, value in own.items()]

    TaggedEC2Resource.get_tags = get_tags


def _current_state(name: str, key: str) -> None:
    """moto reports `stopping` for an instance that is stopped already, and so on."""
    original = getattr(InstanceResponse, name)

    def with_state(self: Any) -> Any:
        answer = original(self)
        states = {instance.id: instance.instance_state for instance in self.ec2_backend.all_instances()}
        for entry in answer.result[key]:
            entry["CurrentState"] = states[entry["InstanceId"]]
        return answer

    setattr(InstanceResponse, name, with_state)
