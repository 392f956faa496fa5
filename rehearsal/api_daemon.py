"""The daemon of `up --no-hosts`: the API alone, in one process. It needs no root, no podman and no network of its own."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rehearsal.api.setup import build
from rehearsal.api.simulated_hosts import SimulatedCloud
from rehearsal.server import listen, publish, serve
from rehearsal.state import Place, new_credentials, without_hosts

CIDR = "172.31.0.0/16"  # EC2's own default VPC: here it is a word, no route leads to it


def bring_up(place: Place, port: int, throttle: bool, stack: ExitStack) -> dict[str, str]:
    """Start the API on loopback; it ends with the stack. Returns what others may know of it."""
    cloud = SimulatedCloud()
    cloud.limits.throttle.on = throttle
    stack.callback(cloud.close)
    credentials = new_credentials()
    server = listen("127.0.0.1", port, build(cloud, CIDR, **credentials))
    stack.callback(server.shutdown)
    publish(place, credentials, stack)
    return {"url": f"http://127.0.0.1:{server.port}"}


def main() -> None:
    """`python -m rehearsal.api_daemon`: started by `python -m rehearsal up --no-hosts` and by tests, not by people."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--throttle", action="store_true")
    parser.add_argument("--ready", type=int, required=True)
    options = parser.parse_args()
    place = without_hosts(options.state)
    serve(place, partial(bring_up, place, options.port, options.throttle), options.ready)


if __name__ == "__main__":
    main()
