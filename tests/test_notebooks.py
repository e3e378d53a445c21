"""The notebooks in examples/ run, at a reduced size."""

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

pytestmark = [pytest.mark.slow, pytest.mark.once]


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem
)
def test_notebooks_run(path, tmp_path, monkeypatch):
    import nbclient  # with the extra `dev`
    import nbformat

    monkeypatch.setenv("GAAF_KERAS_REDUCED", "1")
    notebook = nbformat.read(path, as_version=4)
    stored = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert any(stored), f"{path.name} has no outputs: run it once, and save it"
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3")
    client.execute(cwd=tmp_path)
