"""The certificate authority of a class: what it is, and what it signs for a seat. Pure functions on `cryptography`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SOON = timedelta(days=30)
SPAN = re.compile(r"\+(?:(?P<weeks>\d+)w)?(?:(?P<days>\d+)d)?(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+)s)?")
USES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
USES += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
Extensions = list[tuple[x509.ExtensionType, bool]]  # each with whether it is critical
Form = tuple[x509.Name, Extensions]


def end_of(validity: str, now: datetime) -> datetime:
    """Return when something ends that is valid for `+400d` from now on, or until `20271231235959Z`. Raises ValueError."""
    span = SPAN.fullmatch(validity)
    if span and any(span.groups()):
        return now + timedelta(**{unit: int(number) for unit, number in span.groupdict(default="0").items()})
    try:
        return datetime.strptime(validity, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"'{validity}' is no validity of a CA. Write a span such as +400d, or a time such as 20271231235959Z.") from None


def new_key() -> bytes:
    """Make a private key, and return it as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def key_from(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Read a private key of a CA; raises ValueError for anything else."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("it holds no private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("its key is of another kind")
    return key


def certificate_from(pem: bytes) -> x509.Certificate | None:
    """Return the first certificate of a file, or nothing where there is none with a key of a kind that is known."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return certificate


def pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as text."""
    return certificate.public_bytes(Encoding.PEM)


def same_key(one, other) -> bool:
    """Tell whether two public keys, or what holds one, are the same."""
    forms = [key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in (one.public_key(), other.public_key())]
    return forms[0] == forms[1]


def named(common_name: str) -> x509.Name:
    """Return a subject that is this name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def usage(use: str) -> x509.KeyUsage:
    """Return the one use that a key has."""
    return x509.KeyUsage(**{name: name == use for name in USES})


def of_ca(classroom: str) -> Form:
    """Return what the CA of a class calls itself, and what its certificate says.

    Whoever trusts it trusts it for bare IPv4 addresses and a name that cannot exist (RFC 6761), never for a web site.
    """
    host = x509.DNSName(f"{classroom.replace('_', '-')}.classroom.invalid")
    limits = x509.NameConstraints([x509.IPAddress(IPv4Network("0.0.0.0/0")), host], None)
    extensions = [(x509.BasicConstraints(ca=True, path_length=0), True), (usage("key_cert_sign"), True), (limits, True)]
    return named(f"GPU Classroom {classroom}"), extensions


def of_seat(seat: str, addresses: list[str]) -> Form:
    """Return what a seat is called, which with its spaces is no host name, and what its certificate says. Raises ValueError."""
    try:
        names = [x509.IPAddress(IPv4Address(address)) for address in dict.fromkeys(addresses)]
    except ValueError as error:
        raise ValueError(f"A certificate of the class is for IPv4 addresses alone: {error}.") from error
    serves = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    extensions = [(x509.SubjectAlternativeName(names), False), (usage("digital_signature"), False), (serves, False)]
    return named(f"Seat {seat} of the class"), extensions


def _says(certificate: x509.Certificate, value: x509.ExtensionType, critical: bool) -> bool:
    """Tell whether a certificate says this; the order of names does not matter."""
    try:
        found = certificate.extensions.get_extension_for_class(type(value))
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    if isinstance(value, x509.SubjectAlternativeName):
        return set(found.value) == set(value)
    return (found.value, found.critical) == (value, critical)


def _issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """Tell whether it bears the signature of a CA."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _differs(certificate: x509.Certificate, form: Form) -> bool:
    """Tell whether a certificate is of another form than is wanted."""
    subject, extensions = form
    return certificate.subject != subject or not all(_says(certificate, *extension) for extension in extensions)


def ca_fault(certificate: x509.Certificate | None, classroom: str, now: datetime) -> str:
    """Return why a certificate cannot be that of a class's CA, or nothing."""
    if certificate is None:
        return "it holds no certificate"
    if _differs(certificate, of_ca(classroom)) or not _issued_by(certificate, certificate):
        return f"it is not the certificate of class {classroom}"
    return f"it ended on {certificate.not_valid_after_utc:%Y-%m-%d}" if certificate.not_valid_after_utc <= now else ""


def seat_fault(certificate: x509.Certificate | None, ca: x509.Certificate, request, form: Form, now: datetime) -> str:
    """Return why a seat needs another certificate than this, or nothing."""
    if certificate is None:
        return "there was none"
    if not _issued_by(certificate, ca):
        return "that one is not of the class's CA"
    if not same_key(certificate, request):
        return "that one is for another key"
    if _differs(certificate, form):
        return "that one is for other addresses or uses"
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return "" if begins <= now and ends - now >= SOON else f"that one is good from {begins:%Y-%m-%d} to {ends:%Y-%m-%d}"


def request_from(text: str) -> x509.CertificateSigningRequest:
    """Read what a seat asks for. Only whoever has the private key can ask; raises ValueError for anybody else."""
    request = x509.load_pem_x509_csr(text.encode())
    if not request.is_signature_valid:
        raise ValueError("The seat's request is not signed by the key that it is for.")
    return request


def _build(subject: x509.Name, issuer: x509.Name, public_key, begins: datetime, ends: datetime) -> x509.CertificateBuilder:
    """Return what every certificate says."""
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)


def _signed(builder: x509.CertificateBuilder, extensions: Extensions, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Add what a certificate says, and sign it."""
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(key, hashes.SHA256())


def new_ca(key: ec.EllipticCurvePrivateKey, classroom: str, now: datetime, ends: datetime) -> x509.Certificate:
    """Make the certificate of a class's CA."""
    subject, extensions = of_ca(classroom)
    return _signed(_build(subject, subject, key.public_key(), now, ends), extensions, key)


def sign(ca: x509.Certificate, key: ec.EllipticCurvePrivateKey, request, form: Form, days: int) -> x509.Certificate:
    """Sign a certificate for the key of a request. Of what the request says besides, nothing counts."""
    (subject, extensions), now = form, datetime.now(UTC)
    builder = _build(subject, ca.subject, request.public_key(), now, now + timedelta(days=days))
    issuer = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    kept = (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), False)
    return _signed(builder, [*extensions, kept], key)
