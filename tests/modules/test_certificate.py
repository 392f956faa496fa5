"""A seat's certificate: what is kept, what is mended, and whom a browser that knows the class's CA believes.

The action plugin and its half on the seat are the real ones; only the way between them, SSH, is left out.
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.classroom.gpu.plugins.action import certificate
from ansible_collections.classroom.gpu.plugins.modules import seat_certificate
from ansible_collections.classroom.gpu.plugins.plugin_utils import authority
from ansible_collections.classroom.gpu.plugins.plugin_utils.class_secrets import Secrets
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ADDRESSES = ["127.0.0.1", "127.0.0.2"]
ROOT = "root"  # who runs these tests is known by number alone
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")


class Action(certificate.ActionModule):
    """The action plugin, with the seat in this process."""

    def __init__(self, arguments: dict, check: bool) -> None:
        self._task, self._load_name = SimpleNamespace(args=arguments, check_mode=check, async_val=0), "certificate"
        self._connection, self.calls = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere")), []

    def _execute_module(self, module_name: str, module_args: dict, task_vars: dict | None) -> dict:
        """Run the module as the seat would, and count it."""
        self.calls.append(module_name)
        stdout, sys.stdout = sys.stdout, io.StringIO()
        try:
            with patch_module_args(module_args | {"_ansible_check_mode": self._task.check_mode}), pytest.raises(SystemExit):
                seat_certificate.main()
            return json.loads(sys.stdout.getvalue())
        finally:
            sys.stdout = stdout


class Seat:
    """A seat s01, and the class's folder on the controller."""

    def __init__(self, folder: Path) -> None:
        self.secrets, self.etc = folder / "class", folder / "etc"
        self.etc.mkdir()
        self.path, self.key, self.copy = self.etc / "cert.pem", self.etc / "key.pem", self.secrets / "seats/s01/jupyter.crt"
        self.old = self.etc / "request.pem"
        Secrets(self.secrets, "class", "+400d", False).settle(False)

    def run(self, check: bool = False, **more: object) -> tuple[dict, int]:
        """Run the task; return its result and how often it called the seat."""
        here = {"class_dir": str(self.secrets), "copy": str(self.copy), "seat": "s01", "addresses": ADDRESSES}
        there = {"path": str(self.path), "key": str(self.key), "owner": ROOT, "obsolete": [str(self.old)]}
        action = Action(here | there | more, check)
        return action.run(task_vars={}), len(action.calls)

    def done(self, **more: object) -> list[str]:
        """Run the task, and return what it did, without folders."""
        result, _ = self.run(**more)
        assert not result.get("failed"), result
        return [line.replace(f"{self.etc}/", "").replace(f"{self.copy.parent}/", "") for line in result["done"]]

    def state(self) -> dict[str, tuple]:
        """Return all that can be seen of both files and of the copy."""
        paths = [path for path in (self.path, self.key, self.copy) if os.path.lexists(path)]
        looks = [path.lstat() for path in paths]
        return {path.name: (s.st_mode, s.st_uid, s.st_ino, path.read_bytes()) for path, s in zip(paths, looks, strict=True)}

    def certificate(self) -> x509.Certificate:
        """Return what is installed."""
        return x509.load_pem_x509_certificate(self.path.read_bytes())

    def ca(self, name: str = "class") -> tuple[x509.Certificate, authority.ec.EllipticCurvePrivateKey]:
        """Return the class's CA, or another one that calls itself so."""
        if name == "class":
            found = [(self.secrets / part).read_bytes() for part in ("ca.crt", "ca.key")]
            return authority.certificate_from(found[0]), authority.key_from(found[1])
        key = authority.key_from(authority.new_key())
        now = datetime.now(UTC)
        return authority.new_ca(key, "class", now, now + timedelta(days=1)), key

    def sign(self, form=None, ca: str = "class", days: float = 365) -> None:
        """Install, and keep, a certificate for the seat's key of this form."""
        request = x509.load_pem_x509_csr(seat_certificate.request(seat_certificate.private_key(self.key.read_bytes())).encode())
        issuer, key = self.ca(ca)
        text = authority.pem(authority.sign(issuer, key, request, form or authority.of_seat("s01", ADDRESSES), days))
        self.copy.write_bytes(text)
        self.path.write_bytes(text + (self.secrets / "ca.crt").read_bytes())

    def age(self, days: int) -> None:
        """Let certificate and copy be of some days ago."""
        self.sign(days=365 - days)


@pytest.fixture
def seat(tmp_path: Path) -> Seat:
    """A seat that has its certificate."""
    seat = Seat(tmp_path)
    result, calls = seat.run()
    assert (result["changed"], calls) == (True, 2)
    return seat


