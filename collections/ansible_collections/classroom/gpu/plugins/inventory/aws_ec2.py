"""The EC2 inventory of amazon.aws for one class, quiet where no cloud can be asked."""

from __future__ import annotations

from ansible import context
from ansible.errors import AnsibleError
from ansible_collections.amazon.aws.plugins.inventory import aws_ec2
from ansible_collections.amazon.aws.plugins.inventory.aws_ec2 import DOCUMENTATION
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import instances
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import ownership
from ansible_collections.classroom.gpu.plugins.plugin_utils import guard
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

__all__ = ["DOCUMENTATION", "InventoryModule"]  # its options are the parent's, and Ansible reads them from this name


class InventoryModule(aws_ec2.InventoryModule):
    """As amazon.aws.aws_ec2, for the class that CLASSROOM names and one region, which all hosts learn as `classroom_region`."""

    NAME = "classroom.gpu.aws_ec2"

    def parse(self, inventory, loader, path, cache=True) -> None:
        """Add the seats; where EC2 does not answer, say so in one line and add none: the pre-flight check explains and stops."""
        # Here, too, as Ansible ends a run whose --limit matches no host before it asks a callback.
        arguments = context.CLIARGS.get("args")
        for playbook in arguments if isinstance(arguments, tuple) else ():
            guard.check(playbook, loader)
        try:
            super().parse(inventory, loader, path, cache=cache)
        except (AnsibleError, BotoCoreError, ClientError, ResponseParserError) as error:
            first_line = str(error).strip().splitlines()[0]
            self.display.display(f"No seats in the inventory: {first_line}", stderr=True)

    def build_include_filters(self) -> list[dict]:
        """The seats of the class that there are. (A `filters` option with a template makes the parent print a deprecation on each run.)"""
        return [{"tag:classroom:name": guard.classroom(), "tag-key": "classroom:seat", "instance-state-name": list(instances.ALIVE)}]

    def _query(self, *asked) -> dict[str, list[dict]]:
        """The seats that run, but for those whose machine a person has to name first: of two for one seat neither is a host."""
        found, classroom = super()._query(*asked)["aws_ec2"], guard.classroom()
        folders = map(str, guard.classes().glob(f"*-{self.region}/{classroom}"))
        held = ownership.held(ownership.claims_of(found, classroom, *folders), classroom, self.region)
        for one in held.values():
            self.display.display(f"Not in the inventory: {one.message.splitlines()[0]}", stderr=True)
        seats = [one for one in found if instances.tags(one)["classroom:seat"] not in held]
        return {"aws_ec2": [one for one in seats if one["State"]["Name"] == "running"]}

    def client(self, *args, **kwargs):
        """A client that gives up within seconds: this runs before anything is shown to the organiser."""
        patience = {"connect_timeout": 3, "read_timeout": 20, "retries": {"max_attempts": 2}}
        return super().client(*args, aws_config=patience, **kwargs)

    def _boto3_regions(self, service: str) -> list[str]:
        """The region of the SDK's environment (the parent would ask every region of the world), told to every host."""
        if not self.region:
            raise AnsibleError("no region is set; type `export AWS_REGION=us-west-2`, or the region of your class.")
        self.inventory.set_variable("all", "classroom_region", self.region)
        return [self.region]
