"""Which permissions a class needs and how each is tried. The policy itself is written once, in docs/aws.md. Pure functions."""

from __future__ import annotations

import json
import re

from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import launch

BLOCK = re.compile(r"```json\n(\{.*?\n\})\n```", re.DOTALL)
KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"  # of the right form, and nobody's


def policy(text: str) -> dict:
    """Return the IAM policy of a page, which is its one block of JSON. Raises ValueError."""
    found = BLOCK.search(text)
    if not found:
        raise ValueError("it has no block of JSON.")
    return json.loads(found[1])


def actions(statements: dict) -> list[str]:
    """Return every action of a policy, each once."""
    return list(dict.fromkeys(action for statement in statements["Statement"] for action in statement["Action"]))


def narrowed(statements: dict, wanted: set[str]) -> dict:
    """Return the part of a policy that allows the wanted actions; those that it does not know are added as they are."""
    kept = [statement | {"Action": [one for one in statement["Action"] if one in wanted]} for statement in statements["Statement"]]
    other = sorted(wanted - set(actions(statements)))
    kept += [{"Sid": "Other", "Effect": "Allow", "Action": other, "Resource": "*"}] if other else []
    return {"Version": statements["Version"], "Statement": [statement for statement in kept if statement["Action"]]}


def dry_runs(needed: list[str], found: dict, params: dict) -> dict[str, dict]:
    """Return which of the needed actions can be tried, each with what EC2 has to be told; of the others there is nothing to try them on."""
    known = {f"ec2:{name}": asked for name, asked in _changes(found, params).items()}
    reads = [action for action in needed if action.startswith("ec2:Describe")]
    return dict.fromkeys(reads, {}) | {action: known[action] for action in needed if action in known}


def _changes(found: dict, params: dict) -> dict[str, dict]:
    """Return what each action is told that changes something. One for which there is nothing here is said by the policy alone."""
    name, tags = f"classroom-{params['classroom']}", [{"Key": "classroom:name", "Value": params["classroom"]}]
    marks = {kind: [{"ResourceType": kind, "Tags": tags}] for kind in ("key-pair", "security-group")}
    tries = {"ImportKeyPair": {"KeyName": f"{name}-dry-run", "PublicKeyMaterial": KEY, "TagSpecifications": marks["key-pair"]}}
    if found["vpc_id"]:
        new = {"GroupName": f"{name}-dry-run", "Description": "dry run", "VpcId": found["vpc_id"]}
        tries["CreateSecurityGroup"] = new | {"TagSpecifications": marks["security-group"]}
    if found["pools"] and found["image"]:
        tries["RunInstances"] = _launch(found, params)
    if found["key"]:
        tries["DeleteKeyPair"] = {"KeyName": name}
    for volume in found["volumes"][:1]:
        tries["DeleteVolume"] = {"VolumeId": volume}
    for group in found["groups"][:1]:
        rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "192.0.2.1/32"}]}
        ruled = {"GroupId": group, "IpPermissions": [rule]}
        tries |= {"DeleteSecurityGroup": {"GroupId": group}} | dict.fromkeys(
            ("AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"), ruled
        )
    for seat in found["seats"][:1]:
        tries |= dict.fromkeys(("StartInstances", "StopInstances", "TerminateInstances"), {"InstanceIds": [seat["instance_id"]]})
        tries["CreateTags"] = {"Resources": [seat["instance_id"]], "Tags": tags}
        tries["ModifyInstanceMetadataOptions"] = {"InstanceId": seat["instance_id"]}
        tries["ModifyInstanceAttribute"] = {"InstanceId": seat["instance_id"], "InstanceInitiatedShutdownBehavior": {"Value": "stop"}}
    return tries


def _launch(found: dict, params: dict) -> dict:
    """What a seat's launch asks for, without the key pair and the group, which the first run makes."""
    image = {"image_id": found["image"]["id"], "root_device": found["image"]["root_device"], "disk_gib": found["disk_gib"]}
    absent = {"tags": {}, "user_data": "", "key_name": "", "group_id": ""}
    asked = launch.request({"classroom": params["classroom"]} | image | absent, "dry-run", launch.Pool(**found["pools"][0]))
    del asked["KeyName"], asked["NetworkInterfaces"][0]["Groups"]
    return asked
