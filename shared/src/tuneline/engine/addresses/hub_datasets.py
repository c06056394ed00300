"""Which files of a data set in the Hugging Face Hub are a split of a configuration of it, as `datasets` says.

It reads the page of the data set (README.md) and the names of its files, so that nothing else travels to find out: it
is shown a folder with empty files of these names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tuneline.errors import UserError
from tuneline.parsing.problems import shortened

CARD = "README.md"
DATA = (".parquet", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".gz", ".zst")
MAX_LISTED = 20


def files_of_split(uri: str, names: Sequence[str], card: bytes, config: str | None, split: str | None) -> list[str]:
    """Return the names of a split's files; without names, of `train` of the default configuration, or the only one.

    Raises UserError, with the names there are, for a configuration or split that there is not, or that must be named.
    """
    from datasets.exceptions import DatasetsError

    with TemporaryDirectory() as scratch:
        folder = Path(scratch, "data").resolve()
        for name in names:
            if name.lower().endswith(DATA) and ".." not in Path(name).parts:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).touch()
        folder.mkdir(exist_ok=True)
        (folder / CARD).write_bytes(card)
        try:
            found = _splits(uri, folder, Path(scratch, "cache"), config)
        except (DatasetsError, ValueError, OSError, TypeError, KeyError) as error:
            problem = f"the library `datasets` cannot tell its files apart ({type(error).__name__})"
            raise UserError(f"{uri}: {problem}. Download the files that you want, and give their folder.") from None
    return found[_one_of(uri, "split", list(found), split, "train")]


def _splits(uri: str, folder: Path, cache: Path, config: str | None) -> Mapping[str, list[str]]:
    from datasets import get_dataset_config_names, load_dataset_builder

    configs = get_dataset_config_names(str(folder), cache_dir=str(cache))
    chosen = _one_of(uri, "configuration", configs, config, "default")
    builder = load_dataset_builder(str(folder), chosen, cache_dir=str(cache))
    files = builder.config.data_files or {}
    return {str(s): [Path(file).relative_to(folder).as_posix() for file in listed] for s, listed in files.items()}


def _one_of(uri: str, what: str, names: Sequence[str], wanted: str | None, usual: str) -> str:
    """Return the wanted name, else the usual or the only one."""
    chosen = wanted or (usual if usual in names or len(names) != 1 else names[0])
    if chosen not in names:
        problem = f"it has no {what} {chosen}" if wanted else f"name a {what}"
        raise UserError(
            f"{uri}: {problem}, as in hf://datasets/org/name@revision/configuration/split; "
            f"there {'is' if len(names) == 1 else 'are'} {shortened(names, MAX_LISTED) or 'none'}."
        )
    return chosen
