"""Filters that turn the class secret into what a seat needs to know: a password for its student, a hash for Jupyter."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.classroom.gpu.plugins.module_utils.classroom.password import derive, seat_password

try:
    from argon2.low_level import Type, hash_secret
except ImportError:  # Only jupyter_hash needs it, which says so.
    hash_secret = None

# The cost that jupyter_server.auth.passwd chooses (jupyter_server 2.21, auth/security.py).
COST = {"time_cost": 10, "memory_cost": 10240, "parallelism": 8, "hash_len": 32}


def password(secret: str, seat: str) -> str:
    """Return the password of `seat`."""
    try:
        return seat_password(secret, seat)
    except ValueError as error:
        raise AnsibleFilterError(f"No password for seat '{seat}': {error}.") from error


def jupyter_hash(secret: str, seat: str) -> str:
    """Return the argon2 hash that Jupyter keeps of the seat's password.

    Its salt is derived too, so that the same password always has the same hash and a second run changes nothing.
    """
    if hash_secret is None:
        raise AnsibleFilterError("jupyter_hash needs the Python package argon2-cffi on the controller: run 'make setup'.")
    typed = password(secret, seat).encode()
    return "argon2:" + hash_secret(typed, derive(secret, "salt", seat)[:16], type=Type.ID, **COST).decode()


class FilterModule:
    """Make the filters known to Ansible."""

    def filters(self) -> dict:
        """Return the filters by name."""
        return {"seat_password": password, "jupyter_hash": jupyter_hash}
