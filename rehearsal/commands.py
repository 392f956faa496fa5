"""The commands of `python -m rehearsal`. `env` imports the standard library alone, so that any Python can run it."""

from __future__ import annotations

import shutil
import sys
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor

from rehearsal import state
from rehearsal.state import MACHINE, Place

NEXT = 'Point AWS tools at it with:\n\n    eval "$(python -m rehearsal env{})"'


def up(options: Namespace) -> int:
    """Start the cloud, or leave the one that runs."""
    from rehearsal import daemon

    started, place = time.monotonic(), _place(options)
    with place.one_command():
        if place.alive():
            return _already(place, options.cidr)
        throttle = ["--throttle"] if options.throttle else []
        if options.no_hosts:
            daemon.start(place, "rehearsal.api_daemon", "--state", str(place.folder), "--port", str(options.port), *throttle)
        else:
            _clean()
            if not _healthy(options.cidr):
                return 1
            _prepare()
            _start_with_hosts("--cidr", options.cidr, *throttle)
    print(f"The rehearsal cloud is up after {time.monotonic() - started:.0f} s. {NEXT.format(place.options)}")
    return 0


def down(options: Namespace) -> int:
    """End the cloud; also removes what a killed one left."""
    from rehearsal import daemon

    place = _place(options)
    with place.one_command():
        running = place.alive()
        daemon.end(place)
        removed = [] if options.no_hosts else _clean()
        place.clear() if options.no_hosts else shutil.rmtree(place.folder, ignore_errors=True)
    print(
        "The rehearsal cloud is down." if running else "No rehearsal cloud was running" + (", its remains are removed." if removed else ".")
    )
    return 0


def env(options: Namespace) -> int:
    """Print the shell lines that point AWS tools at the cloud."""
    print(state.exports(_place(options).environment()))
    return 0


def status(options: Namespace) -> int:
    """List the instances of the running cloud."""
    import boto3

    environment = _place(options).environment()
    ec2 = boto3.client(
        "ec2",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    print(f"The rehearsal cloud is up, its API on {environment['AWS_ENDPOINT_URL']}.")
    for page in ec2.get_paginator("describe_instances").paginate():
        for instance in (one for reservation in page["Reservations"] for one in reservation["Instances"]):
            name = next((tag["Value"] for tag in instance.get("Tags", []) if tag["Key"] == "Name"), "-")
            print(f"{instance['InstanceId']}  {instance['State']['Name']:13}  {instance.get('PublicIpAddress', '-'):15}  {name}")
    return 0


def doctor(options: Namespace) -> int:
    """Check this machine."""
    return 0 if _healthy(options.cidr, loud=True) else 1


def problems() -> tuple[type[Exception], ...]:
    """Return the errors whose text is all that a user needs; imported only when one of them may have happened."""
    from rehearsal.hosts import containers, image, network
    from rehearsal.mirrors import apt, build, conda_channel

    return apt.AptError, conda_channel.ChannelError, containers.HostError, image.ImageError, build.MirrorError, network.NetworkError


def _place(options: Namespace) -> Place:
    return state.without_hosts(options.state) if options.no_hosts else MACHINE


def _already(place: Place, cidr: str) -> int:
    """Report the cloud that runs; another network than the wanted one is an error."""
    running = place.server().get("cidr", cidr)
    if running != cidr:
        raise state.StateError(f"A rehearsal cloud runs already, on {running} instead of {cidr}. End it first: python -m rehearsal down")
    print(f"The rehearsal cloud is up already. {NEXT.format(place.options)}")
    return 0


def _healthy(cidr: str, loud: bool = False) -> bool:
    """Check the machine; print what is wrong with the command that mends it, and what is right if loud."""
    from rehearsal import doctor as doctor_
    from rehearsal.hosts.network import Network

    checks = doctor_.checks(Network(cidr))
    for check in checks:
        if not check.ok:
            print(f"{check.name}: {check.detail}" + (f"\n    mend it with: {check.mend}" if check.mend else ""), file=sys.stderr)
        elif loud:
            print(f"{check.name}: {check.detail}")
    return all(check.ok for check in checks)


def _prepare() -> None:
    """Make image and mirrors, side by side: both mostly wait for downloads."""
    from rehearsal.hosts import image
    from rehearsal.mirrors import build

    print("Preparing the seat image and the mirrors (the first time takes a minute or two) ...", flush=True)
    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(image.ensure), pool.submit(build.prepare)]:
            job.result()


def _start_with_hosts(*arguments: str) -> None:
    """Start the server; one that does not start leaves nothing. Raises StateError."""
    from rehearsal import daemon

    try:
        daemon.start(MACHINE, "rehearsal.server", *arguments)
    except state.StateError:
        _clean()
        raise


def _clean() -> list[str]:
    """Remove what a server that was killed left. Returns what it was."""
    from rehearsal.hosts.containers import sweep
    from rehearsal.hosts.network import Network

    removed = sweep()
    Network().down()
    for path in (MACHINE.key_file, MACHINE.server_file):
        path.unlink(missing_ok=True)
    if removed:
        print("Removed what an earlier cloud left: " + ", ".join(removed))
    return removed
