#!/usr/bin/python
"""Look after the private key and the certificate file of a seat, and ask for a certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
module: seat_certificate
short_description: Look after the private key and the certificate file of a seat
description:
  - The seat's half of M(classroom.gpu.certificate), which says on the controller what the certificate file is to hold.
  - Makes the private key where there is no sound one, and sets the rights of both files. A link or a file that cannot be used gives way.
author: GPU Classroom
options:
  path:
    description: The certificate file.
    type: path
    required: true
  key:
    description: The private key, on the curve P-256.
    type: path
    required: true
  owner:
    description: The user who alone may read the private key. The certificate file belongs to whoever runs this, which is root.
    type: str
    required: true
  chain:
    description: What the certificate file is to hold. Without it the file is only looked at.
    type: str
  obsolete:
    description: Files to be removed.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Says what would be done, and does nothing. Where a key would be made, nothing is asked for.
    support: full
"""

EXAMPLES = r"""
- name: Look at the seat's certificate
  classroom.gpu.seat_certificate:
    path: /etc/jupyter/cert.pem
    key: /etc/jupyter/key.pem
    owner: ubuntu
"""

RETURN = r"""
request:
  description: A request for a certificate, signed by the private key.
  returned: where there is a key
  type: str
chain:
  description: What the certificate file holds; nothing where it cannot be read as text.
  returned: always
  type: str
done:
  description: What was, or would be, done.
  returned: always
  type: list
  elements: str
"""

import os
import pwd
import stat
import traceback
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError:
    x509, MISSING = None, traceback.format_exc()

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "key": {"type": "path", "required": True, "no_log": False},  # where it lies
    "owner": {"type": "str", "required": True},
    "chain": {"type": "str"},
    "obsolete": {"type": "list", "elements": "path", "default": []},
}
CERTIFICATE, KEY = 0o644, 0o600


def content(path: Path) -> bytes | None:
    """Return what a file holds; nothing where there is no file, or a link, which is never followed."""
    try:
        return path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else None
    except FileNotFoundError:
        return None


def text(path: Path) -> str:
    """Return a file's text, or nothing."""
    try:
        return (content(path) or b"").decode()
    except UnicodeDecodeError:
        return ""


def private_key(pem: bytes | None):
    """Return the private key that a file holds, or nothing where it holds no sound one."""
    try:
        key = serialization.load_pem_private_key(pem or b"", None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1) else None


def new_key() -> bytes:
    """Make a private key, and return it as PEM."""
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(*form)


def request(key) -> str:
    """Return a request for a certificate. Names and addresses are the controller's to say."""
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return asked.public_bytes(serialization.Encoding.PEM).decode()


def write(path: Path, data: bytes, uid: int, mode: int) -> None:
    """Replace a file at once, so that whoever reads it meanwhile finds the old one or the new one."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        os.fchown(file.fileno(), uid, -1)
        os.fchmod(file.fileno(), mode)
    new.replace(path)


class Seat:
    """Both files, and what was done to them."""

    def __init__(self, params: dict, check: bool) -> None:
        self.path, self.key, self.check, self.done = Path(params["path"]), Path(params["key"]), check, []
        self.owner = pwd.getpwnam(params["owner"]).pw_uid

    def does(self, what: str) -> bool:
        """Note a step, and tell whether it is to be taken."""
        self.done.append(what)
        return not self.check

    def settle(self, chain: str | None, obsolete: list[str]) -> None:
        """Bring key, certificate file and rights where they should be."""
        if private_key(content(self.key)) is None and self.does(f"made the private key {self.key}"):
            write(self.key, new_key(), self.owner, KEY)
        if chain is not None and chain != text(self.path) and self.does(f"wrote {self.path}"):
            write(self.path, chain.encode(), os.geteuid(), CERTIFICATE)
        self.set_rights(self.key, self.owner, KEY)
        self.set_rights(self.path, os.geteuid(), CERTIFICATE)
        for path in obsolete:
            if os.path.lexists(path) and self.does(f"removed {path}"):
                os.unlink(path)

    def set_rights(self, path: Path, uid: int, mode: int) -> None:
        """Let a file that is there belong to somebody, with these permissions."""
        if content(path) is None:
            return
        found = path.stat()
        if (found.st_uid, stat.S_IMODE(found.st_mode)) != (uid, mode) and self.does(f"set owner and mode of {path}"):
            os.chown(path, uid, -1)
            path.chmod(mode)


@path_errors.told
def main() -> None:
    """Look, mend, and ask."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if x509 is None:
        module.fail_json(msg=missing_required_lib("cryptography (python3-cryptography of the distribution)"), exception=MISSING)
    try:
        seat = Seat(module.params, module.check_mode)
        seat.settle(module.params["chain"], module.params["obsolete"])
    except KeyError:
        module.fail_json(msg=f"The seat has no user {module.params['owner']}, whom {module.params['key']} is to belong to.")
    except OSError as error:
        module.fail_json(msg=path_errors.cause(error))
    key = private_key(content(seat.key))
    asked = {"request": request(key)} if key else {}
    module.exit_json(changed=bool(seat.done), done=seat.done, chain=text(seat.path), **asked)


if __name__ == "__main__":
    main()