def handshake(seat: Seat, address: str) -> None:
    """Speak TLS with the seat's files as somebody who trusts the class's CA alone, as strictly as newer Pythons do."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(seat.secrets / "ca.crt"))
    server.load_cert_chain(seat.path, seat.key)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ends = socket.socketpair()

    def serve() -> None:
        """Be the seat's half; a client that breaks off says why itself."""
        try:
            server.wrap_socket(ends[0], server_side=True).close()
        except OSError:
            ends[0].close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(ends[1], server_hostname=address).close()
    finally:
        ends[1].close()
        thread.join()


def test_a_seat_gets_its_certificate_in_two_calls_and_then_needs_one(tmp_path: Path) -> None:
    seat = Seat(tmp_path)
    assert seat.run(check=True)[0]["done"] == [f"made the private key {seat.key}"]
    assert list(seat.etc.iterdir()) == [] and not seat.copy.exists()
    assert seat.done() == ["made the private key key.pem", "signed a certificate, as there was none", "wrote jupyter.crt", "wrote cert.pem"]
    assert [path.stat().st_mode & 0o777 for path in (seat.path, seat.key, seat.copy, seat.copy.parent)] == [0o644, 0o600, 0o644, 0o700]
    assert seat.path.read_bytes() == seat.copy.read_bytes() + (seat.secrets / "ca.crt").read_bytes()
    before = seat.state()
    for check in (True, False):
        result, calls = seat.run(check=check)
        assert (result["changed"], result["done"], calls) == (False, [], 1)
    assert seat.state() == before


def test_a_browser_that_trusts_the_class_believes_it_at_its_addresses_alone(seat: Seat) -> None:
    for address in ADDRESSES:
        handshake(seat, address)
    for other in ("127.0.0.3", "localhost"):
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            handshake(seat, other)
    verified = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        seat.secrets / "ca.crt",
        "-verify_ip",
        ADDRESSES[0],
        seat.copy,
    ]
    assert subprocess.run(verified, check=False, capture_output=True).returncode == 0
    shown = subprocess.run(["openssl", "x509", "-in", seat.path, "-noout", "-text"], check=True, capture_output=True, text=True).stdout
    for said in (
        "Digital Signature\n",
        "TLS Web Server Authentication\n",
        "IP Address:127.0.0.1, IP Address:127.0.0.2\n",
        "Seat s01 of the class",
    ):
        assert said in shown
    assert seat.certificate().not_valid_after_utc - seat.certificate().not_valid_before_utc == timedelta(days=365)


def test_nobody_believes_the_ca_about_a_web_site(seat: Seat) -> None:
    subject, extensions = authority.of_seat("s01", ADDRESSES)
    site = (x509.SubjectAlternativeName([x509.DNSName("example.org")]), False)
    seat.sign((subject, [site, *extensions[1:]]))
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(seat, "example.org")


def test_what_the_private_key_is_nobody_is_told(seat: Seat) -> None:
    secrets = [*seat.key.read_text().splitlines()[1:-1], *(seat.secrets / "ca.key").read_text().splitlines()[1:-1]]
    seat.path.unlink()
    told = json.dumps(seat.run()[0])
    assert not any(line in told for line in secrets)
    assert not any(line in path.read_text() for line in secrets[:3] for path in seat.secrets.rglob("*") if path.is_file())


def rsa_key() -> bytes:
    """Return a key of the wrong kind."""
    return rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def link(path: Path) -> None:
    """Put a link to the same content in a file's place."""
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def alien(seat: Seat) -> None:
    """Let somebody else's CA of the same name sign."""
    seat.sign(ca="another")


def site(seat: Seat) -> None:
    """Let the CA sign the name of a web site beside the addresses."""
    subject, extensions = authority.of_seat("s01", ADDRESSES)
    seat.sign((subject, [(x509.SubjectAlternativeName([*extensions[0][0], x509.DNSName("example.org")]), False), *extensions[1:]]))


