"""Keeps instances and hosts in step: each change of an instance is a job, done in order for one host, in parallel for several."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from rehearsal.hosts.containers import HostError, HostSpec

from .errors import Call
from .faults import BOOT, FREEZE
from .groups import rules_of
from .images import disk_of
from .instances import BY_GUEST, failure
from .limits import Limits

if TYPE_CHECKING:
    from rehearsal.hosts.containers import Hosts

    from .instances import HostedInstance

log = logging.getLogger("rehearsal.cloud")
AT_ONCE = 4  # hosts that start or stop at one time: more gains nothing on two cores (20 hosts measured)
STARTING_SECONDS = 30.0  # a host that ends by itself so soon could not start: no inotify instances or memory are left, say
SETTLE_SECONDS = 5.0
SETTLE_SECONDS_A_HOST = 1.5
SETTLE_SECONDS_AT_MOST = 50.0  # an SDK gives up reading after 60


class MomentFault(HostError):
    """A host that a fault keeps from booting or from being frozen; the code is the StateReason, as Server.InternalError."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message or "a fault of this rehearsal")
        self.code = code


@dataclass
class Guest:
    """An instance's host: the thread that does its jobs, and what the host was last told."""

    instance: HostedInstance
    jobs: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    applied: tuple | None = None
    answered: bool = False
    booted_at: float = 0.0


