"""Runs the notebooks in this folder and stores their outputs.

python examples/run.py
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat

EXAMPLES = Path(__file__).parent
_LOGGED = "INFO:tensorflow"


def main() -> None:
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, folder)
        for cell in code_cells(notebook):
            cell.metadata = {}
            cell.outputs = [output for output in cell.outputs if is_shown(output)]
        notebook.metadata = {
            "kernelspec": {"display_name": "Python 3", "name": "python3"},
            "language_info": {"name": "python"},
            "sources": digest(notebook),
        }
        nbformat.write(notebook, path)


def execute(notebook: Any, folder: Any) -> None:
    """Runs a notebook in a folder."""
    nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3").execute(
        cwd=folder
    )


def code_cells(notebook: Any) -> list[Any]:
    """Returns the cells with code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_shown(output: Any) -> bool:
    """Whether an output is the notebook's own, not a log of TensorFlow."""
    is_log = output.get("text", "").startswith(_LOGGED)
    return output.get("name") != "stderr" and not is_log


def digest(notebook: Any) -> str:
    """Returns a digest of the code, to check that outputs belong to it."""
    sources = "\n".join(cell.source for cell in code_cells(notebook))
    return hashlib.sha256(sources.encode()).hexdigest()


if __name__ == "__main__":
    main()
