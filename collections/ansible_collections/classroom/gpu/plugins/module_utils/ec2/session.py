"""Questions to AWS, each answered or refused in an organiser's words, and what was learnt about permissions on the way."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from urllib.parse import urlsplit

from ansible_collections.classroom.gpu.plugins.module_utils.classroom.settings import guess
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import errors as ec2_errors

try:
    import boto3
    from botocore import xform_name
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError
except ImportError:  # the module that uses this says that boto3 is missing
    boto3 = None

HOME = "us-east-1"  # a region that every account has
# Services that IAM calls otherwise than the SDK does.
IAM = {"service-quotas": "servicequotas"}
PERFORM = re.compile(r"not authorized to perform: ([a-z0-9-]+:\w+)")
DRY_RUN = "DryRunOperation"  # "would have succeeded"


class Refusal(Exception):
    """What AWS does not do, in a sentence with its mend. code: AWS's own, empty where it gave none."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class Denied(Refusal):
    """A question that these credentials may not ask."""


def named(service: str, operation: str, arguments: dict) -> str:
    """Return what tells a question from others."""
    return json.dumps([service, operation, arguments], sort_keys=True, default=str)


class Cloud:
    """AWS in one region. allowed, denied: the IAM actions that were seen to be one or the other, with what was said."""

    def __init__(self, region: str | None) -> None:
        try:
            self.session = boto3.session.Session(region_name=region)
        except BotoCoreError as error:
            raise Refusal(ec2_errors.explain(error, "AWS")) from error
        self.region = self.session.region_name
        if not self.region:
            raise Refusal("No region is set. Type `export AWS_REGION=us-west-2`, or the region of your class.")
        known = [name for part in self.session.get_available_partitions() for name in self.session.get_available_regions("ec2", part)]
        if self.region not in known:
            raise Refusal(f"{self.region} is no region of AWS.{guess(self.region, known)} Set AWS_REGION.")
        self.clients: dict[str, object] = {}
        self.making = threading.Lock()  # a session makes one client at a time
        self.allowed: set[str] = set()
        self.denied: dict[str, str] = {}
        self.begun: dict[str, Future] = {}

    def client(self, service: str):
        """Return an impatient client, because an organiser waits."""
        config = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 3, "mode": "standard"})
        with self.making:
            if service not in self.clients:
                self.clients[service] = self.session.client(service, config=config)
        return self.clients[service]

    def begin(self, questions: dict[str, tuple[str, dict]]) -> None:
        """Ask side by side, so that a run waits once: of each operation its service, and what that is told.

        Whoever asks the same later gets the answer, or the refusal, that came now.
        """
        with ThreadPoolExecutor(len(questions)) as workers:
            for operation, (service, arguments) in questions.items():
                self.begun[named(service, operation, arguments)] = workers.submit(self.put, service, operation, **arguments)

    def ask(self, service: str, operation: str, **arguments) -> dict:
        """Call an operation, all pages of it. ClientErrors named `absent` give {}. Raises Refusal, or Denied."""
        begun = self.begun.get(named(service, operation, arguments))
        return begun.result() if begun else self.put(service, operation, **arguments)

    def put(self, service: str, operation: str, **arguments) -> dict:
        """Call an operation now."""
        absent, endpoint, action = arguments.pop("absent", ()), "AWS", ""
        try:
            client = self.client(service)
            endpoint, action = client.meta.endpoint_url, f"{IAM.get(service, service)}:{client.meta.method_to_api_mapping[operation]}"
            if client.can_paginate(operation):
                answer = client.get_paginator(operation).paginate(**arguments).build_full_result()
            else:
                answer = getattr(client, operation)(**arguments)
        except (BotoCoreError, ClientError, ResponseParserError, ValueError) as error:
            if ec2_errors.code(error) not in absent:
                raise self.refusal(error, endpoint, action) from error
            answer = {}
        self.allowed.add(action)
        return answer

    def try_out(self, action: str, **arguments) -> None:
        """Have EC2 say whether it would carry an action out. Raises Refusal, or Denied, if not."""
        self.ask("ec2", xform_name(action.removeprefix("ec2:")), DryRun=True, absent=(DRY_RUN,), **arguments)

    def refusal(self, error: Exception, endpoint: str, action: str) -> Refusal:
        """Return what an error means; one of permissions is kept in mind."""
        code = ec2_errors.code(error)
        if code in ec2_errors.DENIED:
            named = PERFORM.search(str(error))  # a launch with tags may want for CreateTags alone
            denied = Denied(ec2_errors.explain(error, endpoint), code)
            self.denied[named[1] if named else action] = str(denied)
            return denied
        if code in ec2_errors.REFUSED and self.is_closed:
            return Refusal(
                f"{self.region} is a region that an account has to be opted in to, and this one's is not. Enable it in the console"
                f" (Account › AWS Regions) or type `aws account enable-region --region-name {self.region}`; it takes minutes to hours.",
                code,
            )
        return Refusal(ec2_errors.explain(error, endpoint), code)

    @cached_property
    def is_closed(self) -> bool:
        """Tell whether the account is not opted in to the region, which knows no credentials of it then.

        AuthFailure: github.com/turbot/steampipe-plugin-aws/issues/75, InvalidClientTokenId: github.com/segmentio/aws-okta/issues/225.
        """
        try:
            home = self.session.client("ec2", region_name=HOME, config=Config(connect_timeout=5, retries={"total_max_attempts": 1}))
            (found,) = home.describe_regions(AllRegions=True, RegionNames=[self.region])["Regions"]
        except (BotoCoreError, ClientError, ResponseParserError, ValueError):
            return False
        return found["OptInStatus"] == "not-opted-in"

    def name(self) -> str:
        """`AWS`, or the address of what stands in for it."""
        endpoint = self.client("ec2").meta.endpoint_url
        return "AWS" if (urlsplit(endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")) else endpoint