SAME = ["wrote cert.pem"]
KEY = ["made the private key key.pem"]
# What is done to a seat, what mends it, with how many calls, and whether the certificate is the same as before.
DAMAGES: dict[str, tuple[Callable[[Seat], object], list[str], int, bool]] = {
    "certificate deleted": (lambda s: s.path.unlink(), SAME, 2, True),
    "certificate cut short": (lambda s: s.path.write_bytes(s.path.read_bytes()[:300]), SAME, 2, True),
    "certificate is no text": (lambda s: s.path.write_bytes(b"\0\xff"), SAME, 2, True),
    "certificate without the CA's": (lambda s: s.path.write_bytes(s.copy.read_bytes()), SAME, 2, True),
    "certificate is a link": (lambda s: link(s.path), SAME, 2, True),
    "certificate that everybody can write": (lambda s: s.path.chmod(0o666), ["set owner and mode of cert.pem"], 1, True),
    "certificate of another CA": (alien, ["signed .* not of the class's CA", "wrote jupyter.crt", "wrote cert.pem"], 2, False),
    "certificate for a web site": (site, ["signed .* other addresses or uses", "wrote jupyter.crt", "wrote cert.pem"], 2, False),
    "certificate near its end": (lambda s: s.age(336), ["signed .* is good from", "wrote jupyter.crt", "wrote cert.pem"], 2, False),
    "key deleted": (lambda s: s.key.unlink(), [*KEY, "signed .* another key", "wrote jupyter.crt", "wrote cert.pem"], 2, False),
    "key is garbage": (lambda s: s.key.write_bytes(b"{"), [*KEY, "signed .* another key", "wrote jupyter.crt", "wrote cert.pem"], 2, False),
    "key of another kind": (lambda s: s.key.write_bytes(rsa_key()), [*KEY, "signed", "wrote jupyter.crt", "wrote cert.pem"], 2, False),
    "key is a link": (lambda s: link(s.key), [*KEY, "signed", "wrote jupyter.crt", "wrote cert.pem"], 2, False),
    "another key": (
        lambda s: s.key.write_bytes(authority.new_key()),
        ["signed .* another key", "wrote jupyter.crt", "wrote cert.pem"],
        2,
        False,
    ),
    "key that others can read": (lambda s: s.key.chmod(0o644), ["set owner and mode of key.pem"], 1, True),
    "copy deleted": (lambda s: s.copy.unlink(), ["wrote jupyter.crt"], 1, True),
    "copy is garbage": (lambda s: s.copy.write_bytes(b"\0"), ["wrote jupyter.crt"], 1, True),
    "copy that others can write": (lambda s: s.copy.chmod(0o666), ["wrote jupyter.crt"], 1, True),
    "both certificates deleted": (
        lambda s: [path.unlink() for path in (s.path, s.copy)],
        ["signed .* there was none", "wrote jupyter.crt", "wrote cert.pem"],
        2,
        False,
    ),
    "a request of before": (lambda s: s.old.write_text("request"), ["removed request.pem"], 1, True),
}


@pytest.mark.parametrize(("damage", "mended", "calls", "same"), DAMAGES.values(), ids=list(DAMAGES))
def test_a_damage_is_foreseen_mended_and_gone(seat: Seat, damage: Callable, mended: list[str], calls: int, same: bool) -> None:
    serial = seat.certificate().serial_number
    damage(seat)
    before = seat.state()
    foreseen = seat.done(check=True)
    assert seat.state() == before
    done = seat.done()
    assert len(done) == len(mended) and all(re.match(said, line) for said, line in zip(mended, done, strict=True)), done
    # Where a key is due, what follows from it cannot be said before it is there.
    assert foreseen == (KEY if KEY[0] in done else done)
    assert (seat.certificate().serial_number == serial) is same
    for path, mode in ((seat.path, 0o644), (seat.key, 0o600), (seat.copy, 0o644)):
        assert (path.is_symlink(), path.stat().st_mode & 0o777) == (False, mode)
    handshake(seat, ADDRESSES[0])
    result, again = seat.run()
    assert (result["done"], again) == ([], 1)


@pytest.mark.parametrize("check", [True, False])
def test_a_damage_takes_as_many_calls_as_it_must(seat: Seat, check: bool) -> None:
    seat.key.chmod(0o644)
    assert seat.run(check=check)[1] == 1
    seat.path.unlink()
    assert seat.run(check=check)[1] == 2


@needs_root
def test_files_that_belong_to_somebody_else_are_taken_back(seat: Seat) -> None:
    for path in (seat.path, seat.key):
        os.chown(path, 1, 1)
    assert seat.done() == ["set owner and mode of key.pem", "set owner and mode of cert.pem"]
    assert [path.stat().st_uid for path in (seat.path, seat.key)] == [0, 0]
    assert seat.done(owner="daemon") == ["set owner and mode of key.pem"]
    assert [path.stat().st_uid for path in (seat.path, seat.key)] == [0, 1]


def test_a_certificate_is_kept_until_30_days_before_its_end(seat: Seat) -> None:
    seat.age(334)
    before = seat.state()
    assert seat.done() == []
    assert seat.state() == before


def test_a_certificate_follows_the_addresses(seat: Seat) -> None:
    serial = seat.certificate().serial_number
    assert seat.done(addresses=[*reversed(ADDRESSES), ADDRESSES[0]]) == []
    assert len(seat.done(addresses=["127.0.0.3"])) == 3
    assert seat.certificate().serial_number != serial
    handshake(seat, "127.0.0.3")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(seat, ADDRESSES[0])


