"""The notebooks in examples/ run, at a reduced size, with up-to-date outputs."""

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

pytestmark = [pytest.mark.slow, pytest.mark.once]


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem
)
def test_notebooks_run(path, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import nbformat  # with the extra `dev`, as nbclient
    import run

    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.sources == run.digest(notebook), (
        f"{path.name} has changed since it was run: python examples/run.py"
    )
    assert any(cell.outputs for cell in run.code_cells(notebook))
    monkeypatch.setenv("GAAF_KERAS_REDUCED", "1")
    run.execute(notebook, tmp_path)
