"""A client of one Jupyter server: logs in over strict TLS and runs code in a kernel, as a browser does.

The messages are described at https://jupyter-client.readthedocs.io/en/stable/messaging.html and the addresses at
https://jupyter-server.readthedocs.io/en/stable/developers/rest-api.html.
"""

from __future__ import annotations

import json
import signal
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field

try:
    import requests
    import websocket
except ImportError:  # The module that uses this says so in Ansible's words.
    requests = websocket = None

REPLY, FIRST = 20, 7  # seconds that the server may take for an answer, and for the first, which costs it nothing
ALIVE = 55  # seconds that a new kernel may take; at 60 s the server itself gives up, and says nothing
WHO = "'sudo ss -ltnp' on the seat says who"


class JupyterError(Exception):
    """One sentence that says what is wrong with this server."""


class Unreachable(JupyterError):
    """No connection comes about: whether that is the seat's or the way's, only the seat can tell."""


class NoKernel(JupyterError):
    """The server answers, and a new kernel does not."""


@contextmanager
def within(seconds: float, sentence: str) -> Iterator[None]:
    """Raise JupyterError with a sentence where the block takes longer, whatever it waits for: also for what comes in drips."""

    def over(*_: object) -> None:
        raise JupyterError(sentence)

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Output:
    """What a cell printed (`text`), the exception that ended it, and whether the kernel is done with it."""

    text: str = ""
    error: str = ""
    idle: bool = False

    def take(self, kind: str, content: dict) -> None:
        """Add one message of the kernel, by its `msg_type` and `content`."""
        if kind == "stream":
            self.text += content["text"]
        elif kind in ("execute_result", "display_data"):
            self.text += content["data"].get("text/plain", "") + "\n"
        elif kind == "error":
            self.error = f"{content['ename']}: {content['evalue']}"
        elif kind == "status":
            self.idle = content["execution_state"] == "idle"


def untrusted(text: str) -> str:
    """Say in words why a certificate is not trusted, from what OpenSSL says of it."""
    reason = text.split("certificate verify failed:", 1)[-1].split("(_ssl", 1)[0].strip()
    if "not yet valid" in reason or "expired" in reason:
        now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        return f"{reason} at this computer's time, {now}: if that is right, run site.yml, which signs a new one"
    return (
        f"its certificate is not one of this class for this address ({reason}): run site.yml, which signs a new one; "
        f"if it stays so, another program answers there ({WHO})"
    )


def broken_connection(error: Exception) -> str:
    """Say in words why no answer came; `error` is one of requests'."""
    text = str(error)
    if "certificate verify failed" in text:
        return untrusted(text)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection comes about, as where a firewall drops it"
    if isinstance(error, requests.exceptions.Timeout):
        return "it takes the connection and does not answer: run site.yml, which restarts Jupyter where nobody is at work"
    if isinstance(error, requests.exceptions.SSLError):
        return f"what answers there does not speak HTTPS: run site.yml, which repairs Jupyter; if it stays so, {WHO}"
    if "refused" in text:
        return "nothing listens there: run site.yml, which starts Jupyter"
    if "No route to host" in text or "unreachable" in text:
        return "no connection comes about, as where a firewall refuses it"
    return f"what answers there is not Jupyter, or breaks off: run site.yml, which repairs Jupyter; if it stays so, {WHO}"


def unreachable(error: Exception) -> bool:
    """Tell whether the connection itself did not come about; `error` is one of requests'."""
    text = str(error)
    return isinstance(error, requests.exceptions.ConnectTimeout) or any(
        reason in text for reason in ("refused", "No route to host", "unreachable")
    )


