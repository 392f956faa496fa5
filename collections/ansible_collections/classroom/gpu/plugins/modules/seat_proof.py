#!/usr/bin/python
"""Prove from outside that a seat runs the course's notebooks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: seat_proof
short_description: Prove from outside that a seat runs the course's notebooks
description:
  - Runs on the controller. Logs in to the seat's Jupyter over HTTPS with the seat's password, trusting the class's CA alone, and runs
    each notebook as the course has it at its commit, in a fresh kernel of the kind that it names, and in a copy of the course that is
    deleted afterwards.
  - Before that it holds the seat's GPU layers against the stack, and lets the framework show, in a kernel of its own, what it computes on.
  - The outcome is written to C(seats/SEAT/proof.json) in the class's folder. It holds, and no notebook is run again, while the instance,
    its boot, the stack and what was seen of the seat stay the same, and while the seat answers now. Each run asks it anew, in seconds and
    from outside, as a student would, with a cell in a fresh kernel of each kind that the seat offers.
  - A seat that is not proven is an outcome, not a failure of the module, so that the other seats are proven in the same run.
author: GPU Classroom
options:
  seat:
    description: The seat's id.
    type: str
    required: true
  address:
    description: IP address that students use.
    type: str
    required: true
  port:
    description: TCP port of Jupyter.
    type: int
    default: 8888
  base_url:
    description: Path under which Jupyter answers.
    type: str
    default: /
  class_dir:
    description: The class's folder, with C(ca.crt) and C(secret). The password derives from the latter and never becomes an argument.
    type: path
    required: true
  instance_id:
    description: The instance that is the seat now.
    type: str
    required: true
  boot_id:
    description: The seat's C(/proc/sys/kernel/random/boot_id).
    type: str
    required: true
  evidence:
    description: Texts that change whenever what is proven changes on the seat, such as paths with their times.
    type: list
    elements: str
    default: []
  troubles:
    description:
      - What is wrong with the seat as M(classroom.gpu.seat_evidence) saw it, a sentence each. With any of it the seat is not proven, and no
        notebook is run; an earlier proof holds again when it is gone.
    type: list
    elements: str
    default: []
  inside:
    description: What M(classroom.gpu.seat_evidence) returned as C(inside), to tell a firewall on the seat from other causes.
    type: dict
    default: {}
  seat_time:
    description: The seat's clock, in seconds since 1970, as M(classroom.gpu.seat_evidence) read it just before. C(0) compares nothing.
    type: float
    default: 0
  instance_type:
    description: The instance's type. A GPU that the same machine was proven with must not be gone.
    type: str
    default: ""
  stack_digest:
    description: Digest of the stack's files, as the filter P(classroom.gpu.stack_digest#filter) makes it.
    type: str
    required: true
  layers:
    description: What M(classroom.gpu.gpu_info) saw on the seat. A proof holds only while that stays the same.
    type: dict
    required: true
  stack:
    description: The stack's C(stack.yml), of which C(driver), C(toolkits), C(cudnn), C(framework) and C(gpu) are read.
    type: dict
    required: true
  kernel:
    description: Name of the kernel that proves the GPU layers, and runs the notebooks that name none of the seat's kernels.
    type: str
    default: dl_aws
  course_dir:
    description: The course on the seat, a git repository.
    type: str
    required: true
  course_version:
    description: Which commit of it; the default is where the course role notes the one that it checked out.
    type: str
    default: refs/classroom/course
  notebooks:
    description: What proves the seat.
    type: list
    elements: dict
    required: true
    suboptions:
      notebook:
        description: Path in the course.
        type: str
        required: true
      expect:
        description: A line that its cells must print.
        type: str
        required: true
  timeout:
    description: Seconds that one cell may take.
    type: int
    default: 300
  reprove:
    description: Prove again although the last proof holds.
    type: bool
    default: false
attributes:
  check_mode:
    description: Says whether the last proof holds, for which the seat is asked here, too, and runs no notebook.
    support: full
"""

EXAMPLES = r"""
- name: Prove the seat
  classroom.gpu.seat_proof:
    seat: s01
    address: 198.18.0.7
    class_dir: classes/123456789012-us-west-2/rehearsal
    instance_id: i-0123456789abcdef0
    boot_id: 9d0c7a52-1111-4222-8333-1234567890ab
    stack_digest: 8b1a9953c4611296a827abf8c47804d7
    layers: "{{ classroom_layers }}"  # registered from classroom.gpu.gpu_info on the seat
    stack: {driver: "580", framework: {name: tensorflow, version: 2.21.0}}
    course_dir: /home/ubuntu/dl_tutorial
    notebooks: [{notebook: code/hello_tensorflow.ipynb, expect: "Hello, TensorFlow!"}]
  delegate_to: localhost
  become: false
"""