class Cloud:
    """Every instance that was launched, and its host. `lock` guards moto's models and this class's own."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self.lock = threading.RLock()
        self.limits = Limits()
        self.hosts: Hosts
        self._guests: dict[str, Guest] = {}
        self._slots = threading.Semaphore(at_once)
        self._cleaner = ThreadPoolExecutor(1)
        self._call = threading.local()

    # --- what moto asks for, under the lock ---------------------------------------------------------------------
    def launch(self, instance: HostedInstance) -> None:
        self._guests[instance.id] = guest = Guest(instance)
        self.hosts.claim(instance.id, disk_of(instance.ec2_backend.amis[instance.image_id]))
        self._submit(guest, self._create)

    def start(self, instance: HostedInstance) -> None:
        self._submit(self._guests[instance.id], self._start)

    def stop(self, instance: HostedInstance) -> None:
        self._submit(self._guests[instance.id], self._stop)

    def reboot(self, instance: HostedInstance) -> None:
        self._submit(self._guests[instance.id], self._reboot)

    def terminate(self, instance: HostedInstance) -> None:
        self._submit(self._guests[instance.id], self._destroy)

    def freeze(self, instance: HostedInstance, snapshot: str, live: bool, done: Callable[[Exception | None], None]) -> None:
        """Make a snapshot of an instance's disk, live or between a stop and a boot; `done` is told, under the lock, what went wrong."""
        running = instance.state == "running"
        self._submit(self._guests[instance.id], partial(self._freeze, snapshot, running and live, running and not live, done))

    def forget(self, snapshot: str) -> None:
        """Delete a snapshot's disk once no host needs it."""
        jobs: list[Future] = getattr(self._call, "jobs", [])
        jobs.append(self._cleaner.submit(self._delete, snapshot))

    def answered(self, instance_id: str) -> bool:
        """Tell whether sshd has answered since the last start."""
        return self._guests[instance_id].answered

    def guest_exited(self, instance_id: str, how: str) -> None:
        """Do what EC2 does when a guest ends by itself: `how` is reboot, poweroff or crash."""
        with self.lock:
            guest = self._guests.get(instance_id)
            if guest is None or guest.instance.state != "running":
                return
            guest.answered = False
            if how == "reboot":
                self._submit(guest, self._start)
            elif how == "poweroff" and guest.instance.instance_initiated_shutdown_behavior == "terminate":
                guest.instance.terminate(BY_GUEST)
            elif how == "crash" and time.monotonic() - guest.booted_at < STARTING_SECONDS:
                guest.instance.terminate(failure(HostError("the host ended while it started; ask python -m rehearsal doctor")))
            else:
                guest.instance.stop(BY_GUEST if how == "poweroff" else failure(HostError("the host ended unexpectedly")))
            self.refresh()

    # --- around an API call -------------------------------------------------------------------------------------
    def begin(self) -> None:
        """Start to collect the jobs that this thread's call causes."""
        self._call.jobs = []

    def settle(self) -> None:
        """Wait a while for the jobs of this thread's call and what they cause: a waiter that finds `pending` costs 15 s."""
        jobs = self._call.jobs
        until = time.monotonic() + min(SETTLE_SECONDS_AT_MOST, SETTLE_SECONDS + SETTLE_SECONDS_A_HOST * len(jobs))
        while undone := [job for job in jobs if not job.done()]:
            if (left := until - time.monotonic()) <= 0:
                return
            wait(undone, timeout=left)

    def refresh(self) -> None:
        """Tell each running host its public address and rules where they are no longer what it was told last."""
        with self.lock:
            for guest in self._guests.values():
                if guest.applied is not None and guest.instance.state == "running" and guest.applied != self._wanted(guest):
                    self._submit(guest, self._set_rules)

    def probe(self) -> None:
        """Ask the running hosts that have not answered yet whether sshd does now."""
        for guest in list(self._guests.values()):
            if guest.instance.state == "running" and not guest.answered:
                guest.answered = self.hosts.reachable(guest.instance.id)

    def by_address(self, private_ip: str) -> HostedInstance | None:
        """Return the living instance with this private address."""
        alive = (guest.instance for guest in list(self._guests.values()) if guest.instance.state not in ("terminated", "stopped"))
        return next((instance for instance in alive if instance.private_ip == private_ip), None)

    def close(self) -> None:
        """Drop the jobs that have not begun and wait for those that have, so that no host is made after the last sweep."""
        guests = list(self._guests.values())
        for guest in guests:
            guest.jobs.shutdown(wait=False, cancel_futures=True)
        for guest in guests:
            guest.jobs.shutdown(wait=True)
        self._cleaner.shutdown(wait=True, cancel_futures=True)

    # --- jobs, each in its host's own thread ---------------------------------------------------------------------
    def _create(self, guest: Guest) -> None:
        guest.booted_at = time.monotonic()
        try:
            self._as_told(BOOT)
            self.hosts.create(_spec(guest.instance), *self._claim(guest))
        except Exception as problem:
            self._fail(problem, guest)
            with self.lock:
                guest.instance.gone(failure(problem))
            self.hosts.destroy(guest.instance.id)
        else:
            self._now_running(guest)

    def _start(self, guest: Guest) -> None:
        guest.answered = False
        try:
            self._as_told(BOOT)
            self.hosts.start(guest.instance.id, *self._claim(guest))
        except Exception as problem:
            self._fail(problem, guest)
            with self.lock:
                guest.applied = None
                guest.instance.become("stopped", failure(problem))
            self.hosts.stop(guest.instance.id)
        else:
            self._now_running(guest)

    def _stop(self, guest: Guest) -> None:
        guest.answered, guest.applied = False, None
        self.hosts.stop(guest.instance.id)
        with self.lock:
            if guest.instance.state == "stopping":
                guest.instance.become("stopped", guest.instance.state_reason)

    def _reboot(self, guest: Guest) -> None:
        guest.answered = False
        self.hosts.reboot(guest.instance.id, *self._claim(guest))

    def _destroy(self, guest: Guest) -> None:
        guest.answered, guest.applied = False, None
        self.hosts.destroy(guest.instance.id)
        with self.lock:
            if guest.instance.state != "terminated":
                guest.instance.gone(guest.instance.state_reason)
            self.refresh()
        guest.jobs.shutdown(wait=False)

    def _set_rules(self, guest: Guest) -> None:
        if guest.instance.state == "running":
            self.hosts.set_rules(guest.instance.id, *self._claim(guest))

    def _freeze(self, snapshot: str, live: bool, between: bool, done: Callable[[Exception | None], None], guest: Guest) -> None:
        try:
            self._as_told(FREEZE)
            if between:
                guest.answered = False
                self.hosts.stop(guest.instance.id)
            (self.hosts.copy if live else self.hosts.freeze)(guest.instance.id, snapshot)
        except Exception as problem:
            self._fail(problem, guest)
            with self.lock:
                done(problem)
        else:
            with self.lock:
                done(None)
        if between:
            self._start(guest)

    def _delete(self, snapshot: str) -> None:
        try:
            self.hosts.delete(snapshot)
        except HostError as problem:
            log.error("%s: %s", snapshot, problem)

    def _as_told(self, moment: Call) -> None:
        """Wait or fail as a fault says. Raises MomentFault."""
        fault = self.limits.faults.take(moment)
        if fault and fault.code:
            raise MomentFault(fault.code, fault.message)

    # --- helpers ----------------------------------------------------------------------------------------------------
    def _submit(self, guest: Guest, job: Callable[[Guest], None]) -> None:
        jobs: list[Future] = getattr(self._call, "jobs", [])
        jobs.append(guest.jobs.submit(self._do, job, guest, jobs))

    def _do(self, job: Callable[[Guest], None], guest: Guest, jobs: list[Future]) -> None:
        """Do a job for the call that has these jobs; rules need no slot, they must not wait for twenty launches."""
        self._call.jobs = jobs
        try:
            if job == self._set_rules:
                job(guest)
            else:
                with self._slots:
                    job(guest)
        except Exception as problem:
            self._fail(problem, guest)

    def _claim(self, guest: Guest) -> tuple:
        """Note and return what the host is about to be told."""
        with self.lock:
            guest.applied = self._wanted(guest)
            return guest.applied

    def _wanted(self, guest: Guest) -> tuple:
        return guest.instance.public_ip, rules_of(guest.instance)

    def _now_running(self, guest: Guest) -> None:
        with self.lock:
            if guest.instance.state == "pending":
                guest.instance.become("running")
            self.refresh()

    def _fail(self, problem: Exception, guest: Guest) -> None:
        log.error("%s: %s", guest.instance.id, problem, exc_info=None if isinstance(problem, HostError) else problem)


def _spec(instance: Any) -> HostSpec:
    """Describe the host of an instance. Without a key pair nobody can log in, as on EC2."""
    pair = instance.ec2_backend.key_pairs.get(instance.key_name)
    return HostSpec(
        instance_id=instance.id,
        private_ip=instance.private_ip,
        hostname=instance.private_dns_name.partition(".")[0],
        authorized_keys=f"{pair.public_key.strip()}\n" if pair else "",
        user_data=base64.b64decode(str(instance.user_data or "")),
    )