def execute_request(code: str) -> dict:
    """Return the message that asks a kernel to run `code`."""
    header = {"msg_id": uuid.uuid4().hex, "session": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
    header |= {"username": "", "date": ""}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
    return {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content, "buffers": []}


@dataclass
class Jupyter:
    """A Jupyter server at `url` (https, with a slash at its end), trusted through the CA file `ca` alone.

    reply: seconds that it may take for an answer. alive: seconds that a new kernel may take until it runs code.
    """

    url: str
    ca: str
    reply: float = REPLY
    alive: float = ALIVE
    session: object = field(init=False)

    def __post_init__(self) -> None:
        """Open a session that neither proxies nor the machine's own authorities have a part in."""
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = self.ca

    def ask(self, method: str, path: str, **options: object) -> requests.Response:
        """Send one request; raise JupyterError where no answer comes."""
        options = {"timeout": self.reply, "headers": {"X-XSRFToken": self.session.cookies.get("_xsrf", "")}} | options
        try:
            return self.session.request(method, self.url + path, allow_redirects=False, **options)
        except requests.exceptions.RequestException as error:
            kind = Unreachable if unreachable(error) else JupyterError
            raise kind(f"{self.url}: {broken_connection(error)}.") from error

    def api(self, method: str, path: str, **options: object) -> object:
        """Send one request to the API and return its decoded answer, None for an empty one."""
        answer = self.ask(method, f"api/{path}", **options)
        if not answer.ok:
            raise JupyterError(f"{self.url}api/{path} answers {answer.status_code} {answer.reason}: {answer.text[:200]}")
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise self.strange(f"api/{path} is '{answer.text[:60]}'") from error

    def strange(self, what: str) -> JupyterError:
        """Return the error of an answer that no Jupyter gives."""
        return JupyterError(f"{self.url} answers, but not as Jupyter does ({what}): {WHO} has its port; site.yml repairs Jupyter.")

    def closed(self) -> int:
        """Return the status with which the list of kernels is refused to someone without a password: 403, or 200 where it is shown.

        Raises JupyterError where it is neither refused nor shown as Jupyter does it.
        """
        answer = self.ask("GET", "api/kernels", timeout=FIRST)
        try:
            told = answer.json()
        except ValueError:
            told = None
        if (answer.status_code, type(told)) not in ((403, dict), (200, list)):
            raise self.strange(f"status {answer.status_code} for api/kernels")
        return answer.status_code

    def kernels(self) -> list[str]:
        """Return the names of the kernels that are offered, the one that a new notebook begins with first."""
        told = self.api("GET", "kernelspecs")
        return sorted(told["kernelspecs"], key=lambda name: (name != told["default"], name))

    def login(self, password: str) -> None:
        """Log in through the form, as a browser does."""
        self.ask("GET", "login")  # sets the cookie _xsrf
        answer = self.ask("POST", "login", data={"password": password, "_xsrf": self.session.cookies.get("_xsrf", "")})
        if answer.status_code != 302:
            raise JupyterError(f"{self.url} refuses the seat's password (status {answer.status_code}): run site.yml, which sets it again.")

    def sessions(self, name: str) -> list[dict]:
        """Return the sessions of a name."""
        return [session for session in self.api("GET", "sessions") if session["name"] == name]

    def start(self, kernel: str, name: str) -> Kernel:
        """Start a kernel of its own under the session name `name`, and end what an interrupted run left under that name."""
        for old in self.sessions(name):
            self.api("DELETE", f"sessions/{old['id']}")
        wanted = {"name": name, "path": name, "type": "console", "kernel": {"name": kernel}}
        answer = self.ask("POST", "api/sessions", json=wanted, timeout=self.alive)
        if not answer.ok:
            raise NoKernel(f"a new kernel '{kernel}' cannot be started (status {answer.status_code})")
        session = answer.json()
        return Kernel(self, session["id"], session["kernel"]["id"], kernel)

    def resume(self, name: str) -> Kernel | None:
        """Return the kernel that lives under the session name `name`, or None."""
        found = self.sessions(name)
        return Kernel(self, found[0]["id"], found[0]["kernel"]["id"], found[0]["kernel"]["name"]) if found else None


@dataclass
class Kernel:
    """One running kernel; used in a `with` it is ended in every case, unless it is to be kept."""

    server: Jupyter
    session: str
    kernel: str
    name: str = ""
    keep: bool = False
    socket: object = None

    def __enter__(self) -> Kernel:
        """Connect to the kernel's channels."""
        try:
            self.socket = self.connect()
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def connect(self) -> websocket.WebSocket:
        """Open the websocket with the session's cookies, trusting the class's CA alone."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.server.session.cookies)
        url = f"wss{self.server.url.removeprefix('https')}api/kernels/{self.kernel}/channels"
        trust = {"context": ssl.create_default_context(cafile=self.server.ca)}
        try:
            return websocket.create_connection(url, cookie=cookies, sslopt=trust, timeout=self.server.alive, http_no_proxy=["*"])
        except (OSError, websocket.WebSocketException) as error:
            late = isinstance(error, websocket.WebSocketTimeoutException | TimeoutError)
            why = f"does not come alive in {self.server.alive:.0f} s" if late else f"does not come alive ({error})"
            raise NoKernel(f"a new kernel '{self.name}' {why}") from error

    def __exit__(self, failure: type | None = None, *_: object) -> None:
        """End the kernel, whatever happened. Where something did, that is what counts: a kernel that died may not end well."""
        if self.socket:
            self.socket.close()
        with suppress(JupyterError) if failure else nullcontext():
            if not self.keep:
                self.server.api("DELETE", f"sessions/{self.session}")

    def receive(self, deadline: float) -> dict:
        """Return the kernel's next message; `deadline` is a monotonic time in seconds."""
        self.socket.settimeout(max(deadline - time.monotonic(), 0.1))
        try:
            message = json.loads(self.socket.recv())
        except websocket.WebSocketTimeoutException as error:
            raise JupyterError("it did not end in the time that it has") from error
        except (OSError, ValueError, websocket.WebSocketException) as error:
            raise JupyterError(f"the connection to the kernel broke ({error})") from error
        if message["msg_type"] == "status" and message["content"]["execution_state"] in ("dead", "restarting"):
            raise JupyterError("the kernel died; a notebook that needs more memory than the seat has does that")
        return message

    def run(self, code: str, seconds: float) -> str:
        """Run `code` and return what it printed; raise JupyterError for an exception, or where no end comes."""
        request, output = execute_request(code), Output()
        deadline = time.monotonic() + seconds
        self.socket.send(json.dumps(request))
        while not output.idle:
            message = self.receive(deadline)
            if message.get("channel") == "iopub" and message["parent_header"].get("msg_id") == request["header"]["msg_id"]:
                output.take(message["msg_type"], message["content"])
        if output.error:
            raise JupyterError(f"it raised {output.error}")
        return output.text
