"""Tuneline for scripts and notebooks: what a run came to, and what it made.

::

    run = tuneline.open_run("demo", "s3://team/tuneline")
    run.results["evaluator"].metrics.headline      # 'better: +7.2 points …'
    run.fetch("gguf-converter/model", Path("models"))
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tuneline.engine.records import Manifest
    from tuneline.store.base import Store

__all__ = ["Run", "__version__", "open_run"]


def __getattr__(name: str) -> str:
    """Return `__version__`, which takes longer to find out than everything else here."""
    if name == "__version__":
        from importlib.metadata import version

        return version("tuneline")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Run(NamedTuple):
    """A run in a store, and the manifests of its results by node, as they were when it was opened."""

    name: str
    store: Store
    results: dict[str, Manifest]

    def fetch(self, output: str, dest: Path = Path()) -> Path:
        """Copy an output, named `node/port`, into the folder `dest`, verified; return where it lies now."""
        from tuneline.commands.show import fetch_output

        return fetch_output(self.store, self.name, output, dest)


def open_run(name: str, store: str = "tuneline-store") -> Run:
    """Open a run in the store at a path or URI. Raises UserError when there is none, or its records are not ours."""
    from tuneline.commands.show import results_of
    from tuneline.store.base import open_store

    opened = open_store(store)
    return Run(name, opened, results_of(opened, name))
