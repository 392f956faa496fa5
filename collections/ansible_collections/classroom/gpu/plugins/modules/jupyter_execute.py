#!/usr/bin/python
"""Ask a seat's Jupyter as its student does: log in, run code in a kernel, read pages."""

from __future__ import annotations

DOCUMENTATION = r"""
module: jupyter_execute
short_description: Ask a seat's Jupyter as its student does
description:
  - Runs on the controller. Logs in over HTTPS with the seat's password, trusting the class's CA alone, sends requests, and runs code in a
    kernel that is ended afterwards.
author: GPU Classroom
options:
  url:
    description: Where Jupyter answers, with a slash at the end.
    type: str
    required: true
  seat:
    description: The seat's id.
    type: str
    required: true
  class_dir:
    description: The class's folder, with C(ca.crt) and C(secret). The password derives from the latter and never becomes an argument.
    type: path
    required: true
  code:
    description: What a kernel is to run; nothing means that none is started.
    type: str
    default: ""
  kernel:
    description: Name of the kernel.
    type: str
    default: dl_aws
  session:
    description: Name under which the kernel runs.
    type: str
    default: question
  keep:
    description: Leave the kernel alive, and use the one that already lives under the name of the session.
    type: bool
    default: false
  requests:
    description: Requests that are sent before the code is run.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path below the url.
        type: str
        required: true
      method:
        description: The HTTP method.
        type: str
        default: GET
      body:
        description: What is sent as JSON.
        type: dict
  timeout:
    description: Seconds that the code may take.
    type: int
    default: 120
attributes:
  check_mode:
    description: Asks in check mode, too, but starts no kernel that would be left alive.
    support: partial
"""

EXAMPLES = r"""
- name: Compute something in the seat's kernel
  classroom.gpu.jupyter_execute:
    url: https://198.51.100.7:8888/
    seat: s01
    class_dir: classes/123456789012-eu-central-1/class
    code: print(6 * 7)
    requests: [{path: api/metrics/v1}]
  delegate_to: localhost
  become: false
"""

RETURN = r"""
output:
  description: What the code printed.
  returned: always
  type: str
answers:
  description: The answers to the requests in their order, each with C(path), C(status) and C(text).
  returned: always
  type: list
  elements: dict
"""

import traceback
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.classroom.gpu.plugins.module_utils.classroom.password import seat_password
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.jupyter.client import Jupyter, JupyterError, Kernel, requests, websocket

ARGUMENTS = {
    "url": {"type": "str", "required": True},
    "seat": {"type": "str", "required": True},
    "class_dir": {"type": "path", "required": True},
    "code": {"type": "str", "default": ""},
    "kernel": {"type": "str", "default": "dl_aws"},
    "session": {"type": "str", "default": "question"},
    "keep": {"type": "bool", "default": False},
    "requests": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "method": {"type": "str", "default": "GET"},
            "body": {"type": "dict"},
        },
    },
    "timeout": {"type": "int", "default": 120},
}


def answer(server: Jupyter, request: dict) -> dict:
    """Send one request and return what came back."""
    found = server.ask(request["method"], request["path"], json=request["body"])
    return {"path": request["path"], "status": found.status_code, "text": found.text}


def kernel_of(server: Jupyter, params: dict) -> tuple[Kernel, bool]:
    """Return the kernel to ask, and whether it was started just now to stay."""
    known = server.resume(params["session"]) if params["keep"] else None
    kernel = known or server.start(params["kernel"], params["session"])
    kernel.keep = params["keep"]
    return kernel, params["keep"] and known is None


def ask(server: Jupyter, password: str, params: dict) -> dict:
    """Log in, and return the answers, what the code printed, and whether something is left that was not there."""
    server.login(password)
    found = {"answers": [answer(server, request) for request in params["requests"]], "output": "", "changed": False}
    if params["code"]:
        kernel, found["changed"] = kernel_of(server, params)
        with kernel:
            found["output"] = kernel.run(params["code"], params["timeout"])
    return found


@path_errors.told
def main() -> None:
    """Ask, and fail in one sentence where no answer comes."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if requests is None or websocket is None:
        module.fail_json(msg=missing_required_lib("requests and websocket-client"), exception=traceback.format_exc())
    folder = Path(module.params["class_dir"])
    params = module.params | {"keep": module.params["keep"] and not module.check_mode}
    try:
        password = seat_password((folder / "secret").read_text(encoding="utf-8"), params["seat"])
        found = ask(Jupyter(params["url"], str(folder / "ca.crt")), password, params)
    except (JupyterError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    except (LookupError, TypeError, AttributeError) as error:  # an answer of another shape than Jupyter's
        module.fail_json(msg=f"{params['url']} answers, but not as Jupyter does ({type(error).__name__} {error}).")
    module.exit_json(**found)


if __name__ == "__main__":
    main()
