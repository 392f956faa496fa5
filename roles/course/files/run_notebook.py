"""Run a notebook as the course has it at its commit, in a copy that is deleted, and expect a line of its output.

`python run_notebook.py COURSE NOTEBOOK EXPECT KERNEL`, with a Python that has nbclient, and the seat's kernels in $JUPYTER_PATH.
The notebook runs in the kernel that it names, as JupyterLab opens it, and in KERNEL where the seat has none of that name.
Nothing of the student's is read or written.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat

COMMIT = "refs/classroom/course"
PATIENCE = 300  # seconds for one cell


def printed(notebook) -> list[str]:
    """Return the lines that all cells printed."""
    outputs = (output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)
    return [line.strip() for output in outputs if output.output_type == "stream" for line in output.text.splitlines()]


def kernel_of(notebook, otherwise: str) -> str:
    """Return the kernel that JupyterLab opens a notebook with."""
    named = notebook.metadata.get("kernelspec", {}).get("name", "")
    return named if named and (Path(os.environ["JUPYTER_PATH"]) / "kernels" / named / "kernel.json").is_file() else otherwise


def main(course: str, name: str, expect: str, kernel: str) -> None:
    """Leave with a sentence where the notebook does not do what it should."""
    with tempfile.TemporaryDirectory(prefix="proof-") as copy:
        packed = subprocess.run(["git", "-C", course, "archive", COMMIT], check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "--extract", "--directory", copy], input=packed, check=True)
        path = Path(copy) / name
        os.environ["IPYTHONDIR"] = str(Path(copy) / ".ipython")  # the student's own start-up files prove nothing of the course
        notebook = nbformat.read(path, as_version=4)
        where = {"metadata": {"path": path.parent}}
        nbclient.NotebookClient(notebook, timeout=PATIENCE, kernel_name=kernel_of(notebook, kernel), resources=where).execute()
    if expect.strip() not in printed(notebook):
        sys.exit(f"{name} ran, but printed no line '{expect}'; its last lines: {printed(notebook)[-3:]}")


main(*sys.argv[1:])
