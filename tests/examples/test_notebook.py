"""The notebook of the examples runs from its first cell to its last, and comes without anybody's results."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from kit.comparing import make_run
from kit.places import EXAMPLES
from tuneline.store.base import open_store

NOTEBOOK = EXAMPLES / "results.ipynb"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> list[NotebookNode]:
    """Its cells after they were run beside a store with an evaluated run, as Jupyter runs them."""
    folder = tmp_path_factory.mktemp("desk")
    make_run(folder, open_store(str(folder / "tuneline-store")), "demo", fails={"SA1": [3]})
    book = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(book, timeout=60, resources={"metadata": {"path": str(folder)}}).execute()
    return list(book.cells)


def told(cells: list[NotebookNode], begin: str) -> str:
    cell = next(cell for cell in cells if cell.cell_type == "code" and begin in cell.source)
    return "".join(output.get("text") or output["data"]["text/plain"] for output in cell.outputs)


def test_it_shows_figures_rows_and_the_sentence(ran: list[NotebookNode]) -> None:
    assert "better" in told(ran, "import tuneline")
    assert "criterion" in told(ran, '["kind"] != "persona"')
    assert "persona-07" in told(ran, '["kind"] == "persona"').splitlines()[1], "who gained least comes first"
    assert "('finetuned', 'SA1'), 1" in told(ran, "Counter")
    assert "user: Is the tray empty?" in told(ran, "min((v for v")
    assert not any(output.output_type == "error" for cell in ran if cell.cell_type == "code" for output in cell.outputs)


def test_it_holds_no_outputs() -> None:
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert len(code) >= 6 and all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_a_cell_that_fails_fails_the_test(tmp_path: Path) -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import tuneline; tuneline.open_run('none')")])
    with pytest.raises(Exception, match="UserError"):
        NotebookClient(book, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
