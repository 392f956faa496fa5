"""What a proof compares, when it holds, and what a run of the notebook's cells says."""

import json
import platform
from contextlib import nullcontext, redirect_stdout
from io import StringIO

import pytest
from ansible_collections.classroom.gpu.plugins.callback import classroom
from ansible_collections.classroom.gpu.plugins.module_utils.jupyter.client import JupyterError, Output
from ansible_collections.classroom.gpu.plugins.module_utils.stack import layers
from ansible_collections.classroom.gpu.plugins.modules import seat_proof

KERNEL = {"version": "6.1.0-56", "next_boot": True, "module": {"version": "580.126.09"}}
INSTALLED = {"installed": "580.126.09", "loaded": ""}
SEEN = {"gpus": [], "kernels": [KERNEL], "driver": INSTALLED, "toolkits": ["12.9.1", "13.0.2"], "cudnn": "9.28.0"}
STACK = {"driver": "580", "toolkits": ["12.9", "13.0"], "cudnn": "9.28.0.42", "framework": {"name": "tensorflow", "version": "2.21.0"}}
PARAMS = {
    "seat": "s01",
    "instance_id": "i-1",
    "boot_id": "b-1",
    "stack_digest": "d",
    "evidence": ["/run/jupyter/started 1.0"],
    "notebooks": [{"notebook": "a.ipynb", "expect": "Hello"}],
    "course_version": "refs/classroom/course",
    "kernel": "dl_aws",
    "timeout": 5,
    "layers": SEEN,
    "stack": STACK,
}


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("Hello, TensorFlow!", "a\nHello, TensorFlow!\nb\n", True),
        ("Hello, TensorFlow!", "  Hello, TensorFlow!  ", True),
        ("Hello", "Hello, TensorFlow!", False),  # a part of a line is another line
        ("Hello", "", False),
    ],
)
def test_a_whole_line_is_expected(expected, output, same):
    assert seat_proof.printed(expected, output) is same


@pytest.mark.parametrize(("output", "last"), [("a\nb\n\n", "b"), ("", "nothing"), ("x" * 200, "x" * 120)])
def test_tail_is_short(output, last):
    assert seat_proof.tail(output) == last


def test_only_code_that_says_something_is_run_and_saved_outputs_do_not_count():
    cells = [
        {"cell_type": "markdown", "source": "print(0)"},
        {"cell_type": "code", "source": ["a = 1\n", "a"], "outputs": [{"text": "Hello"}]},
        {"cell_type": "code", "source": " \n"},
        {"cell_type": "code", "source": "print(2)"},
    ]
    assert seat_proof.code_cells({"cells": cells}) == ["a = 1\na", "print(2)"]


def test_code_run_apart_leaves_no_name_behind():
    namespace = {}
    exec(seat_proof.apart("import os\nwhere.append(name)", where=[], name="it's"), namespace)
    assert set(namespace) == {"__builtins__"}


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({}, True),
        ({"instance_id": "i-2"}, False),
        ({"boot_id": "b-2"}, False),
        ({"stack_digest": "e"}, False),
        ({"evidence": ["/run/jupyter/started 2.0"]}, False),
        ({"notebooks": [{"notebook": "a.ipynb", "expect": "Bye"}]}, False),
        ({"layers": SEEN | {"driver": {"installed": "580.173.02", "loaded": ""}}}, False),  # upgraded behind our back
        ({"layers": SEEN | {"kernels": [KERNEL | {"version": "6.1.0-57-cloud-amd64"}]}}, False),
        ({"layers": {**dict(reversed(SEEN.items())), "invocation": {}, "warnings": ["..."]}}, True),
    ],
)
def test_a_proof_holds_while_all_that_it_is_of_stays(change, held):
    proof = seat_proof.identity_of(PARAMS) | {"proven": True}
    assert seat_proof.holds(proof, seat_proof.identity_of(PARAMS | change)) is held


def test_a_failed_proof_never_holds():
    identity = seat_proof.identity_of(PARAMS)
    assert not seat_proof.holds(identity | {"proven": False}, identity)
    assert not seat_proof.holds({}, identity)


def test_times_alone_are_no_change():
    proof = {"proven": True, "checks": [], "seconds": 1.0, "proven_at": "now"}
    assert seat_proof.lasting(proof) == seat_proof.lasting(proof | {"seconds": 2.0, "proven_at": "then"})
    assert seat_proof.lasting(proof) != seat_proof.lasting(proof | {"proven": False})


