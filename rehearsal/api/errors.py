"""AWS's error answers, in the body each protocol wants."""

from __future__ import annotations

import json
from dataclasses import dataclass
from xml.sax.saxutils import escape

Answer = tuple[int, str, bytes]  # HTTP status, content type, body


class Refused(Exception):
    """An error of EC2 with a status of its own: moto's errors are all 400."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass(frozen=True)
class Call:
    """One request as far as an error needs it.

    Attributes:
        service: signing name, for example `ec2`.
        action: operation, for example `RunInstances`; empty where the protocol does not name it.
        protocol: `ec2`, `query`, `json` or `rest-xml`.
    """

    service: str
    action: str
    protocol: str

    @property
    def name(self) -> str:
        return f"{self.service}:{self.action}"


def protocol_of(service: str, target: str, content_type: str) -> str:
    """Tell the protocol from the service's signing name and two headers."""
    if service in ("ec2", "s3"):
        return {"ec2": "ec2", "s3": "rest-xml"}[service]
    return "query" if not target and content_type.startswith("application/x-www-form-urlencoded") else "json"


def answer(call: Call, status: int, code: str, message: str) -> Answer:
    """Return an error the way an SDK expects it from this service."""
    if call.protocol == "json":
        return status, "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message}).encode()
    error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    body = {
        "ec2": f"<Response><Errors><Error>{error}</Error></Errors><RequestID>rehearsal</RequestID></Response>",
        "query": f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error><RequestId>rehearsal</RequestId></ErrorResponse>",
        "rest-xml": f"<Error>{error}<RequestId>rehearsal</RequestId></Error>",
    }[call.protocol]
    return status, "text/xml", f'<?xml version="1.0" encoding="UTF-8"?>{body}'.encode()


def unsupported(call: Call) -> Answer:
    """Say which action this cloud lacks, where moto would send a page of HTML."""
    return answer(call, 400, "UnsupportedOperation", f"The rehearsal cloud does not implement {call.name}.")


def dry_run(call: Call) -> Answer:
    """Say that nothing but the dry run keeps an action from being carried out."""
    return answer(call, 412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")


def internal(call: Call, problem: Exception) -> Answer:
    """Report a defect of the rehearsal itself; its traceback is in the server's log. 501, so that no SDK retries it."""
    return answer(call, 501, "InternalError", f"The rehearsal cloud failed at {call.name}: {type(problem).__name__}: {problem}")
