"""How local modules call EC2: again where no answer came; by the SDK's own retries, or without them where machines may lack.

ANSWERED are the errors that EC2 itself told, ERRORS all of a call.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import launch

try:
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    ANSWERED, ERRORS = (ClientError,), (BotoCoreError, ClientError, ResponseParserError)
except ImportError:
    ANSWERED = ERRORS = ()  # AnsibleAWSModule says that it is missing

# https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html: the bucket of RunInstances, and that of StartInstances, and what
# they gain a second.
BURST = 5
RATE = 2.0
TRIES = 8  # of one call, with pauses that double from BACKOFF seconds on, so that EC2 may be away for a minute
BACKOFF = 0.5
PATIENT = {"retries": {"mode": "standard", "total_max_attempts": TRIES}, "connect_timeout": 5, "read_timeout": 60}
POLL = 5.0  # seconds between two looks at machines that change their state
PAUSE = 30.0  # seconds until pools that were empty are asked again


class Pace:
    """Lets calls pass at the rate of EC2's bucket."""

    def __init__(self) -> None:
        self.lock, self.next = threading.Lock(), 0.0

    def wait(self) -> None:
        """Return when it is the caller's turn."""
        with self.lock:
            now = time.monotonic()
            self.next = max(self.next, now - BURST / RATE) + 1 / RATE
            turn = self.next - now
        time.sleep(max(0.0, turn))


def persist(call: Callable[[], dict]) -> dict:
    """Make a call until EC2 answers it."""
    for attempt in range(TRIES):
        try:
            return call()
        except ERRORS as error:
            if attempt == TRIES - 1 or not launch.is_unanswered(error):
                raise
        time.sleep(BACKOFF * 2**attempt * random.uniform(0.5, 1))


def patient(module):
    """Return a client of EC2 for an AnsibleAWSModule that needs no machine to be free, so that the SDK's own retries serve it."""
    return module.client("ec2", aws_config=PATIENT)


def client(module):
    """Return a client of EC2 for an AnsibleAWSModule that launches or starts.

    The SDK itself would ask an empty pool again, since EC2 answers with HTTP 500.
    """
    once = {"retries": {"total_max_attempts": 1}, "max_pool_connections": BURST, "connect_timeout": 5, "read_timeout": 60}
    return module.client("ec2", aws_config=once)


def listed(ec2, operation: str, filters: list[dict]) -> list[dict]:
    """Return everything that an operation lists, machines by themselves."""
    return items(persist(ec2.get_paginator(operation).paginate(Filters=filters).build_full_result))


def items(answer: dict) -> list[dict]:
    """Return what the answer of an operation lists, machines without their reservations."""
    reservations = answer.get("Reservations", [])
    found = [one for key in ("Volumes", "NetworkInterfaces") for one in answer.get(key, [])]
    return [machine for reservation in reservations for machine in reservation["Instances"]] + found


def machines_of(ec2, classroom: str) -> list[dict]:
    """Return every machine of a class that EC2 knows, ended ones as well."""
    return listed(ec2, "describe_instances", [{"Name": "tag:classroom:name", "Values": [classroom]}])
