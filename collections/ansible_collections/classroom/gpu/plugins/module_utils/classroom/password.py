"""The password of a seat, derived from the class secret: nothing to store, nothing to lose, the same on every run."""

from __future__ import annotations

import hashlib
import hmac

# Lower-case letters and digits that no font confuses (no i, l, o, 0, 1): 31 signs, so 16 of them hold 79 bits.
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
GROUPS, GROUP_LENGTH = 4, 4


def derive(secret: str, purpose: str, seat: str) -> bytes:
    """Return 32 bytes that only the holder of `secret` can compute. `purpose` keeps password and salt apart."""
    if not secret.strip():
        raise ValueError("the class secret is empty")
    if not seat:
        raise ValueError("a password belongs to a seat, and none was named")
    return hmac.new(secret.strip().encode(), f"{purpose}:{seat}".encode(), hashlib.sha256).digest()


def seat_password(secret: str, seat: str) -> str:
    """Return the password of `seat`, such as `k7wd-p2mh-x9ta-e4rv`: to be read aloud and typed."""
    number = int.from_bytes(derive(secret, "password", seat), "big")
    signs = []
    for _ in range(GROUPS * GROUP_LENGTH):
        number, index = divmod(number, len(ALPHABET))
        signs.append(ALPHABET[index])
    return "-".join("".join(signs[start : start + GROUP_LENGTH]) for start in range(0, len(signs), GROUP_LENGTH))
