"""The EC2 inventory of amazon.aws, quiet where no cloud can be asked."""

from __future__ import annotations

from ansible.errors import AnsibleError
from ansible_collections.amazon.aws.plugins.inventory import aws_ec2
from botocore.exceptions import BotoCoreError, ClientError

DOCUMENTATION = aws_ec2.DOCUMENTATION.replace("name: aws_ec2", "name: classroom.gpu.aws_ec2", 1)


class InventoryModule(aws_ec2.InventoryModule):
    """As amazon.aws.aws_ec2, but one region, known to all hosts as `classroom_region`, and one line instead of a failure."""

    NAME = "classroom.gpu.aws_ec2"

    def parse(self, inventory, loader, path, cache=True) -> None:
        """Add the seats; where EC2 does not answer, say so in one line and add none: the pre-flight check explains and stops."""
        try:
            super().parse(inventory, loader, path, cache=cache)
        except (AnsibleError, BotoCoreError, ClientError) as error:
            first_line = str(error).strip().splitlines()[0]
            self.display.display(f"No seats in the inventory: {first_line}", stderr=True)

    def _set_frozen_credentials(self) -> None:
        """Called once the options are read: tell every host the region even if EC2 does not answer later."""
        if not self.region:
            raise AnsibleError("no region is set; export AWS_REGION=us-west-2, say.")
        self.inventory.set_variable("all", "classroom_region", self.region)
        super()._set_frozen_credentials()

    def _boto3_regions(self, service: str) -> list[str]:
        """The region of the SDK's environment; the parent would ask every region of the world."""
        return [self.region]

    def client(self, *args, **kwargs):
        """A client that gives up within seconds: this runs before anything is shown to the organiser."""
        patience = {"connect_timeout": 3, "read_timeout": 20, "retries": {"max_attempts": 2}}
        return super().client(*args, aws_config=patience, **kwargs)