RETURN = r"""
seat:
  description: The seat's id.
  returned: always
  type: str
address:
  description: Its address.
  returned: always
  type: str
url:
  description: What a student types.
  returned: always
  type: str
proven:
  description: Whether everything was as expected.
  returned: always
  type: bool
reused:
  description: Whether the last proof still holds, as the seat itself said now, and was used.
  returned: always
  type: bool
seconds:
  description: How long the proof took, or the asking where an earlier one holds.
  returned: always
  type: float
checks:
  description: What was checked, each with name, expected, found and ok; C(framework) also with the GPU proof's report.
  returned: always
  type: list
  elements: dict
msg:
  description: The outcome in one sentence.
  returned: always
  type: str
"""

import inspect
import json
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from shlex import quote

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.classroom.gpu.plugins.module_utils.classroom.password import seat_password
from ansible_collections.classroom.gpu.plugins.module_utils.common import path_errors
from ansible_collections.classroom.gpu.plugins.module_utils.gpu import proof as gpu_proof
from ansible_collections.classroom.gpu.plugins.module_utils.jupyter.client import (
    REPLY,
    Jupyter,
    JupyterError,
    Kernel,
    NoKernel,
    Unreachable,
    requests,
    websocket,
    within,
)
from ansible_collections.classroom.gpu.plugins.module_utils.stack import layers

SESSION = "proof of this seat"
DOOR = 15  # seconds for all that leads to the kernels: address, certificate, password
# Of a seat that was proven before: seconds for an answer, for a new kernel, and for a cell in it.
ASKED, KERNEL, CELL = 8, 20, 6
CLOCKS = 180  # seconds that two clocks may be apart: neither a signature of APT's nor a certificate is judged by less
MEASURED = ("proven_at", "seconds", "report")  # what differs from one proof to the next although nothing changed

# Runs in the kernel, in a namespace of its own so that a notebook finds none of it. The student's files, git's settings among them, are
# neither read nor written.
COPY_COURSE = """
import json, os, subprocess, tempfile
def git(*arguments):
    alone = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", "-C", course, *arguments], capture_output=True, env=alone)
    if done.returncode:
        raise RuntimeError(done.stderr.decode().strip().splitlines()[-1])
    return done.stdout
commit = git("rev-parse", "--verify", version + "^{commit}").decode().strip()
cells = json.loads(git("show", commit + ":" + notebook))
copy = tempfile.mkdtemp(prefix="proof-")
subprocess.run(["tar", "--extract", "--directory", copy], input=git("archive", commit), check=True)
print(json.dumps({"copy": copy, "notebook": cells}))
"""
ENTER_COPY = "import os; os.chdir(os.path.join(copy, os.path.dirname(notebook)))"
DELETE_COPY = "import os, shutil; os.chdir('/'); shutil.rmtree(copy)"
# One write, on a line of its own: what libraries log may come at any moment.
ASK_GPU = "\nsys.stdout.write('\\n' + json.dumps({'verdict': '', 'driver': loaded_driver(), 'cuda_driver': cuda_driver()}) + '\\n')"
PROVE_GPU = "\nsys.stdout.write('\\n' + json.dumps(examine(wanted)) + '\\n')"


class Unproven(Exception):
    """A check that found something else than expected: its name, both, and the sentence for the table."""

    def __init__(self, name: str, expected: str, found: str, sentence: str = "", **more: object) -> None:
        """Keep the check; the sentence is what was found, where nothing says it better."""
        super().__init__(sentence or found)
        self.check = {"name": name, "expected": expected, "found": found} | more | {"ok": False}


def passed(name: str, expected: str, found: str) -> dict:
    """Return a check that found what was expected."""
    return {"name": name, "expected": expected, "found": found, "ok": True}


def apart(code: str, **values: str) -> str:
    """Return code that runs `code` with `values` as its names and leaves no name behind."""
    return f"exec({code!r}, {values!r})"


