"""What an organiser gets wrong: one clear sentence each that names what to change, and nothing is attempted. Real runs of site.yml."""

from __future__ import annotations

import subprocess

import boto3
import pytest

from tests.support import warm

IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"  # one that moto has
GUARD, PREFLIGHT = 4, 2

# What is changed in the environment, what is typed after `ansible-playbook site.yml`, the exit status, the whole sentences.
CASES = {
    "limit": ({}, "--limit s01", GUARD, "--limit would leave the controller out, which all of this needs. Type: {site} -e seats=s01"),
    "limit to nothing": ({"CLASSROOM": "none"}, "--limit s07", GUARD, "--limit would leave the controller out, {...} -e seats=s07"),
    "typo": ({}, "-e seat=s01", GUARD, "Nothing reads `-e seat`, {...}every seat. Did you mean seats? Type: {site} -e seats=s01"),
    "nonsense": ({}, "-e x=1", GUARD, "Nothing reads `-e x`, {...} There are seats, confirm, {...}, gib and the settings."),
    "group as seat": ({}, "-e seats=all", GUARD, "'all' is no seat id: {...} Type: {site} -e seats=s01,s02"),
    "no seat": ({}, "-e seats=", GUARD, "-e seats= names no seat. Type: {site} -e seats=s01,s02"),
    "ends": ({}, "-e ends=20:00", GUARD, "Only extend.yml moves the end, {...}: ansible-playbook playbooks/extend.yml -e ends=20:00"),
    "class by -e": ({}, "-e classroom_name=b", GUARD, "The inventory cannot see -e. Type: CLASSROOM=b {site}"),
    "class": ({"CLASSROOM": "My Class"}, "", GUARD, "CLASSROOM='My Class' is no name of a class: {...}."),
    "no credentials": ({"AWS_ACCESS_KEY_ID": ""}, "", PREFLIGHT, "There are no AWS credentials. Type `aws configure`, {...}"),
    "no profile": ({"AWS_PROFILE": "x"}, "", PREFLIGHT, "The config profile (x) could not be found. Set AWS_PROFILE to one {...}"),
    "unreachable": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "", PREFLIGHT, "http://127.0.0.1:1 cannot be reached. Check {...}"),
    "no region": ({"AWS_REGION": ""}, "", PREFLIGHT, "No region is set. Type `export AWS_REGION=us-west-2`, {...}"),
    "region": ({"AWS_REGION": "us-wset-2"}, "", PREFLIGHT, "us-wset-2 is no region of AWS. Did you mean us-west-2? Set AWS_REGION."),
    "account": ({}, "-e classroom_account=210987654321", PREFLIGHT, "These credentials belong to account 123456789012, but {...}"),
    "past end": (
        {},
        r'-e {"classroom_ends":"2026-03-31\u002018:00\u0020Europe/Berlin"}',
        PREFLIGHT,
        "classroom_ends is 2026-03-31 18:00 Europe/Berlin, which is past: s02, s01 would stop at once. Set a later one in {...}",
    ),
    "settings": (
        {},
        "-e classroom_course_repository= -e classroom_ends=31.3.2027 -e classroom_image=/a/b -e seats=s09 -e classroom_spot=true"
        ' -e {"classroom_instance_types":["t3.lrge","t3.xlrage"],"classroom_allowed_cidrs":["0.0.0.0/0"]}'
        ' -e {"classroom_sessions":[{"day":"2026-12-04","from":"09:00","to":1020}]}',
        PREFLIGHT,
        "{...}: 0.0.0.0/0 is the whole internet, {...}",
        "Spot machines are refused: AWS takes them back at two minutes' notice, {...}",
        "The class has no course. Set classroom_course_repository, {...}",
        'classroom_sessions in {...}: the hours of 2026-12-04 are 09:00 and 1020: {...}, as "09:00".',
        "classroom_ends: 31.3.2027 is no date, time and zone. Write it as `classroom_ends: {...}",
        "us-west-2 offers no instance type t3.lrge. Did you mean t3.large? {...}",
        "us-west-2 offers no instance type t3.xlrage. Did you mean t3.xlarge? {...}",
        "us-west-2 has no SSM parameter /a/b. Set classroom_image in {...}",
        "-e seats= names s09, but the roster {...}rehearsal.csv has s01, s02.",
    ),
    "nothing set": (
        {},
        '-e classroom_account= -e classroom_ends= -e classroom_stack=rehersal -e classroom_roster=no.csv -e {"classroom_allowed_cidrs":[]}',
        PREFLIGHT,
        "There is no stack rehersal. Did you mean rehearsal? {...}",
        "There is no roster {...}no.csv. Type `cp rosters/example.csv {...}",
        "classroom_allowed_cidrs in {...}: no network may reach {...}",
        "classroom_ends is not set: nothing is launched {...}, or never, {...}",
        "classroom_account is not set. {...} account 123456789012: {...}",
    ),
}


def run(environment: dict[str, str], arguments: str, playbook: str = "site.yml") -> subprocess.CompletedProcess[str]:
    """Run a playbook as an organiser types it."""
    return warm.run("ansible-playbook", playbook, "-e", f"classroom_image={IMAGE}", *arguments.split(), environment=environment)