def test_what_the_gpu_proof_measured_is_no_change_and_a_version_is():
    proof = {"checks": [{"name": "framework", "found": "tensorflow 2.21.0 on CPU (no GPU)", "report": {"seconds": 1}}]}
    again = {"checks": [proof["checks"][0] | {"report": {"seconds": 2}}]}
    other = {"checks": [proof["checks"][0] | {"found": "tensorflow 2.22.0 on CPU (no GPU)"}]}
    assert seat_proof.lasting(proof) == seat_proof.lasting(again) != seat_proof.lasting(other)


def test_a_proof_is_written_whole_and_half_a_file_is_no_proof(tmp_path):
    path = tmp_path / "seats" / "s01" / "proof.json"
    seat_proof.write(path, {"proven": True})
    assert seat_proof.read(path) == {"proven": True}
    path.write_text(json.dumps({"proven": True})[:5])
    assert seat_proof.read(path) == {}


class Kernel:
    """Answers each cell with what it is told to."""

    def __init__(self, *answers):
        self.answers = iter(answers)
        self.ran = []

    def run(self, code, seconds):
        self.ran.append(code)
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_cells_run_in_order_until_one_fails():
    assert seat_proof.run_cells(Kernel("a", "b"), "a.ipynb", ["1", "2"], "b", 5) == "a\nb"
    kernel = Kernel("a", JupyterError("it raised ValueError: no"))
    with pytest.raises(seat_proof.Unproven, match="code cell 2 of a.ipynb: it raised ValueError: no"):
        seat_proof.run_cells(kernel, "a.ipynb", ["1", "2", "3"], "b", 5)
    assert kernel.ran == ["1", "2"]


class Seat:
    """Starts kernels that answer as told, by name, and notes which."""

    def __init__(self, **kernels):
        self.kernels, self.started = kernels, []

    def start(self, name, session):
        self.started.append(name)
        return nullcontext(self.kernels[name])


@pytest.mark.parametrize(
    ("named", "offered", "started"),
    [
        ("python3", ["dl_aws", "python3"], ["dl_aws", "python3"]),
        ("python3", ["dl_aws"], ["dl_aws"]),
        ("dl_aws", ["dl_aws", "python3"], ["dl_aws"]),
        ("", ["dl_aws", "python3"], ["dl_aws"]),
    ],
)
def test_a_notebook_runs_in_the_kernel_that_it_names(named, offered, started):
    metadata = {"kernelspec": {"name": named}} if named else {}
    notebook = {"metadata": metadata, "cells": [{"cell_type": "code", "source": "1"}]}
    copied, ran = [json.dumps({"copy": "/tmp/proof-1", "notebook": notebook})], ["", "Hello", ""]
    other = len(started) > 1
    server = Seat(dl_aws=Kernel(*copied, *([] if other else ran)), python3=Kernel(*ran))
    wanted = {"notebook": "code/a.ipynb", "expect": "Hello"}
    assert seat_proof.run_notebook(server, wanted, offered, PARAMS | {"course_dir": "/c"})["ok"] is True
    assert server.started == started
    enter, cell, delete = server.kernels[started[-1]].ran[-3:]
    assert "chdir" in enter and cell == "1" and "rmtree" in delete


@pytest.mark.parametrize(
    ("kind", "content", "outcome"),
    [
        ("stream", {"name": "stdout", "text": "a\n"}, ("a\n", "", False)),
        ("execute_result", {"data": {"text/plain": "42"}}, ("42\n", "", False)),
        ("display_data", {"data": {"image/png": "..."}}, ("\n", "", False)),
        ("error", {"ename": "E", "evalue": "v", "traceback": []}, ("", "E: v", False)),
        ("status", {"execution_state": "busy"}, ("", "", False)),
        ("status", {"execution_state": "idle"}, ("", "", True)),
        ("execute_input", {"code": "a"}, ("", "", False)),
    ],
)
def test_a_kernels_messages_are_understood(kind, content, outcome):
    output = Output()
    output.take(kind, content)
    assert (output.text, output.error, output.idle) == outcome


# --- the GPU layers -------------------------------------------------------------------------------------------------------------------

T4 = {"gpus": [{"model": "T4"}]}
LOADED = {"driver": {"installed": "580.126.09", "loaded": "580.126.09"}}


