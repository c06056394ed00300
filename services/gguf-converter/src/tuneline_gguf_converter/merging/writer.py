"""Runs llama.cpp's converter on a model that is merged while it is written: `writer.py TASK`, a process of its own.

The converter asks for one weight after the other and lets go of each when it is written. It is given the merged ones
in place of those in the base model's files; what it does with them is left to it.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tuneline.data.io import Closed
from tuneline.errors import UserError
from tuneline.model import llama_cpp
from tuneline.model.base_model import Checkpoint, copy_text_files, read_object, write_object
from tuneline.model.weights import EMBEDDING, HEAD, has_layers_that_foresee, read_shapes
from tuneline_gguf_converter.merging.adapter import Adapter
from tuneline_gguf_converter.merging.merge import DTYPES, Dtype, merged

if TYPE_CHECKING:
    from gguf import GGUFWriter  # the converter brings its own


class Task(Closed):
    """What to write: `folder` holds links to the weights of the base model, and the files beside them."""

    converter: Path
    folder: Path
    metadata: Path
    fingerprint: str
    adapter: Adapter | None
    dtype: Dtype
    begins: bool
    """Whether the template writes the beginning token; else none may come before a text, as none did in training."""
    destination: Path
    problem: Path
    """Where a UserError is told to the process that waits for this one."""
    rehearses: bool = False
    """Whether to do only what needs no numbers, which leaves a file with a hole in their place."""


class NumbersNeededError(Exception):
    """A rehearsal has come to where the converter looks at a weight's numbers: what follows cannot be known."""


def link_model(
    base: Checkpoint, folder: Path, dtype: Dtype, template: str, *, space_first: bool = True, unties: bool = False
) -> None:
    """Offer the converter, and transformers, what lies beside the weights: the original files, but for four things.

    They are the chat template that the model was trained with, the format of the merged weights, unless `space_first`
    that llama.cpp must put no space before a text, as it does with SentencePiece models if not told, and whether the
    adapter `unties` what the model reads and says tokens with. The weights of the base model are links, with names that
    the converter looks for.
    """
    copy_text_files(base.folder, folder)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8", newline="")
    config = read_object(folder / "config.json")
    config.pop("torch_dtype", None)
    untied = {"tie_word_embeddings": False} if unties else {}
    write_object(folder / "config.json", config | {"dtype": str(DTYPES[dtype]).removeprefix("torch.")} | untied)
    settings = folder / "tokenizer_config.json"
    if settings.exists():
        kept = read_object(settings)
        kept.pop("chat_template", None)  # the converter would take it in place of the file
        spaces = {"add_prefix_space": False} if not space_first and (folder / "tokenizer.model").exists() else {}
        write_object(settings, kept | spaces)
    for number, file in enumerate(base.files, start=1):
        name = f"model-{number:05}-of-{len(base.files):05}.safetensors"
        (folder / name).symlink_to(file.absolute())


def write_merged(task: Task, place: Path) -> None:
    """Do the task, which is written to `place`, in a process of its own. Raises UserError and Temporary."""
    place.write_text(task.model_dump_json(), encoding="utf-8")
    try:
        llama_cpp.run_program([sys.executable, __file__, place], called=task.converter.name)
    except UserError:
        if task.problem.exists():
            raise UserError(task.problem.read_text(encoding="utf-8")) from None
        raise


def main(place: str) -> None:
    """Write the GGUF file. Ends with status 2 after a UserError, otherwise as the converter does."""
    atexit.register(gc.freeze)  # nothing that torch holds has to be searched before this process ends
    task = Task.model_validate_json(Path(place).read_bytes())
    try:
        write(task)
    except UserError as error:
        task.problem.write_text(str(error), encoding="utf-8")
        sys.exit(2)


def write(task: Task) -> None:
    """Let the converter write the GGUF file, or rehearse it, in this process, which is its own."""
    sys.path[0] = str(task.converter.parent)  # in place of this file's folder
    script = import_module(task.converter.stem)
    known: Callable[..., type] = vars(script)["get_model_class"]
    vars(script)["get_model_class"] = lambda name, mmproj=False: merging(known(name, mmproj), task)
    options = ["--outtype", task.dtype, "--outfile", str(task.destination), "--metadata", str(task.metadata)]
    sys.argv = [str(task.converter), str(task.folder), *options]
    try:
        script.main()
    except NumbersNeededError:
        task.destination.unlink(missing_ok=True)


def merging(architecture: type, task: Task) -> type:
    """Return the converter's class of a model with every weight merged, and the result's name in the metadata."""
    unties, embedding = bool(task.adapter and task.adapter.unties), list[Callable[[], torch.Tensor]]()

    class Merging(architecture):  # type: ignore[misc]
        model_arch = vars(architecture)["model_arch"]
        no_mtp = not _foresees(task.folder)

        @classmethod
        def filter_tensors(cls, item: tuple[str, Callable[[], torch.Tensor]]) -> tuple[str, object] | None:
            """See each weight under its name in the base model's files, before any architecture renames it."""
            name, read = item
            embedding.extend([read] if name == EMBEDDING else [])
            kept: tuple[str, object] | None = super().filter_tensors((name, lambda: _later(name, read(), task)))
            return kept

        def index_tensors(self, **given: object) -> dict[str, object]:
            found: dict[str, object] = super().index_tensors(**given)
            if unties and (head := self.filter_tensors((HEAD, embedding[-1]))):
                found[head[0]] = head[1]
            return found

        def set_vocab(self) -> None:
            super().set_vocab()
            if not task.begins:
                self.gguf_writer.add_add_bos_token(False)

        def set_gguf_parameters(self) -> None:
            super().set_gguf_parameters()
            self.gguf_writer.add_string("tuneline.fingerprint", task.fingerprint)

        def write(self) -> None:
            if task.rehearses:
                self.prepare_tensors()
                self.prepare_metadata(vocab_only=False)
                _write_hollow(self.gguf_writer, task.destination)
            else:
                super().write()

    return Merging


def _foresees(folder: Path) -> bool:
    """Tell whether a model has the layers for further tokens that the converter expects, and transformers drops."""
    names = [name for file in folder.glob("*.safetensors") for name in read_shapes(file)]
    return has_layers_that_foresee(read_object(folder / "config.json"), names)


def _write_hollow(writer: GGUFWriter, place: Path) -> None:
    """Write all of a file but the numbers, for which it has a hole of their size."""
    writer.write_header_to_file(path=place)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    sizes = [writer.ggml_pad(one.nbytes, writer.data_alignment) for part in writer.tensors for one in part.values()]
    with place.open("r+b") as file:
        file.truncate(writer.ggml_pad(place.stat().st_size, writer.data_alignment) + sum(sizes))


def _later(name: str, weight: torch.Tensor, task: Task) -> object:
    """Return a weight that is merged when its numbers are needed: what the converter makes of it is put off as well.

    Its format is said before it is there.
    """

    def numbers(read: torch.Tensor) -> torch.Tensor:
        if task.rehearses:
            raise NumbersNeededError(name)
        return merged(name, read, task.adapter, task.dtype)

    lazy = import_module("conversion").LazyTorchTensor
    dtype = DTYPES[task.dtype] if weight.dtype.is_floating_point else weight.dtype
    return lazy(meta=lazy.meta_with_dtype_and_shape(dtype, weight.shape), args=(weight,), func=numbers)


if __name__ == "__main__":
    main(sys.argv[1])
