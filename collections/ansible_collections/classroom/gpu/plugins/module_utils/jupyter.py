"""A client of one Jupyter server: logs in over strict TLS and runs code in a kernel, as a browser does.

The messages are described at https://jupyter-client.readthedocs.io/en/stable/messaging.html and the addresses at
https://jupyter-server.readthedocs.io/en/stable/developers/rest-api.html.
"""

from __future__ import annotations

import json
import ssl
import time
import uuid
from dataclasses import dataclass, field

try:
    import requests
    import websocket
except ImportError:  # The module that uses this says so in Ansible's words.
    requests = websocket = None

REPLY = 20  # seconds that the server may take for an answer


class JupyterError(Exception):
    """One sentence that says what is wrong with this server."""


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


def broken_connection(error: Exception) -> str:
    """Say in words why no answer came; `error` is one of requests'."""
    text = str(error)
    if "certificate verify failed" in text:
        reason = text.split("certificate verify failed:", 1)[-1].split("(_ssl", 1)[0].strip()
        return f"its certificate is not one of this class for this address ({reason}): run site.yml, which signs a new one"
    if isinstance(error, requests.exceptions.SSLError):
        return "it does not speak HTTPS: run site.yml, which repairs Jupyter"
    if isinstance(error, requests.exceptions.Timeout):
        return "it does not answer: your present network may not be among classroom_allowed_cidrs"
    return "nothing listens there: run site.yml, which starts Jupyter"


def execute_request(code: str) -> dict:
    """Return the message that asks a kernel to run `code`."""
    header = {"msg_id": uuid.uuid4().hex, "session": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
    header |= {"username": "", "date": ""}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
    return {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content, "buffers": []}


@dataclass
class Jupyter:
    """A Jupyter server at `url` (https, with a slash at its end), trusted through the CA file `ca` alone."""

    url: str
    ca: str
    session: object = field(init=False)

    def __post_init__(self) -> None:
        """Open a session that neither proxies nor the machine's own authorities have a part in."""
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = self.ca

    def ask(self, method: str, path: str, **options: object) -> requests.Response:
        """Send one request; raise JupyterError where no answer comes."""
        headers = {"X-XSRFToken": self.session.cookies.get("_xsrf", "")}
        try:
            return self.session.request(method, self.url + path, headers=headers, timeout=REPLY, allow_redirects=False, **options)
        except requests.exceptions.RequestException as error:
            raise JupyterError(f"{self.url}: {broken_connection(error)}.") from error

    def api(self, method: str, path: str, **options: object) -> object:
        """Send one request to the API and return its decoded answer, None for an empty one."""
        answer = self.ask(method, f"api/{path}", **options)
        if not answer.ok:
            raise JupyterError(f"{self.url}api/{path} answers {answer.status_code} {answer.reason}: {answer.text[:200]}")
        return answer.json() if answer.content else None

    def closed(self) -> int:
        """Return the status with which the list of kernels is refused to someone without a password."""
        return self.ask("GET", "api/kernels").status_code

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
        session = self.api("POST", "sessions", json={"name": name, "path": name, "type": "console", "kernel": {"name": kernel}})
        return Kernel(self, session["id"], session["kernel"]["id"])

    def resume(self, name: str) -> Kernel | None:
        """Return the kernel that lives under the session name `name`, or None."""
        found = self.sessions(name)
        return Kernel(self, found[0]["id"], found[0]["kernel"]["id"]) if found else None


@dataclass
class Kernel:
    """One running kernel; used in a `with` it is ended in every case, unless it is to be kept."""

    server: Jupyter
    session: str
    kernel: str
    keep: bool = False
    socket: object = None

    def __enter__(self) -> Kernel:
        """Connect to the kernel's channels."""
        try:
            self.socket = self.connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def connect(self) -> websocket.WebSocket:
        """Open the websocket with the session's cookies, trusting the class's CA alone."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.server.session.cookies)
        url = f"wss{self.server.url.removeprefix('https')}api/kernels/{self.kernel}/channels"
        trust = {"context": ssl.create_default_context(cafile=self.server.ca)}
        try:
            return websocket.create_connection(url, cookie=cookies, sslopt=trust, timeout=REPLY, http_no_proxy=["*"])
        except (OSError, websocket.WebSocketException) as error:
            raise JupyterError(f"{url}: the kernel's channel does not open ({error}).") from error

    def __exit__(self, *_: object) -> None:
        """End the kernel, whatever happened."""
        if self.socket:
            self.socket.close()
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
