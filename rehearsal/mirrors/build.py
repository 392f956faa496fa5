"""The local sources of a rehearsal: APT repositories, a conda channel, the example courses and vim's plugins in git, files, and a page that
tells an address.

`prepare` makes their content, `serve` offers it. Both know nothing of EC2: a seat finds them by the address in the class's settings.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import posixpath
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rehearsal.mirrors import apt, conda_channel, vim_plugins
from rehearsal.mirrors.file_server import RangeHandler

CACHE = Path("/var/cache/rehearsal/mirrors")
COURSE = Path(__file__).parents[2] / "examples/hello-course"
TF1_COURSE = COURSE.with_name("tf1-course")
PLAIN_COURSE = COURSE.with_name("plain-course")  # for a stack without a framework
ADDRESS, PORT = "198.19.0.1", 8080
IDLE, GIT_TIMEOUT = 30, 120  # seconds: a silent connection, one git command
NUMBERS = bytes(range(256)) * 4096
SOON = 0.02  # seconds after which a server that is told to end looks whether it is
FIRST_COMMIT, BETWEEN_COMMITS = 1700000000, 86400  # seconds since 1970: fixed, so that the same course is the same commit everywhere


class MirrorError(Exception):
    """A mirror's content cannot be made; the text says why."""


def prepare(out: Path = CACHE, course: Path = COURSE) -> Path:
    """Bring the content under `out` up to date and return `out`. Quick when nothing changed; a killed run leaves the old content.

    Its parts know nothing of each other and mostly wait for downloads and other programs, so they are made side by side.
    Raises MirrorError, channel.ChannelError, apt.AptError.
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / ".lock"), ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(prepare_channel, out / "conda"),
            pool.submit(prepare_vim_plugins, out),
            pool.submit(prepare_apt, out / "apt", out / "apt-keys"),
            pool.submit(prepare_data, out / "files"),
            pool.submit(prepare_course, out / "git/hello-course.git", course),
            pool.submit(prepare_course, out / "git/tf1-course.git", TF1_COURSE),
            pool.submit(prepare_course, out / "git/plain-course.git", PLAIN_COURSE),
        ]
    for job in jobs:
        job.result()
    return out


@contextmanager
def locked(path: Path):
    """Let one process at a time work on the content."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare_channel(conda: Path) -> None:
    """Bring the conda channel up to date."""
    recipe = Path(conda_channel.__file__).read_bytes() + conda_channel.REQUIREMENTS.read_bytes()
    rebuild(conda, recipe, lambda new: conda_channel.build(new / "conda-forge"))


def prepare_apt(repositories: Path, keys: Path) -> None:
    """Bring the APT repositories up to date; other keys make other repositories. keys: a folder that is not served."""
    with apt.Keys(keys) as ring:
        recipe = apt.recipe() + ring.fingerprint(apt.SIGNER).encode()
    rebuild(repositories, recipe, lambda new: apt.build(new, keys))


def prepare_data(files: Path) -> None:
    """Write a data set, and an archive of it: the same bytes everywhere, so that settings can name their SHA-256."""
    files.mkdir(exist_ok=True)
    (files / "numbers.bin").write_bytes(NUMBERS)
    with tarfile.open(files / "numbers.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo("npy/numbers.bin")
        member.size = len(NUMBERS)
        archive.addfile(member, io.BytesIO(NUMBERS))


def rebuild(folder: Path, recipe: bytes, build: Callable[[Path], None]) -> None:
    """Build a folder beside the old one and swap them, if the recipe is not the one that the old one was built from."""
    digest = hashlib.sha256(recipe).hexdigest()
    stamp = folder / "built-from"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    for rest in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(rest)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    beside.chmod(0o755)
    build(beside / "new")
    (beside / "new/built-from").write_text(digest)
    if folder.exists():
        folder.rename(beside / "old")
    (beside / "new").rename(folder)
    shutil.rmtree(beside)


def prepare_course(repository: Path, course: Path) -> None:
    """Commit the course's present content on top of branch `main`; no commit where it is the same."""
    if not (repository / "HEAD").is_file():
        repository.parent.mkdir(parents=True, exist_ok=True)
        git(repository, "init", "--quiet", "--bare", "--initial-branch=main", str(repository))
    git(repository, f"--work-tree={course}", "add", "--all", ".", folder=course)
    tree = git(repository, "write-tree")
    if git(repository, "for-each-ref", "--format=%(tree)", "refs/heads/main") == tree:
        return
    head = git(repository, "for-each-ref", "--format=%(objectname) %(committerdate:unix)", "refs/heads/main").split()
    date = int(head[1]) + BETWEEN_COMMITS if head else FIRST_COMMIT
    parent = ("-p", head[0]) if head else ()
    commit = git(repository, "commit-tree", tree, *parent, "-m", "The course of the rehearsal", date=date)
    git(repository, "update-ref", "refs/heads/main", commit)


def prepare_vim_plugins(out: Path) -> None:
    """Bring the repositories of vim's plugins up to date, and the file that says at which commits a class takes them."""
    rebuild(out / "vim-plugins", vim_plugins.recipe(), vim_plugins.build)
    vim_plugins.publish(out, out / "vim-plugins", git)


def git(repository: Path, *arguments: str, folder: Path | None = None, date: int = FIRST_COMMIT) -> str:
    """Run git on the mirror's repository, under no person's name, settings or clock."""
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _identity(date).items()}
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_DIR": str(repository), "PATH": os.environ["PATH"]}
    done = subprocess.run(["git", *arguments], env=quiet | who, cwd=folder, capture_output=True, text=True, timeout=GIT_TIMEOUT)
    if done.returncode:
        raise MirrorError(f"git {arguments[0]} failed on {repository}: {done.stderr.strip()}")
    return done.stdout.strip()


