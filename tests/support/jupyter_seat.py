"""A seat's Jupyter on this machine: the server of the role's lock, a class's folder, and kernels as the role writes them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ansible_collections.classroom.gpu.plugins.filter.password import jupyter_hash
from ansible_collections.classroom.gpu.plugins.modules import seat_certificate
from ansible_collections.classroom.gpu.plugins.plugin_utils import authority
from cryptography import x509
from jinja2 import Environment, StrictUndefined

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles/jupyter"
LOCK = ROLE / "files/requirements.txt"
SECRET = "a secret of the class"
SETTINGS = """
c.ServerApp.root_dir = {root!r}
c.ServerApp.allow_root = True
c.ServerApp.allow_unauthenticated_access = False
c.ServerApp.jpserver_extensions = {{}}
c.IdentityProvider.token = ""
c.PasswordIdentityProvider.password_required = True
c.PasswordIdentityProvider.hashed_password = {hashed!r}
c.KernelSpecManager.ensure_native_kernel = False
c.KernelSpecManager.allowed_kernelspecs = {{"dl_aws"}}
c.MultiKernelManager.default_kernel_name = "dl_aws"
"""


def installed() -> Path:
    """Return the environment of the role's lock, which is made once a machine and lock."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-classroom"
    place = cache / f"jupyter-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "jupyter.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "whole").exists():
            shutil.rmtree(place, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
            pip = [place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*pip, "--require-hashes", "--only-binary=:all:", f"--requirement={LOCK}"], check=True)
            (place / "whole").touch()
    return place


def kernel(environment: Path) -> str:
    """Return the kernel.json that the role writes for an environment."""
    jinja = Environment(trim_blocks=True, undefined=StrictUndefined)
    jinja.filters |= {"to_json": json.dumps, "ternary": lambda value, yes, no: yes if value else no}
    names = {"jupyter_kernel": "dl_aws", "jupyter_kernel_env": str(environment), "jupyter_kernel_tf1": False, "jupyter_tf1_dir": ""}
    return jinja.from_string((ROLE / "templates/kernel.json.j2").read_text()).render(names)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Seat:
    """One seat: its class's folder, its student's home, and its server once `start` was called."""

    def __init__(self, folder: Path) -> None:
        self.home, self.folder, self.etc, self.port = folder / "home", folder / "class", folder / "etc", free_port()
        for path in (self.home / "course", self.folder, self.etc / "kernels/dl_aws"):
            path.mkdir(parents=True)
        (self.folder / "secret").write_text(SECRET)
        self.server: subprocess.Popen | None = None
        self.sign()

    def sign(self, address: str = "127.0.0.1", days: float = 1) -> None:
        """Make the class's CA, and have it sign a certificate for the seat's new key."""
        now, key = datetime.now(UTC), authority.key_from(authority.new_key())
        ca = authority.new_ca(key, "class", now - timedelta(days=2), now + timedelta(days=2))
        (self.folder / "ca.crt").write_bytes(authority.pem(ca))
        own = authority.new_key()
        (self.etc / "key.pem").write_bytes(own)
        request = x509.load_pem_x509_csr(seat_certificate.request(seat_certificate.private_key(own)).encode())
        signed = authority.sign(ca, key, request, authority.of_seat("s01", [address]), days)
        (self.etc / "cert.pem").write_bytes(authority.pem(signed) + authority.pem(ca))

    def start(self, environment: Path, kernels: Path | None = None, **variables: str) -> None:
        """Start the server, with kernels in its own environment or in another, and wait until it answers."""
        (self.etc / "kernels/dl_aws/kernel.json").write_text(kernel(kernels or environment))
        settings = self.etc / "seat.py"
        settings.write_text("c = get_config()" + SETTINGS.format(root=str(self.home / "course"), hashed=jupyter_hash(SECRET, "s01")))
        own = {"HOME": str(self.home), "JUPYTER_CONFIG_DIR": str(self.etc), "JUPYTER_PATH": str(self.etc), "JUPYTER_NO_CONFIG": "1"}
        own |= {"JUPYTER_RUNTIME_DIR": str(self.home / "run"), "JUPYTER_DATA_DIR": str(self.home / "data"), "PATH": os.environ["PATH"]}
        command = [environment / "bin/jupyter-server", f"--config={settings}", "--no-browser", "--ServerApp.ip=127.0.0.1"]
        files = {"certfile": self.etc / "cert.pem", "keyfile": self.etc / "key.pem"}
        command += [f"--ServerApp.{name}={value}" for name, value in {"port": self.port, **files}.items()]
        with (self.home / "log").open("w") as log:
            self.server = subprocess.Popen(command, env=own | variables, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + 180
        while not self.listens():
            assert self.server.poll() is None and time.monotonic() < until, (self.home / "log").read_text()
            time.sleep(0.1)

    def listens(self) -> bool:
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End the server with its kernels, stopped or not."""
        if self.server:
            with suppress(ProcessLookupError):
                os.killpg(self.server.pid, signal.SIGCONT)
                os.killpg(self.server.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.server.wait(10)
            with suppress(ProcessLookupError):
                os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()


class Page(BaseHTTPRequestHandler):
    """Answers everything with one status, one text and some headers."""

    status, text, headers_too = 200, "", {}

    def do_GET(self) -> None:
        self.send_response(self.status)
        for name, value in self.headers_too.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.text)))
        self.end_headers()
        self.wfile.write(self.text.encode())

    do_POST = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def served(seat: Seat, page: type[Page], tls: bool = True) -> Callable[[], None]:
    """Let another service answer at the seat's port, with the seat's certificate or without TLS; return what ends it."""
    server = ThreadingHTTPServer(("127.0.0.1", seat.port), page)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(seat.etc / "cert.pem", seat.etc / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def end() -> None:
        server.shutdown()
        server.server_close()

    return end