def test_a_certificate_that_both_sides_lost_in_part_is_taken_from_the_one_that_has_it(seat: Seat) -> None:
    """The controller's counts first: what is on the seat comes back as it was, and Jupyter need not start again."""
    kept = seat.copy.read_bytes()
    seat.sign()
    installed = seat.copy.read_bytes()
    seat.copy.write_bytes(kept)
    assert kept != installed and seat.done() == ["wrote cert.pem"]
    assert seat.path.read_bytes().startswith(kept)


def test_a_seat_of_before_is_kept_as_it_is(tmp_path: Path) -> None:
    """Key, request and certificate as OpenSSL makes them, in the shape that community.crypto gave them."""
    seat = Seat(tmp_path)
    seat.copy.parent.mkdir(parents=True, mode=0o700)
    says = seat.etc / "extensions"
    says.write_text(
        "subjectAltName=IP:127.0.0.1,IP:127.0.0.2\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    ca = ["-CA", seat.secrets / "ca.crt", "-CAkey", seat.secrets / "ca.key", "-CAcreateserial", "-CAserial", seat.etc / "serial"]
    for words in (
        ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", seat.key],
        ["req", "-new", "-key", seat.key, "-subj", "/CN=Seat s01 of the class", "-out", seat.etc / "request"],
        ["x509", "-req", "-in", seat.etc / "request", "-days", "365", *ca, "-extfile", says, "-out", seat.copy],
    ):
        subprocess.run(["openssl", *words], check=True, capture_output=True)
    seat.key.chmod(0o600)
    seat.path.write_bytes(seat.copy.read_bytes() + (seat.secrets / "ca.crt").read_bytes())
    before = seat.state()
    for check in (True, False):
        assert seat.done(check=check) == []
    assert seat.state() == before
    handshake(seat, ADDRESSES[0])


UNUSABLE = {
    "no CA": (
        lambda s: (s.secrets / "ca.crt").unlink(),
        "ca.crt cannot be used: it is missing. Let 'ansible-playbook site.yml' look after",
    ),
    "a broken CA": (lambda s: (s.secrets / "ca.crt").write_text("{"), "ca.crt cannot be used: it holds no certificate. Let"),
    "no CA key": (lambda s: (s.secrets / "ca.key").unlink(), "ca.key cannot be used: it is missing. Let"),
    "a broken CA key": (lambda s: (s.secrets / "ca.key").write_text("{"), "ca.key cannot be used: it holds no private key. Let"),
    "another CA key": (
        lambda s: (s.secrets / "ca.key").write_bytes(authority.new_key()),
        "ca.key cannot be used: it is not the key of ca.crt. Let",
    ),
}


@pytest.mark.parametrize(("damage", "told"), UNUSABLE.values(), ids=list(UNUSABLE))
def test_a_ca_that_cannot_sign_is_told_and_nothing_is_changed(seat: Seat, damage: Callable, told: str) -> None:
    damage(seat)
    before = seat.state()
    result, _ = seat.run(addresses=["127.0.0.3"])
    assert result["failed"] and result["msg"].startswith(f"{seat.secrets}/{told}")
    assert seat.state() == before


def test_what_cannot_be_made_is_told(seat: Seat) -> None:
    for more, told in (
        ({"addresses": ["fd00::1"]}, "A certificate of the class is for IPv4 addresses alone: Expected 4 octets in 'fd00::1'."),
        ({"addresses": ["seat.example.org"]}, "for IPv4 addresses alone"),
        ({"owner": "nobody-of-this-name"}, f"The seat has no user nobody-of-this-name, whom {seat.key} is to belong to."),
        ({"key": f"{seat.etc}/none/key.pem"}, f"{seat.etc}/none on "),
        ({"copy": f"{seat.path}/jupyter.crt"}, f"{seat.path}/jupyter.crt cannot be read (Not a directory)"),
    ):
        result, _ = seat.run(**more)
        assert result["failed"] and told in result["msg"]


def test_a_request_that_the_key_did_not_sign_gets_nothing() -> None:
    key = seat_certificate.private_key(authority.new_key())
    asked = x509.load_pem_x509_csr(seat_certificate.request(key).encode())
    assert authority.same_key(authority.request_from(asked.public_bytes(Encoding.PEM).decode()), key)
    whole = asked.public_bytes(Encoding.DER)
    forged = x509.load_der_x509_csr(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="not signed by the key"):
        authority.request_from(forged.public_bytes(Encoding.PEM).decode())
    with pytest.raises(ValueError):
        authority.request_from("{")
