"""The daemon: network, hosts, mirrors and API in one process, which takes everything down with it when it is told to end."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import threading
from contextlib import ExitStack

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from rehearsal import API_PORT, mirrors, state
from rehearsal.api.cloud import Cloud
from rehearsal.api.setup import build
from rehearsal.hosts import Hosts, sweep
from rehearsal.network import Network

log = logging.getLogger("rehearsal.server")


class QuietHandler(WSGIRequestHandler):
    """Requests are not logged: a log of every poll hides the line that matters."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def listen(address: str, application: object) -> BaseWSGIServer:
    """Answer on one address in a thread of its own, each request in another."""
    server = make_server(address, API_PORT, application, threaded=True, request_handler=QuietHandler)
    threading.Thread(target=server.serve_forever, daemon=True, name=f"api {address}").start()
    return server


def bring_up(network: Network, stack: ExitStack) -> None:
    """Start everything; what was started ends with the stack, in reverse order."""
    stack.callback(network.down)
    network.up()
    stack.callback(sweep)
    cloud = Cloud()
    cloud.hosts = Hosts(network, cloud.guest_exited)
    stack.callback(cloud.hosts.close)
    stack.callback(cloud.close)
    stack.callback(mirrors.serve(mirrors.prepare()).close)
    credentials = state.new_credentials()
    application = build(cloud, network.cidr, **credentials)
    for address in ("127.0.0.1", network.gateway):
        stack.callback(listen(address, application).shutdown)
    state.write_private(state.CREDENTIALS, credentials)
    stack.callback(state.CREDENTIALS.unlink, missing_ok=True)


def serve(network: Network, ready: int) -> None:
    """Run until SIGTERM. ready: file descriptor that is told when the cloud can be used."""
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    state.hold_alive()
    with ExitStack() as stack:
        bring_up(network, stack)
        state.SERVER.write_text(json.dumps({"pid": os.getpid(), "cidr": network.cidr}), encoding="utf-8")
        stack.callback(state.SERVER.unlink, missing_ok=True)
        with os.fdopen(ready, "w") as pipe:
            pipe.write("ready")
        end.wait()
        log.info("ending")


def main() -> None:
    """`python -m rehearsal.server`: started by `python -m rehearsal up`, not by people."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cidr", required=True)
    parser.add_argument("--ready", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    serve(Network(options.cidr), options.ready)


if __name__ == "__main__":
    main()