@pytest.mark.parametrize(
    ("look", "seen", "stack", "found", "says"),
    [
        pytest.param(layers.driver, {}, {}, "580.126.09", "", id="driver, no GPU: need not be loaded"),
        pytest.param(layers.driver, T4 | LOADED, {}, "580.126.09", "", id="driver at work"),
        pytest.param(layers.driver, T4, {}, "580.126.09", "T4 is idle, as driver 580.126.09 is installed and none is", id="not loaded"),
        pytest.param(layers.driver, T4 | {"reason": "nouveau has it"}, {}, "580.126.09", "idle, as nouveau has it; site.yml", id="reason"),
        pytest.param(layers.driver, {"kernels": [KERNEL | {"module": None}]}, {}, "580.126.09", "boots next, has no module", id="boot"),
        pytest.param(layers.driver, {"kernels": [KERNEL | {"next_boot": False, "module": None}]}, {}, "580.126.09", "", id="old kernel"),
        pytest.param(layers.driver, {"kernels": []}, {}, "580.126.09", "", id="no kernel of its own"),
        pytest.param(layers.driver, T4 | {"driver": {"installed": "580.173.02", "loaded": "580.126.09"}}, {}, "580.173.02",
                     "580.173.02 is installed and 580.126.09 is loaded; site.yml", id="library ahead of module"),
        pytest.param(layers.driver, {}, {"driver": "595"}, "580.126.09", "driver 595 is wanted and 580.126.09 is installed", id="branch"),
        pytest.param(layers.driver, {"driver": {"installed": "", "loaded": ""}}, {}, "none", "580 is wanted and none", id="no driver"),
        pytest.param(layers.driver, {"driver": {"installed": "", "loaded": ""}}, {"driver": ""}, "none", "", id="no driver wanted"),
        pytest.param(layers.toolkit, {}, {}, "12.9.1 and 13.0.2", "", id="toolkits"),
        pytest.param(layers.toolkit, {"toolkits": ["13.0.2"]}, {}, "13.0.2", "CUDA 12.9 is missing", id="a toolkit missing"),
        pytest.param(layers.toolkit, {}, {"toolkits": []}, "12.9.1 and 13.0.2", "", id="toolkits of another stack do no harm"),
        pytest.param(layers.toolkit, {"toolkits": ["12.90.1"]}, {"toolkits": ["12.9"]}, "12.90.1", "CUDA 12.9 is missing", id="12.90"),
        pytest.param(layers.cudnn, {}, {}, "9.28.0", "", id="cuDNN"),
        pytest.param(layers.cudnn, {"cudnn": "9.20.0"}, {}, "9.20.0", "cuDNN 9.28.0.42 is wanted and 9.20.0 is there", id="other cuDNN"),
        pytest.param(layers.cudnn, {"cudnn": ""}, {"cudnn": ""}, "none", "", id="no cuDNN wanted"),
    ],
)  # fmt: skip
def test_a_layer_is_what_the_stack_wants_or_says_what_to_do(look, seen, stack, found, says):
    check = look(SEEN | seen, STACK | stack)
    assert (check["found"], check["ok"]) == (found, not says)
    assert says in check["trouble"]


TENSORFLOW = {"name": "tensorflow", "version": "2.21.0"}
ON_CPU = {"gpus": [], "cuda_driver": {}, "framework": TENSORFLOW, "device": "cpu", "verdict": {"ok": True, "sentence": "no GPU: ..."}}
ON_T4 = ON_CPU | {"gpus": [{}], "cuda_driver": {"devices": [{"name": "Tesla T4"}]}, "device": "gpu:0"}
IDLE = {"gpus": [{}], "verdict": {"ok": False, "sentence": "there is a GPU, but tensorflow computes on the CPU: why"}}


