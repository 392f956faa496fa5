"""Public addresses of the rehearsal: one after the other from 198.18.0.0/16, so that each start meets a new one."""

from __future__ import annotations

import itertools
import threading
from ipaddress import IPv4Network

POOL = IPv4Network("198.18.0.0/16")


class Addresses:
    """Hands out public addresses; one comes again only after 65,534 others."""

    def __init__(self, pool: IPv4Network = POOL) -> None:
        self._next = itertools.cycle(pool.hosts())
        self._lock = threading.Lock()

    def draw(self) -> str:
        """Return the next address."""
        with self._lock:
            return str(next(self._next))
