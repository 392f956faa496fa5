"""Reads that are behind or come in small pages, as a fault says.

https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html: a just-launched instance may be missing from a list and be
InvalidInstanceID.NotFound by its id, which does not mean that it does not exist.
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html#api-pagination: a short page need not be the last.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.responses.instances import InstanceResponse

from rehearsal import ACCOUNT

from .faults import at_most

WHOLE = 1000  # the largest page of DescribeInstances, and the one that is given without asking; moto's has 100


def install() -> None:
    """Let a fault make the pages of DescribeInstances small."""
    original = InstanceResponse.describe_instances

    def describe_instances(self: Any) -> Any:
        self.params["MaxResults"] = at_most(int(self._get_param("MaxResults", WHOLE)))
        return original(self)

    InstanceResponse.describe_instances = describe_instances


@contextmanager
def without_young(seconds: float) -> Iterator[None]:
    """Hide the instances that are younger, with their volumes, interfaces and tags. Held under the cloud's lock."""
    with ExitStack() as stack:
        if seconds:
            for backend in ec2_backends[ACCOUNT].values():
                for held, names in _young(backend, time.monotonic() - seconds):
                    stack.callback(held.update, {name: held.pop(name) for name in names if name in held})
        yield


def _young(backend: Any, since: float) -> list[tuple[dict[str, Any], list[str]]]:
    """Return moto's tables and the keys of what was launched since then."""
    reservations = [key for key, one in backend.reservations.items() if all(instance.born > since for instance in one.instances)]
    instances = [instance for key in reservations for instance in backend.reservations[key].instances]
    ids = {instance.id for instance in instances}
    volumes = [key for key, one in backend.volumes.items() if one.attachment and one.attachment.instance.id in ids]
    interfaces = [nic.id for instance in instances for nic in instance.nics.values()]
    return [
        (backend.reservations, reservations),
        (backend.volumes, volumes),
        (backend.enis, interfaces),
        (backend.tags, [*ids, *volumes, *interfaces]),
    ]