def _identity(date: int) -> dict[str, str]:
    return {"NAME": "GPU Classroom", "EMAIL": "classroom@example.org", "DATE": f"@{date} +0000"}


@dataclass
class Server:
    """A running mirror."""

    http: ThreadingHTTPServer
    thread: threading.Thread

    @property
    def port(self) -> int:
        return self.http.server_address[1]

    def close(self) -> None:
        """Stop answering and free the port."""
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def serve(path: Path, address: str = ADDRESS, port: int = PORT) -> Server:
    """Serve the content of `path` in threads of this process, on one address only.

    Raises OSError where the address does not exist or the port is taken.
    """

    class Content(Handler):
        root = path

    ThreadingHTTPServer.allow_reuse_address = True
    http = ThreadingHTTPServer((address, port), Content)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(SOON,), name="mirrors", daemon=True)
    thread.start()
    return Server(http, thread)


class Handler(RangeHandler):
    """/checkip, /git/ by git's own server program, and files of /apt/, /conda/ and /files/, whole or a range of them."""

    root: Path
    protocol_version = "HTTP/1.1"
    timeout = IDLE

    def __init__(self, *arguments, **keywords) -> None:
        super().__init__(*arguments, directory=str(self.root), **keywords)

    def do_GET(self) -> None:
        if self.section() == "checkip":
            self.answer(HTTPStatus.OK, {"Content-Type": "text/plain"}, f"{self.client_address[0]}\n".encode())
        elif self.section() == "git":
            self.git_backend()
        else:
            super().do_GET()

    def do_POST(self) -> None:
        if self.section() == "git" and self.headers.get("Content-Length", "").isdigit():
            self.git_backend()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)
            self.close_connection = True

    def section(self) -> str:
        """The first part of the path, with every `..` resolved."""
        return posixpath.normpath(unquote(urlsplit(self.path).path)).strip("/").split("/")[0]

    def send_head(self):
        """Files lie in these folders; a folder itself has no page."""
        if self.section() in ("apt", "conda", "files"):
            return super().send_head()
        return self.send_error(HTTPStatus.NOT_FOUND)

    def list_directory(self, path: str) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def git_backend(self) -> None:
        """Hand the request to `git http-backend` (CGI, RFC 3875); it serves fetches and refuses pushes by itself."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        done = subprocess.run(["git", "http-backend"], input=body, env=self.cgi(), capture_output=True, timeout=GIT_TIMEOUT)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        status = int(headers.pop("Status", "200").split()[0]) if headers else HTTPStatus.INTERNAL_SERVER_ERROR
        self.answer(status, headers, content)

    def cgi(self) -> dict[str, str]:
        """The request as CGI variables."""
        url = urlsplit(self.path)
        return {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root / "git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": unquote(url.path).removeprefix("/git"),
            "QUERY_STRING": url.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": self.headers.get("Content-Length", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": self.client_address[0],
        }

    def log_message(self, message: str, *values) -> None:
        """One line a request into the cloud's log would hide what matters there."""
