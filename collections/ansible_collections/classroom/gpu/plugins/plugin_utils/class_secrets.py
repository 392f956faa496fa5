"""What a class keeps secret: its SSH key pair, its certificate authority and the secret that its passwords derive from."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.classroom.gpu.plugins.plugin_utils import authority, class_folder
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_ssh_private_key

SIGNS = string.ascii_letters + string.digits
LENGTH = 64
AGAIN = "end the class (ansible-playbook playbooks/teardown.yml) and begin again"


@dataclass(frozen=True)
class Part:
    """A file of the class: its mode, how to find out what is wrong with it, and how to make it."""

    mode: int
    fault: Callable[[Secrets, bytes], str]
    new: Callable[[Secrets], bytes]


@dataclass
class Secrets:
    """The secrets of one class, in its folder."""

    folder: Path
    classroom: str
    validity: str
    seats_exist: bool

    def __post_init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.ends = authority.end_of(self.validity, self.now)

    def settle(self, check: bool) -> list[str]:
        """Make what is missing and mend what can be; return what was, or would be, done.

        Raises OSError, and ValueError with a sentence for whoever runs this.
        """
        self.refuse_to_begin_anew()
        done = self.mend_rights(check)
        if not self.folder.is_dir() or any(self.fault(name) for name in PARTS):
            done += self.make(check)
        return done

    def refuse_to_begin_anew(self) -> None:
        """Raise ValueError where seats depend on what is not here.

        Made anew it would lock the organiser out, change every password and end the trust in the certificates.
        """
        missing = [name for name in ("id_ed25519", "ca.key", "secret") if not (self.folder / name).exists()]
        if self.seats_exist and missing:
            raise ValueError(
                f"Seats of class {self.classroom} exist, but {self.folder} lacks {', '.join(missing)}. Copy that folder from the machine "
                f"that made the class, or {AGAIN}."
            )

    def mend_rights(self, check: bool) -> list[str]:
        """Take from others the right to what is there."""
        done = []
        for path, mode in [(self.folder, class_folder.FOLDER), *((self.folder / name, part.mode) for name, part in PARTS.items())]:
            if not class_folder.has_rights(path, mode):
                done.append(f"set the mode of {path} to {mode:04o}")
                if not check:
                    path.chmod(mode)
        return done

    def make(self, check: bool) -> list[str]:
        """Make what is missing. What another run made meanwhile is kept."""
        if check:
            return self.make_parts(check)
        class_folder.make(self.folder)
        with class_folder.locked(self.folder):
            return self.make_parts(check)

    def make_parts(self, check: bool) -> list[str]:
        """Go through the parts in their order: each may be made from one before it."""
        done = []
        for name, part in PARTS.items():
            if fault := self.fault(name):
                done.append(f"made {self.folder / name}, as {fault}")
                if not check:
                    class_folder.replace(self.folder / name, part.new(self), part.mode)
        return done

    def fault(self, name: str) -> str:
        """Return why a part has to be made, or nothing. Raises ValueError where that would take something away."""
        content = class_folder.content(self.folder / name)
        return "there was none" if content is None else PARTS[name].fault(self, content)

    def damaged(self, name: str, why: str) -> ValueError:
        """Return the error of a file that only a person can put right."""
        path = self.folder / name
        if not self.seats_exist:
            return ValueError(f"{path} is damaged: {why}. No seat depends on it yet: delete it, and run this again.")
        return ValueError(f"{path} is damaged: {why}. Copy it from a backup or from the machine that made the class, or {AGAIN}.")

    def ssh_key(self) -> Ed25519PrivateKey | None:
        """Return the key that logs in to the seats; nothing where there is none yet."""
        content = class_folder.content(self.folder / "id_ed25519")
        if content is None:
            return None
        try:
            return load_ssh_private_key(content, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise self.damaged("id_ed25519", "it holds no private key without a passphrase") from error

    def ca_key(self) -> authority.ec.EllipticCurvePrivateKey | None:
        """Return the key of the CA; nothing where there is none yet."""
        content = class_folder.content(self.folder / "ca.key")
        if content is None:
            return None
        try:
            return authority.key_from(content)
        except ValueError as error:
            raise self.damaged("ca.key", str(error)) from error

    def public_line(self) -> bytes:
        """Return the public half of the key pair as EC2 wants it."""
        public = self.ssh_key().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return public + f" classroom-{self.classroom}\n".encode()

    def ca_certificate(self) -> bytes:
        """Make the certificate of the CA from its key."""
        return authority.pem(authority.new_ca(self.ca_key(), self.classroom, self.now, self.ends))


def _ssh_key_fault(own: Secrets, _content: bytes) -> str:
    """A key pair is never made anew."""
    own.ssh_key()
    return ""


def _new_ssh_key(_own: Secrets) -> bytes:
    """Make the key that logs in to the seats."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _public_key_fault(own: Secrets, content: bytes) -> str:
    """The public half follows from the private one."""
    return "" if own.ssh_key() and content.split() == own.public_line().split() else "it was not that of id_ed25519"


def _ca_key_fault(own: Secrets, _content: bytes) -> str:
    """The key of a CA is never made anew."""
    own.ca_key()
    return ""


def _ca_fault(own: Secrets, content: bytes) -> str:
    """The certificate follows from the key, unless the key is another CA's, which no browser of the class trusts."""
    key, certificate = own.ca_key(), authority.certificate_from(content)
    if key and certificate and not authority.same_key(certificate, key):
        if own.seats_exist:
            raise own.damaged("ca.key", f"it is not the key of {own.folder / 'ca.crt'}")
        return "it was that of another key"
    return authority.ca_fault(certificate, own.classroom, own.now)


def _secret_fault(own: Secrets, content: bytes) -> str:
    """The secret is never made anew: every password derives from it."""
    if not re.fullmatch(rb"[A-Za-z0-9]{%d}\s*" % LENGTH, content):
        raise own.damaged("secret", f"it is not {LENGTH} letters and digits")
    return ""


def _new_secret(_own: Secrets) -> bytes:
    """Make the secret."""
    return "".join(secrets.choice(SIGNS) for _ in range(LENGTH)).encode()


PARTS = {
    "id_ed25519": Part(0o600, _ssh_key_fault, _new_ssh_key),
    "id_ed25519.pub": Part(0o600, _public_key_fault, Secrets.public_line),
    "ca.key": Part(0o600, _ca_key_fault, lambda _: authority.new_key()),
    "ca.crt": Part(0o644, _ca_fault, Secrets.ca_certificate),
    "secret": Part(0o600, _secret_fault, _new_secret),
}
