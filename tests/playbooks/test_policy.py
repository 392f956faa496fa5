"""The policy of docs/aws.md against what real runs ask of AWS: all of it is in there, nothing else is, and its conditions hold."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import iam_policy

from tests.support.organiser import CLASSROOM, ROOT, Organiser, labels, organised

pytestmark = pytest.mark.slow  # some ten playbook runs
POLICY = iam_policy.policy((ROOT / "docs/aws.md").read_text())
# "No permissions are required to perform this operation": docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
FREE = {"sts:GetCallerIdentity"}
# What IAM calls otherwise than its API: docs.aws.amazon.com/service-authorization/latest/reference, by service.
OTHERWISE: dict[str, str] = {}
SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/(?P<service>[^/]+)/")
# What a call of an action makes, each with tags of its own.
MAKES = {
    "CreateSecurityGroup": {"security-group"},
    "ImportKeyPair": {"key-pair"},
    "RunInstances": {"instance", "volume", "network-interface"},
}
TARGETS = re.compile(r"(InstanceId|ResourceId|GroupId|VolumeId|KeyName|AllocationId|NetworkInterfaceId)(\.\d+)?")


class Recorder(BaseHTTPRequestHandler):
    """Passes calls on as they are signed, and notes each, with what it is about and whether that has the class's tag by then."""

    protocol_version = "HTTP/1.1"
    behind = ""
    calls: list[tuple[str, dict[str, list[str]], set[str]]] = []
    keep: Organiser

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = parse_qs(body.decode()) if b"Action=" in body else {}
        action = self.headers.get("X-Amz-Target", "").rpartition(".")[2] or asked["Action"][0]
        service = SCOPE.search(self.headers["Authorization"])["service"]
        if asked.get("DryRun") != ["true"]:
            self.calls.append((f"{service}:{action}", asked, untagged(self.keep, action, asked)))
        way = http.client.HTTPConnection(self.behind, timeout=120)
        way.putrequest("POST", self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            way.putheader(name, value)
        way.endheaders(body)
        answer = way.getresponse()
        text = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


def untagged(keep: Organiser, action: str, asked: dict[str, list[str]]) -> set[str]:
    """Return which of the things that a call would change does not have the class's tag."""
    if action.startswith(("Describe", "Get")) or action in MAKES:
        return set()
    named = {value for key, values in asked.items() if TARGETS.fullmatch(key) for value in values}
    marked = [one["ResourceId"] for one in keep.ec2.describe_tags(Filters=[{"Name": "tag:classroom:name", "Values": [CLASSROOM]}])["Tags"]]
    keys = keep.ec2.describe_key_pairs(Filters=[{"Name": "tag:classroom:name", "Values": [CLASSROOM]}])["KeyPairs"]
    return named - set(marked) - {key["KeyName"] for key in keys}


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Organiser]:
    """An organiser whose every call is noted."""
    with organised(tmp_path) as organiser:
        yield from noted(organiser)


