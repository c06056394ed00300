"""Tuneline for scripts and notebooks: what a run came to, and what it made.

::

    run = tuneline.open_run("demo", "s3://team/tuneline")
    run.results["evaluator"].metrics.headline      # 'better: +7.2 points …'
    run.verdicts[0].answers                        # {'LI1': 'YES', …}
    run.comparison.to_pandas()                     # with pandas, which is yours to install
    run.fetch("gguf-converter/model", Path("models"))
"""

from __future__ import annotations

TYPE_CHECKING = False  # that of `typing`, which takes as long to import as the interpreter to start, as pathlib does
if TYPE_CHECKING:
    from pathlib import Path

    from tuneline.commands.results.differences import Between
    from tuneline.commands.results.rows import ArmVerdict, ComparisonRow, Rows
    from tuneline.data.conversations import Conversation
    from tuneline.data.slices import Slice
    from tuneline.engine.records import Manifest
    from tuneline.store.base import Store

__all__ = ["Run", "__version__", "open_run"]


def __getattr__(name: str) -> str:
    """Return `__version__`, which takes longer to find out than everything else here."""
    if name == "__version__":
        from importlib.metadata import version

        return version("tuneline")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Run:
    """A run in a store, and the manifests of its results by node, as they were when it was opened."""

    def __init__(self, name: str, store: Store, results: dict[str, Manifest]) -> None:
        self.name, self.store, self.results = name, store, results

    @property
    def verdicts(self) -> Rows[ArmVerdict]:
        """What the judge found about every conversation. It is read anew each time; UserError before there are any."""
        from tuneline.commands.results.rows import verdicts_of

        return verdicts_of(self.store, self.name, self.results)

    @property
    def conversations(self) -> Rows[Conversation]:
        """What every persona or prompt and every arm said."""
        from tuneline.commands.results.rows import conversations_of

        return conversations_of(self.store, self.name, self.results)

    @property
    def slices(self) -> Rows[Slice]:
        """What was learnt."""
        from tuneline.commands.results.rows import slices_of

        return slices_of(self.store, self.name, self.results)

    @property
    def comparison(self) -> Rows[ComparisonRow]:
        """Every figure of the comparison: score, categories, criteria, gates, personas."""
        from tuneline.commands.results.rows import comparison_of

        return comparison_of(self.store, self.name, self.results)

    def compare(self, other: Run, *, allow_unequal: bool = False) -> Between:
        """Compare this run's fine-tuned model with that of `other`, the later one, as `tuneline compare` does.

        Raises UserError where they share no persona or prompt, or rubric or judge differ and `allow_unequal` is False.
        """
        from tuneline.commands.results.arms import read_side

        sides = read_side(self.store, self.name), read_side(other.store, other.name)
        from tuneline.commands.results.differences import compare_sides  # it needs what read_side has looked for

        return compare_sides(*sides, allow_unequal=allow_unequal)

    def fetch(self, output: str, dest: Path | str = ".") -> Path:
        """Copy an output, named `node/port`, into the folder `dest`, verified; return where it lies now."""
        from pathlib import Path

        from tuneline.commands.show import fetch_output

        return fetch_output(self.store, self.name, output, Path(dest))


def open_run(name: str, store: str = "tuneline-store") -> Run:
    """Open a run in the store at a path or URI. Raises UserError when there is none, or its records are not ours."""
    from tuneline.commands.show import results_of
    from tuneline.store.base import open_store

    opened = open_store(store)
    return Run(name, opened, results_of(opened, name))
