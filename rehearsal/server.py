"""The daemon: network, hosts, mirrors and API in one process, which takes everything down with it when it is told to end."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from rehearsal import API_PORT, API_URL, state
from rehearsal.api.cloud import Cloud
from rehearsal.api.setup import build
from rehearsal.hosts.containers import Hosts, sweep
from rehearsal.hosts.network import Network
from rehearsal.mirrors import build as mirrors_build
from rehearsal.state import MACHINE, Place

log = logging.getLogger("rehearsal.server")


class QuietHandler(WSGIRequestHandler):
    """Requests are not logged: a log of every poll hides the line that matters."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass

    def connection_dropped(self, error: BaseException, environ: dict | None = None) -> None:
        """Close the connection of a reply that a fault loses; the other side would wait for it otherwise."""
        self.close_connection = True


def listen(address: str, port: int, application: object) -> BaseWSGIServer:
    """Answer on one address in a thread of its own, each request in another."""
    server = make_server(address, port, application, threaded=True, request_handler=QuietHandler)
    threading.Thread(target=server.serve_forever, daemon=True, name=f"api {address}").start()
    return server


def bring_up(network: Network, throttle: bool, stack: ExitStack) -> dict[str, str]:
    """Start everything; what was started ends with the stack, in reverse order. Returns what others may know of it."""
    stack.callback(network.down)
    network.up()
    stack.callback(sweep)
    cloud = Cloud()
    cloud.limits.throttle.on = throttle
    cloud.hosts = Hosts(network, cloud.guest_exited)
    stack.callback(cloud.hosts.close)
    stack.callback(cloud.close)
    stack.callback(mirrors_build.serve(mirrors_build.prepare()).close)
    credentials = state.new_credentials()
    application = build(cloud, network.cidr, **credentials)
    for address in ("127.0.0.1", network.gateway):
        stack.callback(listen(address, API_PORT, application).shutdown)
    publish(MACHINE, credentials, stack)
    return {"cidr": network.cidr, "url": API_URL}


def publish(place: Place, credentials: dict[str, str], stack: ExitStack) -> None:
    """Leave the cloud's key where its user finds it, as long as the stack lasts."""
    state.write_private(place.key_file, credentials)
    stack.callback(place.key_file.unlink, missing_ok=True)


def serve(place: Place, bring_up: Callable[[ExitStack], dict[str, str]], ready: int) -> None:
    """Run until SIGTERM. ready: file descriptor that is told when the cloud can be used."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    place.hold_alive()
    with ExitStack() as stack:
        about = bring_up(stack)
        place.server_file.write_text(json.dumps({"pid": os.getpid(), **about}), encoding="utf-8")
        stack.callback(place.server_file.unlink, missing_ok=True)
        with os.fdopen(ready, "w") as pipe:
            pipe.write("ready")
        end.wait()
        log.info("ending")


def main() -> None:
    """`python -m rehearsal.server`: started by `python -m rehearsal up`, not by people."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cidr", required=True)
    parser.add_argument("--throttle", action="store_true")
    parser.add_argument("--ready", type=int, required=True)
    options = parser.parse_args()
    serve(MACHINE, partial(bring_up, Network(options.cidr), options.throttle), options.ready)


if __name__ == "__main__":
    main()