def code_cells(notebook: dict) -> list[str]:
    """Return the source of each code cell that holds anything; nbformat allows text or a list of lines."""
    sources = ("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    return [source for source in sources if source.strip()]


def printed(expected: str, output: str) -> bool:
    """Tell whether one line of the output is exactly what is expected, white space at its ends aside."""
    return expected.strip() in (line.strip() for line in output.splitlines())


def tail(output: str) -> str:
    """Return the last line of an output, shortened, for a message."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:120] if lines else "nothing"


def lasting(value: object) -> object:
    """Return a proof without what is measured anew each time, at any depth."""
    if isinstance(value, dict):
        return {key: lasting(inner) for key, inner in value.items() if key not in MEASURED}
    return [lasting(inner) for inner in value] if isinstance(value, list) else value


def holds(proof: dict, identity: dict) -> bool:
    """Tell whether an earlier proof is one of the same seat, booted and equipped as it is now."""
    return bool(proof.get("proven")) and all(proof.get(key) == value for key, value in identity.items())


def read(path: Path) -> dict:
    """Return the last proof, or nothing."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write(path: Path, proof: dict) -> None:
    """Write a proof in one step, so that no reader sees half of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(proof, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(draft, path)


def run_cells(kernel: Kernel, name: str, cells: list[str], expect: str, timeout: int) -> str:
    """Run every cell of a notebook and return what they printed; the first that fails ends it."""
    outputs = []
    for number, source in enumerate(cells, start=1):
        try:
            outputs.append(kernel.run(source, timeout))
        except JupyterError as error:
            raise Unproven(name, expect, f"code cell {number} of {name}: {error}") from error
    return "\n".join(outputs)


def copied_course(kernel: Kernel, wanted: dict, params: dict) -> dict:
    """Copy the course at its commit on the seat; return the path of the `copy` and the decoded `notebook`."""
    name = wanted["notebook"]
    code = apart(COPY_COURSE, course=params["course_dir"], version=params["course_version"], notebook=name)
    try:
        return json.loads(kernel.run(code, params["timeout"]).splitlines()[-1])
    except (JupyterError, ValueError, IndexError) as error:
        sentence = f"the course in {params['course_dir']} does not give {name} at {params['course_version']}: {error}"
        raise Unproven(name, wanted["expect"], sentence) from error


def kernel_of(notebook: dict, offered: list[str], otherwise: str) -> str:
    """Return the kernel that JupyterLab opens a notebook with: the one that it names, where the seat offers that."""
    named = notebook.get("metadata", {}).get("kernelspec", {}).get("name")
    return named if named in offered else otherwise


def run_copy(kernel: Kernel, course: dict, wanted: dict, params: dict) -> dict:
    """Run the notebook in the copied course, delete the copy, and compare what was printed."""
    name, expect = wanted["notebook"], wanted["expect"]
    try:
        kernel.run(apart(ENTER_COPY, copy=course["copy"], notebook=name), REPLY)
        output = run_cells(kernel, name, code_cells(course["notebook"]), expect, params["timeout"])
    finally:
        with suppress(JupyterError):  # A kernel that died cannot tidy up: the next boot empties /tmp.
            kernel.run(apart(DELETE_COPY, copy=course["copy"]), REPLY)
    if not printed(expect, output):
        raise Unproven(name, expect, f"{name} ran, but printed no line '{expect}'; its last one was '{tail(output)}'")
    return passed(name, expect, expect)


def run_notebook(server: Jupyter, wanted: dict, offered: list[str], params: dict) -> dict:
    """Run one notebook as the course has it at its commit, in the kernel that it is opened with."""
    with server.start(params["kernel"], SESSION) as kernel:
        course = copied_course(kernel, wanted, params)
        named = kernel_of(course["notebook"], offered, params["kernel"])
        if named == params["kernel"]:
            return run_copy(kernel, course, wanted, params)
    with server.start(named, SESSION) as kernel:
        return run_copy(kernel, course, wanted, params)


def reported(output: str) -> dict:
    """Return the report of the GPU proof among everything that a kernel printed; raise ValueError where there is none."""
    for line in output.splitlines():
        with suppress(ValueError):
            report = json.loads(line)
            if isinstance(report, dict) and "verdict" in report:
                return report
    raise ValueError(f"it printed no report; its last line was '{tail(output)}'")


def gpu_report(server: Jupyter, wanted: str, params: dict) -> dict:
    """Run the GPU proof in a kernel of its own and return its report."""
    code = apart(inspect.getsource(gpu_proof) + PROVE_GPU, __name__="gpu_proof", wanted=wanted)
    with server.start(params["kernel"], SESSION) as kernel:
        try:
            return reported(kernel.run(code, params["timeout"]))
        except (JupyterError, ValueError) as error:
            raise Unproven("framework", wanted, f"the GPU proof of {wanted} did not end: {error}") from error


def layer_checks(server: Jupyter, params: dict) -> Iterator[dict]:
    """Yield a check for each GPU layer: cheap ones first, then the framework at work where the stack has one."""
    seen, stack = params["layers"], params["stack"]
    for look in (layers.driver, layers.toolkit, layers.cudnn):
        yield look(seen, stack)
    wanted = layers.wanted_framework(stack)
    yield layers.checked("framework", "", "") if wanted == "none" else layers.framework(gpu_report(server, wanted, params), seen, stack)


def examine_layers(server: Jupyter, params: dict) -> Iterator[dict]:
    """Yield each GPU layer that is as the stack wants it; raise Unproven at the first that is not."""
    for check in layer_checks(server, params):
        if check["trouble"]:
            raise Unproven(**check, sentence=check["trouble"])
        yield {key: value for key, value in check.items() if key != "trouble"}


def open_door(server: Jupyter, params: dict) -> Iterator[dict]:
    """Check that the seat's own password opens the seat, and nothing less does."""
    status = server.closed()
    if status != 403:
        raise Unproven("closed", "403 without a password", f"{server.url} shows its kernels without a password (status {status})")
    yield passed("certificate", f"signed by the class for {params['address']}", "it is")
    yield passed("closed", "403 without a password", str(status))
    server.login(seat_password((Path(params["class_dir"]) / "secret").read_text(encoding="utf-8"), params["seat"]))
    yield passed("login", "the seat's password opens it", "it does")


def offered(server: Jupyter, params: dict) -> list[str]:
    """Return the kernels that the seat offers, of which the wanted one has to be one."""
    kernels = server.kernels()
    if params["kernel"] not in kernels:
        raise Unproven("kernel", params["kernel"], f"no kernel '{params['kernel']}' is offered, only {', '.join(kernels) or 'none at all'}")
    return kernels


def no_gpu(output: str, params: dict) -> str:
    """Return why a kernel cannot use the GPU that the machine has, from what it printed, or nothing."""
    told = reported(output)
    reasons = gpu_proof.driver_reasons(told["cuda_driver"], told["driver"])
    if not reasons and told["cuda_driver"].get("devices"):
        return ""
    why = reasons[0] if reasons else "the driver's library lists none"
    return f"a new notebook has no use of the {params['layers']['gpus'][0]['model']}, as {why}: type 'sudo reboot' on the seat"


def ask_kernel(server: Jupyter, name: str, params: dict) -> dict:
    """Let a fresh kernel run a cell; where the machine has a GPU at work, the cell asks the driver for it."""
    gpu = params["layers"].get("gpus") and params["stack"].get("driver")
    code = apart(inspect.getsource(gpu_proof) + ASK_GPU, __name__="gpu_proof") if gpu else "print(6 * 7)"
    with server.start(name, SESSION) as kernel:
        try:
            output = kernel.run(code, CELL)
        except JupyterError as error:
            raise NoKernel(f"a new kernel '{name}' comes alive and runs no cell ({error})") from error
    if gpu and (trouble := no_gpu(output, params)):
        raise Unproven("gpu", params["layers"]["gpus"][0]["model"], trouble)
    if not gpu and output.strip() != "42":
        raise Unproven("kernel", "42", f"a new kernel '{name}' computes 6 * 7 as '{tail(output)}'")
    return passed("kernel", f"a new {name} runs a cell", "it does")


def enter(server: Jupyter, params: dict) -> tuple[list[dict], list[str]]:
    """Return the checks of the way in, and the kernels; raise Unproven or JupyterError also where that takes its time, as in drips."""
    with within(DOOR, f"{server.url}: it takes more than {DOOR} s to let its student in: run site.yml, which repairs Jupyter."):
        return list(open_door(server, params)), offered(server, params)


def ask(server: Jupyter, params: dict) -> Iterator[dict]:
    """Yield what a seat that was proven before shows of itself within seconds; raise Unproven or JupyterError at the first fault."""
    checks, kernels = enter(server, params)
    yield from checks
    for name in kernels:
        yield ask_kernel(server, name, params)


def examine(server: Jupyter, params: dict) -> Iterator[dict]:
    """Yield each check of the seat that passes; raise Unproven or JupyterError at the first that does not."""
    checks, kernels = enter(server, params)
    yield from checks
    yield from examine_layers(server, params)
    for wanted in params["notebooks"]:
        yield run_notebook(server, wanted, kernels, params)


def behind_a_wall(error: Unreachable, params: dict) -> str:
    """Say why no connection comes about, with what the seat itself says of its port: SSH to the same address works."""
    inside, port = params["inside"], params["port"]
    if not inside.get("listens"):
        return str(error)
    rules = inside.get("rules") or []
    named = f"('{rules[0]}')" if rules else "or of a network between it and here"
    where = "listens on the seat" if not inside.get("answers") else "answers on the seat itself"
    wall = f"a rule of the seat's firewall {named} shuts port {port}: look with 'sudo nft -a list ruleset' on the seat, and delete it"
    return f"{params['address']} answers SSH, and Jupyter {where}, but no connection comes about from here: {wall}."


def dead_kernel(error: NoKernel, params: dict) -> str:
    """Say why no kernel comes alive, with the files of the student's that each kernel runs first."""
    files = params["inside"].get("startup") or []
    if not files:
        return f"no notebook works: {error}. Its last words: 'sudo journalctl --unit jupyter --lines 20' on the seat."
    away = "; ".join(f"mv {quote(path)} {quote(path + '.off')}" for path in files[:3])
    them = "them" if len(files) > 1 else "it"
    return f"no notebook works: {error}. Each kernel runs {', '.join(files[:3])} first: move {them} away on the seat ('{away}')."


def cause(error: Exception, server: Jupyter, params: dict) -> str:
    """Return the sentence for what ended the asking or the proof."""
    if isinstance(error, Unreachable):
        return behind_a_wall(error, params)
    if isinstance(error, NoKernel):
        return dead_kernel(error, params)
    if isinstance(error, LookupError | TypeError | AttributeError):  # an answer of another shape than Jupyter's
        return str(server.strange(f"{type(error).__name__} {error}"))
    return str(error)


def prove(found: Iterator[dict], server: Jupyter, params: dict) -> tuple[list[dict], str]:
    """Return the checks that were made, and the sentence that says what is wrong: empty if nothing is."""
    checks: list[dict] = []
    try:
        for check in found:
            checks.append(check)
    except Unproven as error:
        return [*checks, error.check], f"{error}."
    except (JupyterError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # also a class folder without CA or secret
        said = cause(error, server, params)
        return [*checks, {"name": "jupyter", "expected": "an answer", "found": said, "ok": False}], said
    return checks, ""


def apart_in_words(seconds: float) -> str:
    """Return a difference of clocks as people say it."""
    minutes = round(abs(seconds) / 60)
    days, hours = minutes // 1440, minutes // 60
    return f"{days} days" if days > 1 else f"{hours} hours" if hours > 1 else f"{minutes} minutes"


def clocks(params: dict) -> list[str]:
    """Return the sentence about a clock that is wrong, the seat's or this computer's."""
    ahead = params["seat_time"] - time.time()
    if not params["seat_time"] or abs(ahead) < CLOCKS:
        return []
    which = "ahead of" if ahead > 0 else "behind"
    mend = "type 'sudo timedatectl set-ntp true' on the seat, or here if it is this one that is wrong"
    return [f"The seat's clock is {apart_in_words(ahead)} {which} this computer's: {mend}."]


def lost_gpu(last: dict, params: dict) -> list[str]:
    """Return the sentence about a GPU that the same machine was proven with and has no more."""
    same = all(last.get(key) == params[key] for key in ("instance_id", "instance_type"))
    if not (last.get("proven") and same and last.get("gpus")) or params["layers"].get("gpus"):
        return []
    mend = f"type 'sudo reboot' on the seat, and where that does not bring it back, stop.yml and start.yml with -e seats={params['seat']}"
    return [f"The {last['gpus'][0]} that this machine was proven with is gone: {mend}, which give it other hardware."]


def fresh(server: Jupyter, params: dict, identity: dict) -> tuple[dict, str]:
    """Prove the seat now; return the proof and the sentence for the table."""
    begin = time.monotonic()
    checks, wrong = prove(examine(server, params), server, params)
    seconds = round(time.monotonic() - begin, 1)
    now = datetime.now(tz=UTC).isoformat(timespec="seconds")
    machine = {"instance_type": params["instance_type"], "gpus": [gpu["model"] for gpu in params["layers"].get("gpus", [])]}
    proof = identity | machine | {"proven": not wrong, "checks": checks, "seconds": seconds, "proven_at": now}
    return proof, wrong or f"It ran {', '.join(wanted['notebook'] for wanted in params['notebooks'])}."


def asked_again(server: Jupyter, params: dict, last: dict) -> dict:
    """Ask a seat whose earlier proof still is one of it, and return the module's answer: that proof holds if the seat answers now."""
    begin = time.monotonic()
    checks, wrong = prove(ask(server, params), server, params)
    seconds = round(time.monotonic() - begin, 1)
    sentence = wrong or f"Proven {last['proven_at']}; asked again now, it answered in {seconds} s."
    return {"proven": not wrong, "reused": not wrong, "seconds": seconds, "checks": checks if wrong else last["checks"], "msg": sentence}


def refused(troubles: list[str]) -> dict:
    """Return the module's answer for a seat with troubles that no notebook need be run for."""
    checks = [{"name": "seat", "expected": "no trouble", "found": trouble, "ok": False} for trouble in troubles]
    return {"proven": False, "reused": False, "seconds": 0.0, "checks": checks, "msg": " ".join(troubles)}


ARGUMENTS = {
    "seat": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 8888},
    "base_url": {"type": "str", "default": "/"},
    "class_dir": {"type": "path", "required": True},
    "instance_id": {"type": "str", "required": True},
    "boot_id": {"type": "str", "required": True},
    "evidence": {"type": "list", "elements": "str", "default": []},
    "troubles": {"type": "list", "elements": "str", "default": []},
    "inside": {"type": "dict", "default": {}},
    "seat_time": {"type": "float", "default": 0},
    "instance_type": {"type": "str", "default": ""},
    "stack_digest": {"type": "str", "required": True},
    "layers": {"type": "dict", "required": True},
    "stack": {"type": "dict", "required": True},
    "kernel": {"type": "str", "default": "dl_aws"},
    "course_dir": {"type": "str", "required": True},
    "course_version": {"type": "str", "default": "refs/classroom/course"},
    "notebooks": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {"notebook": {"type": "str", "required": True}, "expect": {"type": "str", "required": True}},
    },
    "timeout": {"type": "int", "default": 300},
    "reprove": {"type": "bool", "default": False},
}


