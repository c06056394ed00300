"""A conversion without numbers: `rehearsal.py BASE_MODEL FOLDER [CHAT_TEMPLATE]`, a process of its own.

llama.cpp's converter says only while it works what it takes from a model's config, which names of weights it knows, and
what it makes of the tokenizer; llama-server, only when it loads the file, what it has expected. The converter puts off
all numbers until it writes them. With everything else written, and a hole in their place, seconds tell what would fail
after hours of training.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tuneline.errors import UserError
from tuneline.model import llama_cpp
from tuneline.model.base_model import Checkpoint, read_checkpoint, read_object
from tuneline.model.chat import ChatTokenizer
from tuneline.model.gguf_header import read_header
from tuneline.model.weights import text_part
from tuneline_gguf_converter.checking.checks import Subject, check_hollow
from tuneline_gguf_converter.checking.samples import choose_samples

PROVEN = frozenset({
    "gemma2", "gemma3", "gemma3_text", "llama", "mistral", "mixtral", "phi3", "qwen2", "qwen3", "qwen3_moe", "smollm3",
})  # fmt: skip
"""Kinds whose conversion the table in docs/models.md proves; transformers fills in what their configs leave out."""

_KEY = re.compile(r"""KeyError: (?:'(\w+)'|"could not find any of: \[(.+)\]")$""")
_INSTEAD = "choose another base model, or end the run before it with `goal: trainer`"
_OR = f"Else {_INSTEAD}"
FILE = "rehearsed.gguf"


def rehearse(base: Checkpoint, chat: ChatTokenizer, chat_template: Path | None) -> None:
    """Raise UserError for a model that llama.cpp would not convert, load or read text for as `chat` does.

    Of its weights only the headers need be there.
    """
    if base.model_type in PROVEN and not _scales_positions(base.folder):
        return
    script, given = llama_cpp.converter(), [chat_template] if chat_template else []
    with TemporaryDirectory(prefix="tuneline-rehearsal-") as folder:
        try:
            llama_cpp.run_program([sys.executable, __file__, base.folder, folder, *given], called=script.name)
        except UserError as error:
            raise UserError(f"base_model: {_why(str(error))}; else {_INSTEAD}") from None
        if (file := Path(folder, FILE)).exists():  # else it takes numbers to write it
            samples = choose_samples(chat, None, 1, 1, 1024)
            try:
                check_hollow(Subject(file, read_header(file), chat, samples, 1))
            except UserError as error:
                raise UserError(
                    f"base_model: what llama.cpp's converter makes of it does not work: {error} {_OR}"
                ) from None


def _why(said: str) -> str:
    """Return what the converter missed, or its last words."""
    if not (found := _KEY.search(said)):
        return f"llama.cpp's converter refuses it: {said.rpartition(' | ')[2]}"
    names = found[1] or found[2].replace("'", "").replace(", ", " or ")
    return (
        f"config.json: llama.cpp's converter takes {names} from it, and it is not there. Add it as the model's authors "
        "publish it"
    )


def _scales_positions(folder: Path) -> bool:
    """Tell whether a config stretches positions, which has parameters of its own."""
    config = read_object(folder / "config.json")
    said = {**config, **text_part(config)}
    scaling = said.get("rope_scaling") or said.get("rope_parameters")
    return isinstance(scaling, dict) and scaling.get("rope_type", scaling.get("type", "default")) != "default"


def main(base_model: str, folder: str, chat_template: str | None = None) -> None:
    """Do all of a conversion that needs no numbers; it ends early where the converter wants to see some."""
    from tuneline_gguf_converter.merging import writer

    base, given = read_checkpoint(Path(base_model)), Path(chat_template) if chat_template else None
    chat, model = ChatTokenizer.from_folder(base.folder, given), Path(folder, "model")
    model.mkdir()
    writer.link_model(base, model, "bf16", chat.template, space_first=chat.writes_space_first)
    metadata = Path(folder, "metadata.json")
    metadata.write_text("{}")
    task = writer.Task(
        converter=llama_cpp.converter(),
        folder=model,
        metadata=metadata,
        fingerprint="",
        adapter=None,
        dtype="bf16",
        begins=chat.writes_beginning,
        destination=Path(folder, FILE),
        problem=Path(folder, "problem.txt"),
        rehearses=True,
    )
    writer.write(task)


if __name__ == "__main__":
    main(*sys.argv[1:])
