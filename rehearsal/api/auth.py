"""Signature version 4, verified with botocore's own signer, and each service's error for a key that does not hold."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

import botocore.session
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.sts.models import sts_backends
from werkzeug.wrappers import Request

from rehearsal import ACCOUNT, EXPIRED_KEY

from .errors import Answer, Call, answer

HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,]+)/(?P<date>\d{8})/(?P<region>[^/,]+)/(?P<service>[^/,]+)/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
SIGNATURE = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)
EC2_UNKNOWN = (401, "AuthFailure", "AWS was not able to validate the provided access credentials")
UNKNOWN = "The security token included in the request is invalid."
EXPIRED = "The security token included in the request is expired"

# What EC2, the query services (STS, IAM), the JSON services (SSM, ...) and S3 answer to the same mistake. EC2 does not tell a wrong
# secret from an unknown key, and calls an expired token an expired request.
ERRORS = {
    "missing": {
        "ec2": (401, "MissingAuthenticationToken", "Request is missing Authentication Token"),
        "query": (403, "MissingAuthenticationToken", "Request is missing Authentication Token"),
        "json": (400, "MissingAuthenticationTokenException", "Missing Authentication Token"),
        "rest-xml": (403, "AccessDenied", "Access Denied"),
    },
    "unknown": {
        "ec2": EC2_UNKNOWN,
        "query": (403, "InvalidClientTokenId", UNKNOWN),
        "json": (400, "UnrecognizedClientException", UNKNOWN),
        "rest-xml": (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
    },
    "signature": {
        "ec2": EC2_UNKNOWN,
        "query": (403, "SignatureDoesNotMatch", SIGNATURE),
        "json": (400, "InvalidSignatureException", SIGNATURE),
        "rest-xml": (403, "SignatureDoesNotMatch", SIGNATURE),
    },
    "expired": {
        "ec2": (400, "RequestExpired", "Request has expired."),
        "query": (403, "ExpiredToken", EXPIRED),
        "json": (400, "ExpiredTokenException", EXPIRED),
        "rest-xml": (400, "ExpiredToken", "The provided token has expired."),
    },
    "region": {
        "ec2": (401, "AuthFailure", "Credential should be scoped to a valid region, not '{region}'."),
        "query": (403, "SignatureDoesNotMatch", "Credential should be scoped to a valid region, not '{region}'."),
        "json": (400, "InvalidSignatureException", "Credential should be scoped to a valid region, not '{region}'."),
        "rest-xml": (400, "AuthorizationHeaderMalformed", "The region '{region}' is wrong."),
    },
}


def valid_regions() -> frozenset[str]:
    """Return AWS's commercial regions, as this botocore knows them."""
    return frozenset(botocore.session.get_session().get_available_regions("ec2"))


@dataclass(frozen=True)
class Scope:
    """The parts of an Authorization header."""

    key: str
    date: str
    region: str
    service: str
    headers: str
    signature: str


def parse(header: str) -> Scope | None:
    """Split an Authorization header of signature version 4; None for anything else."""
    found = HEADER.fullmatch(header)
    return Scope(**found.groupdict()) if found else None


@dataclass(frozen=True)
class Gatekeeper:
    """Knows the one key of this cloud and those of the roles that it assumes, and refuses every other the way AWS does."""

    access_key: str
    secret_key: str
    regions: frozenset[str]

    def refuse(self, request: Request, scope: Scope | None, call: Call) -> Answer | None:
        """Return the error this request earns, None where it is properly signed."""
        reason = self._reason(request, scope)
        if reason is None:
            return None
        status, code, message = ERRORS[reason][call.protocol]
        return answer(call, status, code, message.format(region=scope.region if scope else ""))

    def _reason(self, request: Request, scope: Scope | None) -> str | None:
        if scope is None:
            return "missing"
        if scope.key == EXPIRED_KEY:
            return "expired"
        secret, token = self._secret(scope.key)
        if not secret or request.headers.get("X-Amz-Security-Token", "") != token:
            return "unknown"
        if scope.region not in self.regions:
            return "region"
        return None if hmac.compare_digest(self._signature(request, scope, secret), scope.signature) else "signature"

    def _secret(self, key: str) -> tuple[str, str]:
        """Return the secret of a key and its session token, which only the key of an assumed role has."""
        if key == self.access_key:
            return self.secret_key, ""
        role = sts_backends[ACCOUNT]["aws"].get_assumed_role_from_access_key(key)
        return (role.secret_access_key, role.session_token) if role else ("", "")

    def _signature(self, request: Request, scope: Scope, secret: str) -> str:
        """Sign the request as its sender should have, over the headers that the sender signed."""
        signer = (S3SigV4Auth if scope.service == "s3" else SigV4Auth)(Credentials(scope.key, secret), scope.service, scope.region)
        headers = {name: request.headers.get(name, "") for name in scope.headers.split(";")}
        url = f"http://{request.host}{request.environ.get('RAW_URI') or request.full_path.rstrip('?')}"
        signed = AWSRequest(method=request.method, url=url, headers=headers, data=request.get_data(cache=True))
        signed.context["timestamp"] = request.headers.get("X-Amz-Date", "")
        return signer.signature(signer.string_to_sign(signed, signer.canonical_request(signed)), signed)
