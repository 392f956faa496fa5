"""Sign the certificate that is kept for a seat once more, as one that has ended, and print it: `ended.py CLASS_DIR SEAT`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

folder = Path(sys.argv[1])
path = folder / "seats" / sys.argv[2] / "jupyter.crt"
kept = x509.load_pem_x509_certificate(path.read_bytes())
builder = x509.CertificateBuilder(kept.issuer, kept.subject, kept.public_key(), x509.random_serial_number())
builder = builder.not_valid_before(datetime(2025, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2025, 1, 2, tzinfo=UTC))
for extension in kept.extensions:
    builder = builder.add_extension(extension.value, extension.critical)
ended = builder.sign(load_pem_private_key((folder / "ca.key").read_bytes(), None), hashes.SHA256()).public_bytes(Encoding.PEM)
path.write_bytes(ended)
sys.stdout.write(ended.decode())