def matches(sentence: str, pattern: str) -> bool:
    """Compare a sentence with a pattern in which {...} stands for anything."""
    pieces = pattern.replace("{site}", "ansible-playbook site.yml").split("{...}")
    position = 0
    for piece in pieces:
        position = sentence.find(piece, position)
        if position < 0:
            return False
        position += len(piece)
    return sentence.startswith(pieces[0]) and sentence.endswith(pieces[-1])


def everything(cloud: str) -> list[int]:
    """Count what a run could make."""
    ec2 = boto3.client("ec2", "us-west-2", endpoint_url=cloud, aws_access_key_id="testing", aws_secret_access_key="testing")
    machines = ec2.describe_instances()["Reservations"]
    return [len(machines), len(ec2.describe_key_pairs()["KeyPairs"]), len(ec2.describe_security_groups()["SecurityGroups"])]


# Sentences that unit tests of the guard, of ec2_preflight and of ec2.errors hold, too.
LATER = {
    *("limit", "nonsense", "group as seat", "no seat", "ends", "class by -e", "class"),
    *("no credentials", "no profile", "no region", "region", "account", "unreachable", "past end"),
}


@pytest.mark.parametrize("case", [pytest.param(case, marks=pytest.mark.slow if case in LATER else ()) for case in CASES])
def test_one_sentence_each_and_nothing_attempted(cloud: str, environment: dict[str, str], case: str) -> None:
    change, arguments, status, *sentences = CASES[case]
    before = everything(cloud)
    done = run(environment | change, arguments)
    assert done.returncode == status, done.stdout + done.stderr
    prefix = {GUARD: "Refused: ", PREFLIGHT: "localhost: "}[status]
    said = [line.removeprefix(prefix) for line in (done.stdout + done.stderr).splitlines() if line.startswith(prefix)]
    assert len(said) == len(sentences) and all(map(matches, said, sentences)), said
    quiet = [line for line in done.stderr.splitlines() if not line.startswith(("Refused: ", "No seats in the inventory: "))]
    assert quiet == []
    assert "changed=0" in done.stdout or status == GUARD
    assert everything(cloud) == before


def test_a_stack_that_can_run_nowhere_is_refused_with_what_clashes_and_what_works(cloud: str, environment: dict[str, str]) -> None:
    before = everything(cloud)
    done = run(environment, "-e classroom_stack=ismrm-2018-exact -e classroom_instance_type=g4dn.xlarge")
    said = [line.removeprefix("localhost: ") for line in done.stdout.splitlines() if line.startswith("localhost: ")]
    assert done.returncode == PREFLIGHT and everything(cloud) == before
    assert said[:2] == [
        "Stack ismrm-2018-exact cannot run on g4dn.xlarge:",
        "- driver 384 is too old for the Tesla T4 of g4dn.xlarge, which needs 410 or newer",
    ]
    assert "- compute capability 7.5 of g4dn.xlarge (Tesla T4) is outside of what CUDA 9.0 knows: 3.0 to 7.0" in said
    assert said[-1].startswith("What works is stack ismrm-2018 on g4dn.xlarge: set classroom_stack and classroom_instance_type in ")


@pytest.mark.slow
def test_the_stack_is_judged_before_the_cloud_is_asked(environment: dict[str, str]) -> None:
    done = run(environment | {"AWS_ACCESS_KEY_ID": ""}, "-e classroom_stack=tensorflow-2026")
    said = [line.removeprefix("localhost: ") for line in done.stdout.splitlines() if line.startswith("localhost: ")]
    assert said[:2] == ["Stack tensorflow-2026 cannot run on t3.large:", "- t3.large has no GPU, and the stack needs one of NVIDIA's"]
    assert said[-1].startswith("There are no AWS credentials.")


def test_without_credentials_a_page_still_reckons_and_ends_with_an_error(environment: dict[str, str]) -> None:
    done = run(environment | {"AWS_ACCESS_KEY_ID": ""}, "-e classroom_instance_type=g4dn.xlarge", "playbooks/preflight.yml")
    assert done.returncode == PREFLIGHT and "  Class rehearsal, an estimate: the class's account was not looked at\n" in done.stdout
    assert "8 needed. AWS was not asked." in done.stdout and "L-DB2E81BA --desired-value 8 --region us-west-2" in done.stdout
    assert "Cost of 2 seats: about $1.07 an hour while they run" in done.stdout
    said = [line for line in done.stdout.splitlines() if line.startswith("localhost: ")]
    assert len(said) == 1 and said[0].startswith("localhost: There are no AWS credentials.")


def test_a_key_pair_that_only_has_the_name_of_the_class_is_not_taken_over(cloud: str, environment: dict[str, str]) -> None:
    ec2 = boto3.client("ec2", "us-west-2", endpoint_url=cloud, aws_access_key_id="testing", aws_secret_access_key="testing")
    theirs = ec2.create_key_pair(KeyName="classroom-rehearsal")["KeyFingerprint"]
    done = run(environment, "")
    kept = ec2.describe_key_pairs(KeyNames=["classroom-rehearsal"])["KeyPairs"][0]["KeyFingerprint"]
    ec2.delete_key_pair(KeyName="classroom-rehearsal")
    assert done.returncode == PREFLIGHT
    assert "There is a key pair classroom-rehearsal that does not belong to this class" in done.stdout
    assert kept == theirs