def identity_of(params: dict) -> dict:
    """Return what a proof is a proof of: this instance, this boot, this stack, and the seat and the course as they were."""
    wanted = [params[key] for key in ("notebooks", "course_version", "kernel", "stack")]
    proved = json.dumps([*wanted, layers.facts(params["layers"])], sort_keys=True)
    seen = sha256("\n".join([proved, *sorted(params["evidence"])]).encode()).hexdigest()
    return {key: params[key] for key in ("seat", "instance_id", "boot_id", "stack_digest")} | {"evidence": seen}


@path_errors.told
def main() -> None:
    """Use the last proof if it holds and the seat answers, else prove the seat."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if requests is None or websocket is None:
        module.fail_json(msg=missing_required_lib("requests and websocket-client"), exception=traceback.format_exc())
    params = module.params
    url = f"https://{params['address']}:{params['port']}{params['base_url']}"
    path, ca = Path(params["class_dir"]) / "seats" / params["seat"] / "proof.json", str(Path(params["class_dir"]) / "ca.crt")
    identity, last = identity_of(params), read(path)
    known = {"seat": params["seat"], "address": params["address"], "url": url}
    if troubles := [*params["troubles"], *clocks(params), *lost_gpu(last, params)]:
        module.exit_json(changed=False, **refused(troubles), **known)
    if holds(last, identity) and not params["reprove"]:
        module.exit_json(changed=False, **asked_again(Jupyter(url, ca, reply=ASKED, alive=KERNEL), params, last), **known)
    if module.check_mode:
        module.exit_json(changed=True, proven=False, reused=False, seconds=0.0, checks=[], msg="It would be proven now.", **known)
    proof, sentence = fresh(Jupyter(url, ca), params, identity)
    write(path, proof)
    outcome = {key: proof[key] for key in ("proven", "seconds", "checks")}
    module.exit_json(changed=lasting(proof) != lasting(last), reused=False, msg=sentence, **outcome, **known)


if __name__ == "__main__":
    main()
