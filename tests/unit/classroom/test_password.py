"""The password of a seat: strong, readable, stable, and accepted by Jupyter."""

import re

import argon2
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.classroom.gpu.plugins.filter.password import jupyter_hash, password
from ansible_collections.classroom.gpu.plugins.module_utils.classroom.password import ALPHABET, derive

SECRET = "a class secret of some length"


def test_password_is_readable_and_has_more_than_60_bits():
    assert re.fullmatch(r"([a-z2-9]{4}-){3}[a-z2-9]{4}", password(SECRET, "s01"))
    assert not set("ilo01") & set(ALPHABET)
    assert len(ALPHABET) ** 16 > 2**60


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((SECRET, "s01"), (SECRET, "s01"), True),
        ((SECRET, "s01"), (SECRET + "\n", "s01"), True),  # A file's last newline is no part of the secret.
        ((SECRET, "s01"), (SECRET, "s02"), False),
        ((SECRET, "s01"), ("another", "s01"), False),
    ],
)
def test_password_depends_on_secret_and_seat_alone(one, other, same):
    assert (password(*one) == password(*other)) is same


@pytest.mark.parametrize(
    ("secret", "seat", "message"),
    [("", "s01", "secret is empty"), (" \n", "s01", "secret is empty"), ("x", "", "none was named")],
)
def test_password_needs_secret_and_seat(secret, seat, message):
    with pytest.raises(AnsibleFilterError, match=message):
        password(secret, seat)


def test_hash_is_stable_and_verifies_as_jupyter_does():
    hashed = jupyter_hash(SECRET, "s01")
    assert hashed == jupyter_hash(SECRET, "s01")
    algorithm, encoded = hashed.split(":", 1)
    assert algorithm == "argon2"
    assert argon2.PasswordHasher().verify(encoded, password(SECRET, "s01"))
    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        argon2.PasswordHasher().verify(encoded, password(SECRET, "s02"))


def test_salt_and_password_are_derived_apart():
    assert derive(SECRET, "password", "s01") != derive(SECRET, "salt", "s01")