def noted(organiser: Organiser) -> Iterator[Organiser]:
    """Put the recorder between an organiser and the API."""
    Recorder.behind, Recorder.keep = urlsplit(organiser.environment["AWS_ENDPOINT_URL"]).netloc, organiser
    Recorder.calls.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    organiser.environment["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{server.server_port}"
    yield organiser
    server.shutdown()


def spoil(organiser: Organiser) -> None:
    """Change a seat as at the console, leave a disk, an address and an interface behind, and move the class to another room."""
    organiser.settings.write_text(organiser.settings.read_text().replace("198.51.100.0/24", "203.0.113.0/24"))
    seat, vpc = organiser.seats()["s01"], organiser.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    only = [{"Name": "group-name", "Values": ["default"]}, {"Name": "vpc-id", "Values": [vpc]}]
    group = organiser.ec2.describe_security_groups(Filters=only)["SecurityGroups"][0]["GroupId"]
    organiser.ec2.modify_instance_attribute(InstanceId=seat, Groups=[group])
    whole = {"HttpEndpoint": "enabled", "HttpProtocolIpv6": "disabled", "InstanceMetadataTags": "enabled", "HttpPutResponseHopLimit": 1}
    organiser.ec2.modify_instance_metadata_options(InstanceId=seat, HttpTokens="optional", **whole)
    marks = {kind: [{"ResourceType": kind, "Tags": labels(CLASSROOM)}] for kind in ("volume", "elastic-ip", "network-interface")}
    organiser.ec2.create_volume(AvailabilityZone="us-west-2a", Size=1, TagSpecifications=marks["volume"])
    organiser.ec2.allocate_address(Domain="vpc", TagSpecifications=marks["elastic-ip"])
    subnet = organiser.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    organiser.ec2.create_network_interface(SubnetId=subnet, TagSpecifications=marks["network-interface"])


def class_of_its_own(organiser: Organiser) -> None:
    """Run what there is to run, so that each of its calls is made."""
    preflight, provision = "playbooks/preflight.yml", "playbooks/provision.yml"
    organiser.control("SetQuota", region="us-west-2", family="standard", value=None)
    larger = '{"classroom_request_quota": true, "classroom_instance_types": ["t3.xlarge"]}'  # of which five vCPUs hold one
    assert organiser.run(preflight, "-e", larger)[0] == 2
    organiser.control("GrantQuota", region="us-west-2", family="standard", value=None)
    for command in (
        (preflight,),
        (provision,),
        ("playbooks/extend.yml", "-e", "ends=2099-01-01T20:00"),
        ("playbooks/access.yml", "-e", "here=true"),
    ):
        status, told = organiser.run(*command)
        assert status == 0, told
    spoil(organiser)
    resize = ("playbooks/resize.yml", "-e", "seats=s01", "-e", "instance_type=t3.xlarge")
    grow = ("playbooks/grow.yml", "-e", "seats=s01", "-e", "gib=150")
    for command in (("playbooks/stop.yml",), resize, grow, (provision,), ("playbooks/teardown.yml", "-e", "confirm=true")):
        status, told = organiser.run(*command)
        assert status == 0, told


def test_every_call_of_the_runs_is_in_the_policy_and_nothing_else(recorded: Organiser) -> None:
    class_of_its_own(recorded)
    made = {OTHERWISE.get(action, action) for action, _, _ in Recorder.calls} - FREE
    needed = set(iam_policy.actions(POLICY)) - {"ec2:CreateTags"}
    lacking, spare = sorted(made - {"ec2:CreateTags"} - needed), sorted(needed - made)
    assert (lacking, spare) == ([], []), f"docs/aws.md lacks {lacking}, and has {spare} for nothing"
    owned = next(one["Action"] for one in POLICY["Statement"] if "aws:ResourceTag/classroom:name" in str(one.get("Condition")))
    strangers = [(action, others) for action, _, others in Recorder.calls if action in owned and others]
    assert strangers == [], "changed without the class's tag"
    for action, asked, _ in Recorder.calls:
        kinds = MAKES.get(action.partition(":")[2], set())
        marked = {asked[key][0] for key in asked if re.fullmatch(r"TagSpecification\.\d+\.ResourceType", key)}
        assert marked >= kinds and sum(values == ["classroom:name"] for values in asked.values()) >= len(kinds), action


def test_the_policy_allows_no_tag_but_at_birth_or_on_what_has_one() -> None:
    tagging = [one["Condition"] for one in POLICY["Statement"] if "ec2:CreateTags" in one["Action"]]
    assert [list(condition["StringEquals" if "StringEquals" in condition else "StringLike"]) for condition in tagging] == [
        ["ec2:CreateAction"],
        ["aws:ResourceTag/classroom:name"],
    ]
    assert set(tagging[0]["StringEquals"]["ec2:CreateAction"]) == set(MAKES)
