"""Calls to a running cloud's side door: what `python -m rehearsal capacity`, `quota`, `fault` and the others ask of it, and tests too."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from rehearsal import REGION
from rehearsal.state import StateError

SECONDS = 30.0
KEYS = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


class Control:
    """One cloud, as an environment names it: what `env` prints."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        missing = [key for key in KEYS if key not in environment]
        if missing:
            raise StateError(f'The shell has no {", ".join(missing)}. Set all at once: eval "$(python -m rehearsal env)"')
        self.url, access_key, secret_key = (environment[key] for key in KEYS)
        self._signer = SigV4Auth(Credentials(access_key, secret_key), "rehearsal", REGION)

    def __call__(self, action: str, /, **asked: Any) -> Any:
        """Have a command carried out and return its answer.

        Raises:
            StateError: it cannot be, or no rehearsal cloud answers there.
        """
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"Rehearsal.{action}"}
        request = AWSRequest("POST", f"{self.url.rstrip('/')}/", headers, json.dumps(asked).encode())
        self._signer.add_auth(request)
        sent = urllib.request.Request(request.url, request.data, dict(request.headers), method="POST")
        try:
            # No proxy stands between this machine and itself.
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sent, timeout=SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as problem:
            raise StateError(_message(problem, self.url)) from None
        except OSError as problem:
            raise StateError(f"No rehearsal cloud answers at {self.url} (AWS_ENDPOINT_URL): {problem}") from None


def _message(problem: urllib.error.HTTPError, url: str) -> str:
    """Return the sentence of an error; another service than the rehearsal's has none for people."""
    try:
        said = json.load(problem)
        return said["message"] if said["__type"] == "ValidationException" else f"{said['__type']} from {url}: {said['message']}"
    except (ValueError, KeyError, TypeError):
        return f"What answers at {url} (AWS_ENDPOINT_URL) is no rehearsal cloud: HTTP {problem.code}"
