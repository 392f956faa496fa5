"""The commands of `python -m rehearsal`. `env` imports the standard library alone, so that any Python can run it."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor

from rehearsal import state

READY_SECONDS = 60.0
END_SECONDS = 90.0
NEXT = 'Point AWS tools at it with:\n\n    eval "$(python -m rehearsal env)"'


def up(options: Namespace) -> int:
    """Start the cloud, or leave the one that runs."""
    started = time.monotonic()
    with state.one_command():
        if state.alive():
            return _already(options.cidr)
        _clean()
        if not _healthy(options.cidr):
            return 1
        _prepare()
        _start_server(options.cidr)
    print(f"The rehearsal cloud is up after {time.monotonic() - started:.0f} s. {NEXT}")
    return 0


def down(options: Namespace) -> int:
    """End the cloud; also removes what a killed one left."""
    with state.one_command():
        running = state.alive()
        _end_server()
        removed = _clean()
        shutil.rmtree(state.RUN, ignore_errors=True)
    print(
        "The rehearsal cloud is down." if running else "No rehearsal cloud was running" + (", its remains are removed." if removed else ".")
    )
    return 0


def env(options: Namespace) -> int:
    """Print the shell lines that point AWS tools at the cloud."""
    print(state.exports(state.credentials()))
    return 0


def status(options: Namespace) -> int:
    """List the instances of the running cloud."""
    import boto3

    key = state.credentials()
    ec2 = boto3.client(
        "ec2",
        endpoint_url=state.API_URL,
        region_name=state.REGION,
        aws_access_key_id=key["access_key"],
        aws_secret_access_key=key["secret_key"],
    )
    print(f"The rehearsal cloud is up, its API on {state.API_URL}.")
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
    from rehearsal import apt, channel, hosts, image, mirrors, network

    return apt.AptError, channel.ChannelError, hosts.HostError, image.ImageError, mirrors.MirrorError, network.NetworkError


def _already(cidr: str) -> int:
    """Report the cloud that runs; another network than the wanted one is an error."""
    running = (state.read(state.SERVER) or {}).get("cidr", cidr)
    if running != cidr:
        raise state.StateError(f"A rehearsal cloud runs already, on {running} instead of {cidr}. End it first: python -m rehearsal down")
    print(f"The rehearsal cloud is up already. {NEXT}")
    return 0


def _healthy(cidr: str, loud: bool = False) -> bool:
    """Check the machine; print what is wrong with the command that mends it, and what is right if loud."""
    from rehearsal import doctor as doctor_
    from rehearsal.network import Network

    checks = doctor_.checks(Network(cidr))
    for check in checks:
        if not check.ok:
            print(f"{check.name}: {check.detail}" + (f"\n    mend it with: {check.mend}" if check.mend else ""), file=sys.stderr)
        elif loud:
            print(f"{check.name}: {check.detail}")
    return all(check.ok for check in checks)


def _prepare() -> None:
    """Make image and mirrors, side by side: both mostly wait for downloads."""
    from rehearsal import image, mirrors

    print("Preparing the seat image and the mirrors (the first time takes a minute or two) ...", flush=True)
    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(image.ensure), pool.submit(mirrors.prepare)]:
            job.result()


def _start_server(cidr: str) -> None:
    """Start the daemon and wait until it says that it is ready.

    Raises:
        StateError: it ended or did not answer; with the last lines of its log.
    """
    state.RUN.mkdir(mode=0o755, exist_ok=True)
    reader, writer = os.pipe()
    with state.LOG.open("w") as log:
        command = [sys.executable, "-B", "-m", "rehearsal.server", "--cidr", cidr, "--ready", str(writer)]
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[writer])
    os.close(writer)
    select.select([reader], [], [], READY_SECONDS)
    if not os.read(reader, 10):
        _end_server()
        _clean()
        raise state.StateError(f"The rehearsal's server did not start. Its log, {state.LOG}, ends with:\n{_tail()}")


def _tail() -> str:
    return "\n".join(state.LOG.read_text(encoding="utf-8").splitlines()[-5:])


def _end_server() -> None:
    """Ask the server to end, and make it end if it does not."""
    for number, seconds in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, 5.0)):
        server = state.read(state.SERVER)
        if server and state.alive():
            os.kill(server["pid"], number)
        if state.wait_until_gone(seconds):
            return


def _clean() -> list[str]:
    """Remove what a server that was killed left. Returns what it was."""
    from rehearsal.hosts import sweep
    from rehearsal.network import Network

    removed = sweep()
    Network().down()
    for path in (state.CREDENTIALS, state.SERVER):
        path.unlink(missing_ok=True)
    if removed:
        print("Removed what an earlier cloud left: " + ", ".join(removed))
    return removed
