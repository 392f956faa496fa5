"""What a proof compares, when it holds, and what a run of the notebook's cells says."""

import json

import pytest
from ansible_collections.classroom.gpu.plugins.module_utils.jupyter import JupyterError, Output
from ansible_collections.classroom.gpu.plugins.modules import seat_proof

PARAMS = {
    "seat": "s01",
    "instance_id": "i-1",
    "boot_id": "b-1",
    "stack_digest": "d",
    "evidence": ["/run/jupyter/started 1.0"],
    "notebooks": [{"notebook": "a.ipynb", "expect": "Hello"}],
    "course_version": "refs/classroom/course",
    "kernel": "dl_aws",
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