@pytest.mark.parametrize(
    ("report", "stack", "found", "says"),
    [
        pytest.param(ON_CPU | {"seen": T4}, {}, "tensorflow 2.21.0 on CPU (no GPU)", "the notebooks do not see the T4", id="GPU hidden"),
        pytest.param(ON_CPU, {}, "tensorflow 2.21.0 on CPU (no GPU)", "", id="no GPU"),
        pytest.param(ON_T4, {}, "tensorflow 2.21.0 on Tesla T4", "", id="GPU"),
        pytest.param(ON_CPU | IDLE, {}, "tensorflow 2.21.0 on CPU", "computes on the CPU: why", id="GPU not used"),
        pytest.param({"error": "no", "gpus": [{}], "framework": TENSORFLOW, "verdict": {"ok": False, "sentence": "it fails to compute"}},
                     {}, "tensorflow 2.21.0 on nothing", "it fails to compute", id="fails"),
        pytest.param(ON_CPU, {"gpu": "required"}, "tensorflow 2.21.0 on CPU (no GPU)", "this machine shows none", id="GPU gone"),
        pytest.param(ON_CPU | {"framework": TENSORFLOW | {"version": "2.20.0"}}, {}, "tensorflow 2.20.0 on CPU (no GPU)",
                     "the stack wants 2.21.0", id="another version"),
        pytest.param(ON_T4 | {"framework": TENSORFLOW | {"version": "2.21.0+cu130"}}, {}, "tensorflow 2.21.0+cu130 on Tesla T4", "",
                     id="a build's own suffix"),
    ],
)  # fmt: skip
def test_the_framework_is_the_stacks_and_where_it_must_be(report, stack, found, says):
    check = layers.framework(report, SEEN | report.get("seen", {}), STACK | stack)
    assert (check["found"], check["ok"], check["report"]) == (found, not says, report)
    assert says in check["trouble"]


def test_a_framework_that_cannot_be_imported_is_told():
    trouble = {"ok": False, "sentence": "tensorflow is not installed here"}
    check = layers.framework({"gpus": [], "cuda_driver": {}, "error": trouble["sentence"], "verdict": trouble}, SEEN, STACK)
    assert check["trouble"] == "tensorflow is not installed here"
    assert check["found"] == "none"


class Server:
    """A seat whose kernel answers with what it is told to, and notes what it ran."""

    def __init__(self, *answers):
        self.kernel = Kernel(*answers)

    def start(self, name, session):
        return nullcontext(self.kernel)


def test_the_layers_are_checked_in_order_and_the_first_that_is_wrong_ends_it():
    noisy = f"I0000 log\n\n{json.dumps(ON_CPU)}\nI0000 another"
    checks = list(seat_proof.examine_layers(Server(noisy), PARAMS))
    assert [(check["name"], check["ok"]) for check in checks] == [(name, True) for name in ("driver", "toolkit", "cudnn", "framework")]
    broken = PARAMS | {"layers": SEEN | {"toolkits": []}}
    with pytest.raises(seat_proof.Unproven, match="CUDA 12.9, 13.0 is missing") as error:
        list(seat_proof.examine_layers(Server(), broken))
    assert {"name": "toolkit", "expected": "12.9 and 13.0", "found": "none", "ok": False}.items() <= error.value.check.items()
    assert error.value.check["trouble"] == str(error.value)


def test_a_stack_without_framework_starts_no_kernel():
    *_, check = seat_proof.examine_layers(Server(), PARAMS | {"stack": {"driver": "580"}})
    assert check == {"name": "framework", "expected": "none", "found": "none", "ok": True}


@pytest.mark.parametrize("answer", [JupyterError("the kernel died"), "Killed", ""])
def test_a_gpu_proof_that_does_not_end_is_no_proof(answer):
    with pytest.raises(seat_proof.Unproven, match="the GPU proof of tensorflow did not end"):
        seat_proof.gpu_report(Server(answer), "tensorflow", PARAMS)


def test_what_is_sent_to_the_kernel_is_the_script_and_leaves_no_name_behind():
    server = Server(json.dumps(ON_CPU))
    seat_proof.gpu_report(server, "none", PARAMS)
    namespace, output = {}, StringIO()
    with redirect_stdout(output):
        exec(server.kernel.ran[0], namespace)
    assert set(namespace) == {"__builtins__"}
    assert seat_proof.reported(output.getvalue())["python"]["version"] == platform.python_version()


def test_the_table_tells_layers_by_version():
    checks = [*({"name": name, "found": "it is"} for name in ("certificate", "login"))]
    checks += [{"name": "driver", "found": "580.126.09"}, {"name": "toolkit", "found": "12.9.1 and 13.0.2"}]
    checks += [{"name": "cudnn", "found": "none"}, {"name": "framework", "found": "tensorflow 2.21.0 on Tesla T4"}]
    proof = {"proven": True, "reused": False, "seconds": 9.04, "url": "https://x:8888/", "checks": checks}
    told = classroom.row("s01", "x", proof, None, check=False)
    assert told[2:4] == ("certificate, login, driver 580.126.09, CUDA 12.9.1 and 13.0.2, tensorflow 2.21.0 on Tesla T4", "9.0")
