"""A cloud whose instances have no hosts: they run, stop and end by themselves, five hundred of them as well."""

from __future__ import annotations

from concurrent.futures import wait
from typing import Any

from moto.ec2.models import ec2_backends

from rehearsal import ACCOUNT

from .cloud import Cloud
from .limits import Limits

SETTLE_SECONDS = 0.5  # a boot that a fault delays is pending for longer
SETTLE_SECONDS_AN_INSTANCE = 0.02
AT_ONCE = 64


class NoHosts:
    """What stands where the hosts are: everything works at once."""

    def create(self, *_: Any) -> None:
        pass

    claim = start = stop = reboot = destroy = set_rules = freeze = copy = delete = create

    def reachable(self, instance_id: str) -> bool:
        return True


class SimulatedCloud(Cloud):
    """Instances alone."""

    def __init__(self) -> None:
        super().__init__(AT_ONCE)
        self.hosts = NoHosts()

    def settle(self) -> None:
        jobs = self._call.jobs
        wait(jobs, timeout=SETTLE_SECONDS + SETTLE_SECONDS_AN_INSTANCE * len(jobs))

    def refresh(self) -> None:
        """Nothing has a firewall."""

    def reset(self) -> None:
        """Begin anew: no instances, nothing else of EC2's, no limits."""
        with self.lock:
            for guest in self._guests.values():
                guest.jobs.shutdown(wait=False, cancel_futures=True)
            self._guests.clear()
            self.limits = Limits()
            for backend in ec2_backends[ACCOUNT].values():
                backend.reset()
