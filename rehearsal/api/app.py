"""The web application: metadata for hosts, signed API calls for everybody, moto behind both."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.wrappers import Request, Response

from . import control, errors, eventual_consistency, faults
from .auth import Gatekeeper, Scope, parse
from .errors import Call, Refused
from .metadata import Metadata

if TYPE_CHECKING:
    from .cloud import Cloud

log = logging.getLogger("rehearsal.api")
READS = ("Describe", "Get", "List")
CHECKED = ("RunInstances",)  # what moto looks at before it says that a dry run would succeed; for other actions it may carry it out


class Application:
    """WSGI. Calls are answered one at a time, because moto's models know no locks; the waiting is done outside of it."""

    def __init__(self, cloud: Cloud, gatekeeper: Gatekeeper) -> None:
        self.cloud = cloud
        self.gatekeeper = gatekeeper
        self.metadata = Metadata()
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        return self._respond(request)(environ, start_response)

    def _respond(self, request: Request) -> Response:
        if request.path.startswith("/latest/") or request.path[1:5].isdecimal():
            status, text, headers = self.metadata.reply(request, self.cloud.by_address(request.remote_addr or ""))
            return Response(text, status, headers, content_type="text/plain")
        if request.path.startswith("/moto-api"):  # moto's own back door
            return Response("Not Found", 404)
        scope = parse(request.headers.get("Authorization", ""))
        call = identify(request, scope)
        refused = self.gatekeeper.refuse(request, scope, call)
        if refused:
            return _response(refused)
        if call.service == control.SERVICE:
            return _response(control.answer_to(self.cloud, call, json.loads(request.get_data())))
        return self._as_limited(request, scope.region, call)

    def _as_limited(self, request: Request, region: str, call: Call) -> Response:
        """Answer a call as its rate and the faults say; a lost reply is one that was carried out."""
        limits = self.cloud.limits
        try:
            with self.cloud.lock:
                limits.calls[call.name] += 1
                limits.throttle.check(region, call, *_extent(request))
        except Refused as refused:
            return _response(errors.answer(call, refused.status, refused.code, refused.message))
        fault = limits.faults.take(call)
        failed = fault and fault.error(call)
        if failed and not fault.lost_reply:
            return _response(failed)
        if call.service == "ec2" and call.action not in CHECKED and _form(request).get("DryRun") == ["true"]:
            return _response(errors.dry_run(call))
        with faults.effective(fault):
            response = self._call_moto(request, call)
        if fault and fault.lost_reply:
            raise ConnectionAbortedError  # at which the server closes the connection
        return response

    def _call_moto(self, request: Request, call: Call) -> Response:
        if not self.moto.get_backend_for_host(self.moto.infer_service_region_host(request.environ, request.path)):
            return _response(errors.unsupported(call))
        self.cloud.begin()
        if call.action == "DescribeInstanceStatus":
            self.cloud.probe()
        try:
            with self.cloud.lock, eventual_consistency.without_young(faults.stale()):
                response = Response.from_app(self.moto, request.environ, buffered=True)
            if response.status_code == 404 and not response.get_data():
                raise NotImplementedError  # how moto says that it knows no such operation
        except NotImplementedError:
            return _response(errors.unsupported(call))
        except Refused as refused:
            return _response(errors.answer(call, refused.status, refused.code, refused.message))
        except Exception as problem:
            log.exception("%s", call.name)
            return _response(errors.internal(call, problem))
        if not call.action.startswith(READS):
            self.cloud.refresh()
            self.cloud.settle()
        return response


def identify(request: Request, scope: Scope | None) -> Call:
    """Tell service, action and protocol of a request; an unsigned one counts as EC2's. The body stays readable for moto."""
    body = request.get_data(cache=True)
    request.environ["wsgi.input"] = io.BytesIO(body)
    service = scope.service if scope else "ec2"
    target = request.headers.get("X-Amz-Target", "")
    action = target.rpartition(".")[2] or _form(request).get("Action", [""])[0] or f"{request.method} {request.path}"
    return Call(service, action, errors.protocol_of(service, target, request.content_type or ""))


def _form(request: Request) -> dict[str, list[str]]:
    urlencoded = "x-www-form-urlencoded" in (request.content_type or "")
    return parse_qs(request.get_data(cache=True).decode("utf-8", "replace")) if urlencoded else {}


def _extent(request: Request) -> tuple[bool, int]:
    """Tell whether a read names neither filter nor page, and how many instances a change is about."""
    form = _form(request)
    ids = sum(name.startswith("InstanceId.") for name in form)
    return not any(name.startswith(("Filter.", "MaxResults")) for name in form), ids or int(form.get("MaxCount", ["1"])[0])


def _response(answer: errors.Answer) -> Response:
    status, content_type, body = answer
    return Response(body, status, content_type=content_type)
