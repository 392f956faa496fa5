"""Instance metadata (IMDS), answered to a host by the address it asks from."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from werkzeug.wrappers import Request

TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
LONGEST_TTL = 21600
VERSION = re.compile(r"/(latest|\d{4}-\d\d-\d\d)(/.*)")
Reply = tuple[int, str | bytes, dict[str, str]]  # status, text, headers


@dataclass
class Metadata:
    """The metadata service with its tokens. Tokens hold for the instance that asked for them."""

    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)

    def reply(self, request: Request, instance: Any | None) -> Reply:
        """Answer one request of a host; None for an instance that is not running."""
        found = VERSION.fullmatch(request.path)
        if instance is None or found is None:
            return 404, "Not Found", {}
        if instance.metadata_options.http_endpoint == "disabled":
            return 403, "Forbidden", {}
        path = found[2]
        if path == "/api/token":
            return self._token(request, instance)
        if not self._allowed(request, instance):
            return 401, "Unauthorized", {}
        text = _lookup(instance, path)
        return (404, "Not Found", {}) if text is None else (200, text, {})

    def _token(self, request: Request, instance: Any) -> Reply:
        ttl = request.headers.get(TTL_HEADER, "")
        if request.method != "PUT":
            return 405, "Method Not Allowed", {}
        if "X-Forwarded-For" in request.headers:  # EC2's defence against open proxies
            return 403, "Forbidden", {}
        if not ttl.isdecimal() or not 1 <= int(ttl) <= LONGEST_TTL:
            return 400, "Bad Request", {}
        token = secrets.token_urlsafe(40)
        self.tokens[token] = (instance.id, time.monotonic() + int(ttl))
        return 200, token, {TTL_HEADER: ttl}

    def _allowed(self, request: Request, instance: Any) -> bool:
        """Without a token only where version 1 is allowed; a wrong or expired one never."""
        token = request.headers.get("X-aws-ec2-metadata-token")
        if token is None:
            return instance.metadata_options.http_tokens != "required"
        owner, expires = self.tokens.get(token, ("", 0.0))
        return owner == instance.id and time.monotonic() < expires


def _lookup(instance: Any, path: str) -> str | bytes | None:
    if path == "/user-data":
        return base64.b64decode(str(instance.user_data)) if instance.user_data else None
    if path.rstrip("/") == "/meta-data/public-keys" and instance.key_name:
        return f"0={instance.key_name}"  # the one folder whose list says what lies in it
    if path.startswith("/dynamic"):
        return _walk({"instance-identity/document": json.dumps(_identity(instance), indent=2)}, path.removeprefix("/dynamic"))
    if path.startswith("/meta-data"):
        return _walk(_values(instance), path.removeprefix("/meta-data"))
    return "dynamic\nmeta-data\nuser-data" if path == "/" else None


def _walk(values: dict[str, str], path: str) -> str | None:
    """Return a leaf, or the names below a folder, folders with a slash at their end."""
    key = path.strip("/")
    if key in values:
        return values[key]
    below = [name[len(key) :].lstrip("/") for name in values if not key or name.startswith(f"{key}/")]
    children = {name.split("/")[0] + ("/" if "/" in name else "") for name in below}
    return "\n".join(sorted(children)) if children else None


def _identity(instance: Any) -> dict[str, Any]:
    return {
        "accountId": instance.owner_id,
        "architecture": instance.architecture,
        "availabilityZone": instance.placement.zone,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "pendingTime": f"{instance.launch_time:%Y-%m-%dT%H:%M:%SZ}",
        "privateIp": instance.private_ip,
        "region": instance.region_name,
        "version": "2017-09-30",
    }


def _values(instance: Any) -> dict[str, str]:
    nic = instance.nics[0]
    groups = instance.security_groups
    mac = f"network/interfaces/macs/{nic.mac_address}"
    values = {
        "ami-id": instance.image_id,
        "ami-launch-index": str(instance.ami_launch_index),
        "instance-action": "none",
        "instance-id": instance.id,
        "instance-life-cycle": instance.lifecycle or "on-demand",
        "instance-type": instance.instance_type,
        "hostname": instance.private_dns_name,
        "local-hostname": instance.private_dns_name,
        "local-ipv4": instance.private_ip,
        "mac": nic.mac_address,
        "placement/availability-zone": instance.placement.zone,
        "placement/region": instance.region_name,
        "security-groups": "\n".join(group.name for group in groups),
        "services/domain": "amazonaws.com",
        "services/partition": "aws",
        f"{mac}/local-ipv4s": instance.private_ip,
        f"{mac}/security-group-ids": "\n".join(group.id for group in groups),
        f"{mac}/subnet-id": instance.subnet_id,
        f"{mac}/vpc-id": instance.vpc_id,
    }
    if instance.public_ip:
        values |= {
            "public-ipv4": instance.public_ip,
            "public-hostname": instance.public_dns_name,
            f"{mac}/public-ipv4s": instance.public_ip,
        }
    pair = instance.ec2_backend.key_pairs.get(instance.key_name)
    if pair:
        values["public-keys/0/openssh-key"] = pair.public_key.strip()
    if instance.metadata_options.instance_metadata_tags == "enabled":
        values |= {f"tags/instance/{tag['key']}": tag["value"] for tag in instance.get_tags()}
    return values
