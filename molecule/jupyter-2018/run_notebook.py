"""Run a notebook in the kernel that it names, or in the one of the second argument, and print what its cells print."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

path = Path(sys.argv[1])
notebook = nbformat.read(path, as_version=4)
client = NotebookClient(notebook, timeout=900, kernel_name="".join(sys.argv[2:]), resources={"metadata": {"path": str(path.parent)}})
client.execute()
print(*(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])), sep="\n")
