"""What a class keeps secret: made once, kept for good, mended where it follows from what is there, and else told."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.classroom.gpu.plugins.plugin_utils import authority, class_folder
from ansible_collections.classroom.gpu.plugins.plugin_utils.class_secrets import PARTS, Secrets
from cryptography import x509

CLASSROOM = "my_class"
ALL = {"id_ed25519": 0o600, "id_ed25519.pub": 0o600, "ca.key": 0o600, "ca.crt": 0o644, "secret": 0o600}
# What the role let OpenSSL and ssh-keygen make, by way of community.crypto, before it had a plugin.
CA_OF_OLD = f"""
[req]
distinguished_name = name
x509_extensions = ca
prompt = no
[name]
CN = GPU Classroom {CLASSROOM}
[ca]
subjectAltName = DNS:GPU Classroom {CLASSROOM}
keyUsage = critical, keyCertSign
basicConstraints = critical, CA:TRUE, pathlen:0
nameConstraints = critical, permitted;IP:0.0.0.0/0.0.0.0, permitted;DNS:my-class.classroom.invalid
subjectKeyIdentifier = hash
"""


def settle(folder: Path, seats_exist: bool = True, check: bool = False, classroom: str = CLASSROOM) -> list[str]:
    """Run once; return the names of what was done, in their order."""
    return Secrets(folder, classroom, "+400d", seats_exist).settle(check)


def state(folder: Path) -> dict[str, tuple]:
    """Return all that can be seen of the files of a folder."""
    looks = {path.name: (path.stat(), path.read_bytes()) for path in sorted(folder.iterdir())}
    return {name: (found.st_mode & 0o777, found.st_ino, found.st_mtime_ns, content) for name, (found, content) in looks.items()}


def contents(folder: Path) -> dict[str, bytes]:
    """Return what the files of the class hold."""
    return {name: (folder / name).read_bytes() for name in ALL}


def command(*words: object) -> str:
    """Run a tool, and return what it prints."""
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A class that has its secrets."""
    settle(tmp_path / "classes/class", seats_exist=False)
    return tmp_path / "classes/class"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A class that was made before there was this plugin."""
    folder = tmp_path / "old"
    folder.mkdir(mode=0o700)
    (tmp_path / "ca.cnf").write_text(CA_OF_OLD)
    command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"classroom-{CLASSROOM}", "-f", folder / "id_ed25519")
    command("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "ca.key")
    made = ("-config", tmp_path / "ca.cnf", "-key", folder / "ca.key")
    command("openssl", "req", "-new", *made, "-out", folder / "ca.csr")
    command("openssl", "req", "-new", "-x509", "-days", "400", *made, "-out", folder / "ca.crt")
    (folder / "secret").write_text("k" * 64)
    for path in folder.iterdir():
        path.chmod(ALL.get(path.name, 0o600))
    return folder


def test_a_class_gets_all_of_it_once(tmp_path: Path) -> None:
    folder = tmp_path / "classes/class"
    foreseen = settle(folder, seats_exist=False, check=True)
    assert not folder.parent.exists()
    assert settle(folder, seats_exist=False) == foreseen == [f"made {folder / name}, as there was none" for name in ALL]
    assert {name: (folder / name).stat().st_mode & 0o777 for name in ALL} == ALL
    assert [one.stat().st_mode & 0o777 for one in (folder, folder.parent)] == [0o700, 0o700]
    assert sorted(os.listdir(folder)) == sorted([*ALL, ".lock"])
    before = state(folder)
    assert [settle(folder, seats_exist, check) for seats_exist in (True, False) for check in (True, False)] == [[]] * 4
    assert state(folder) == before


def test_what_it_makes_is_what_others_read(folder: Path) -> None:
    public = (folder / "id_ed25519.pub").read_text()
    assert public.split()[:2] == command("ssh-keygen", "-y", "-f", folder / "id_ed25519").split()[:2]
    assert public.endswith(f" classroom-{CLASSROOM}\n") and public.startswith("ssh-ed25519 ")
    assert command("openssl", "verify", "-x509_strict", "-CAfile", folder / "ca.crt", folder / "ca.crt").strip().endswith("OK")
    shown = command("openssl", "x509", "-in", folder / "ca.crt", "-noout", "-text")
    for said in (
        f"Subject: CN = GPU Classroom {CLASSROOM}",
        "NIST CURVE: P-256",
        "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0",
        "X509v3 Key Usage: critical\n                Certificate Sign\n",
        "X509v3 Name Constraints: critical\n                Permitted:\n"
        "                  IP:0.0.0.0/0.0.0.0\n                  DNS:my-class.classroom.invalid\n",
    ):
        assert said in shown
    certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(days=400)
    secret = (folder / "secret").read_text()
    assert len(secret) == 64 and secret.isascii() and secret.isalnum() and len(set(secret)) > 20


def test_two_classes_share_nothing(tmp_path: Path) -> None:
    for name in ("one", "two"):
        settle(tmp_path / name, seats_exist=False)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert all(one[name] != two[name] for name in ALL)


def test_a_class_of_before_is_kept_as_it_is(old: Path) -> None:
    before = state(old)
    assert [settle(old, seats_exist, check) for seats_exist in (True, False) for check in (True, False)] == [[]] * 4
    assert state(old) == before


MENDED = {
    "a public key that is lost": ("id_ed25519.pub", None, "there was none"),
    "a public key that is another's": ("id_ed25519.pub", b"ssh-ed25519 AAAA someone", "it was not that of id_ed25519"),
    "a certificate that is lost": ("ca.crt", None, "there was none"),
    "a certificate that is empty": ("ca.crt", b"", "it holds no certificate"),
    "a certificate that is cut short": ("ca.crt", b"-----BEGIN CERTIFICATE-----\nMIIB", "it holds no certificate"),
}


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(("name", "content", "why"), MENDED.values(), ids=list(MENDED))
def test_what_follows_from_the_rest_is_made_again(old: Path, name: str, content: bytes | None, why: str, check: bool) -> None:
    before = contents(old)
    (old / name).unlink() if content is None else (old / name).write_bytes(content)
    broken = state(old)
    assert settle(old, check=check) == [f"made {old / name}, as {why}"]
    if check:
        assert state(old) == broken
        return
    after = contents(old)
    assert {other for other in ALL if after[other] != before[other]} <= {"ca.crt"}
    old_ca, new_ca = (authority.certificate_from(found["ca.crt"]) for found in (before, after))
    assert authority.same_key(old_ca, new_ca) and old_ca.subject == new_ca.subject
    assert (old / name).stat().st_mode & 0o777 == ALL[name]
    assert settle(old) == []


@pytest.mark.parametrize(
    ("classroom", "begins", "why"),
    [("another", 0, f"it is not the certificate of class {CLASSROOM}"), (CLASSROOM, -2, "it ended on ")],
    ids=["of another class", "ended"],
)
def test_a_certificate_that_serves_no_longer_is_made_again(folder: Path, classroom: str, begins: int, why: str) -> None:
    now = datetime.now(UTC)
    key = authority.key_from((folder / "ca.key").read_bytes())
    other = authority.new_ca(key, classroom, now + timedelta(days=begins), now + timedelta(days=begins + 1))
    (folder / "ca.crt").write_bytes(authority.pem(other))
    (done,) = settle(folder)
    assert done.startswith(f"made {folder / 'ca.crt'}, as {why}")
    assert settle(folder) == []


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("name", ["", *ALL])
def test_rights_are_taken_back(folder: Path, name: str, check: bool) -> None:
    path = folder / name
    path.chmod(0o777)
    wanted = ALL.get(name, 0o700)
    assert settle(folder, check=check) == [f"set the mode of {path} to {wanted:04o}"]
    assert path.stat().st_mode & 0o777 == (0o777 if check else wanted)
    assert settle(folder, check=check) == ([f"set the mode of {path} to {wanted:04o}"] if check else [])


@pytest.mark.parametrize("check", [True, False])
def test_seats_whose_secrets_are_not_here_stop_it(old: Path, check: bool) -> None:
    for name in ("id_ed25519", "ca.key", "secret"):
        (old / name).unlink()
    before = state(old)
    with pytest.raises(ValueError) as told:
        settle(old, check=check)
    assert str(told.value) == (
        f"Seats of class {CLASSROOM} exist, but {old} lacks id_ed25519, ca.key, secret. Copy that folder from the machine "
        "that made the class, or end the class (ansible-playbook playbooks/teardown.yml) and begin again."
    )
    assert state(old) == before


def test_without_seats_a_missing_part_is_made_and_what_follows_from_it(old: Path) -> None:
    before = contents(old)
    for name in ("id_ed25519", "ca.key"):
        (old / name).unlink()
    assert len(settle(old, seats_exist=False)) == 4
    assert [name for name in ALL if contents(old)[name] == before[name]] == ["secret"]
    assert settle(old) == []


DAMAGED = {
    "id_ed25519": ([b"", b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", b"\0\xff"], "it holds no private key without a passphrase"),
    "ca.key": ([b"", b"-----BEGIN EC PRIVATE KEY-----\nMHcC", b"\0\xff"], "it holds no private key"),
    "secret": ([b"", b"k" * 63, b"\0\xff" * 32], "it is not 64 letters and digits"),
}


@pytest.mark.parametrize("seats_exist", [True, False])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_private_part_that_is_damaged_is_told_and_kept(old: Path, name: str, seats_exist: bool) -> None:
    damages, why = DAMAGED[name]
    way_out = {
        True: "Copy it from a backup or from the machine that made the class, or end the class",
        False: "delete it, and run this again.",
    }
    for damage in damages:
        (old / name).write_bytes(damage)
        before = state(old)
        with pytest.raises(ValueError) as told:
            settle(old, seats_exist)
        assert str(told.value).startswith(f"{old / name} is damaged: {why}. ") and way_out[seats_exist] in str(told.value)
        assert state(old) == before


def test_a_key_with_a_passphrase_is_told(old: Path) -> None:
    command("ssh-keygen", "-q", "-p", "-N", "passphrase", "-f", old / "id_ed25519")
    with pytest.raises(ValueError, match="it holds no private key without a passphrase"):
        settle(old)


def test_the_key_of_another_ca_is_told_where_seats_trust_this_one(old: Path) -> None:
    (old / "ca.key").write_bytes(authority.new_key())
    with pytest.raises(ValueError, match=f"{old}/ca.key is damaged: it is not the key of {old}/ca.crt. Copy it from a backup"):
        settle(old)


def test_what_is_no_file_is_told(old: Path) -> None:
    (old / "secret").unlink()
    (old / "secret").mkdir()
    with pytest.raises(ValueError, match=f"{old}/secret cannot be read .Is a directory.. Let it be a file of your own"):
        settle(old)


@pytest.mark.parametrize("validity", ["400", "+", "+1y", "", "2027"])
def test_a_validity_that_is_none_is_told_before_anything_is_made(tmp_path: Path, validity: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"'{validity}' is no validity of a CA. Write a span such as +400d")):
        Secrets(tmp_path / "class", CLASSROOM, validity, False).settle(False)
    assert list(tmp_path.iterdir()) == []


def test_a_validity_is_a_span_or_a_time() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert authority.end_of("+2w3d4h5m6s", now) == now + timedelta(days=17, hours=4, minutes=5, seconds=6)
    assert authority.end_of("20271231235959Z", now) == datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_runs_at_once_make_one_set_of_secrets(tmp_path: Path) -> None:
    folder = tmp_path / "class"
    with ProcessPoolExecutor(8) as runs:
        done = list(runs.map(settle, [folder] * 8, [False] * 8))
    assert sorted(line for lines in done for line in lines) == sorted(f"made {folder / name}, as there was none" for name in ALL)
    assert settle(folder) == []


@pytest.mark.parametrize("at", range(len(PARTS)))
def test_a_killed_run_is_finished_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    folder, written = tmp_path / "class", []

    def die(_handle: int) -> None:
        """Be killed while a file is being written: it is, but nobody calls it by its name yet."""
        written.append(1)
        if len(written) > at:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(class_folder.os, "fsync", die)
    child = os.fork()
    if child == 0:
        settle(folder, seats_exist=False)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    monkeypatch.undo()
    there = [name for name in ALL if (folder / name).exists()]
    assert there == list(ALL)[:at]
    before = {name: (folder / name).read_bytes() for name in there}
    assert len(settle(folder, seats_exist=False)) == len(ALL) - at
    assert {name: (folder / name).read_bytes() for name in there} == before
    assert sorted(os.listdir(folder)) == sorted([*ALL, ".lock"])
    assert settle(folder) == []


def test_what_is_told_holds_no_secret(tmp_path: Path) -> None:
    told = "\n".join(settle(tmp_path / "class", seats_exist=False))
    for content in contents(tmp_path / "class").values():
        assert not any(line in told for line in content.decode().splitlines())
