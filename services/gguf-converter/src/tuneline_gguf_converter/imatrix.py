"""The importance matrix: how strongly each input of a layer is used, so that rounding errs where it matters least.

llama-imatrix runs the unquantised model over text and sums up the squares of what every weight is multiplied with. The
text is that of training conversations, never of held-out ones, with which the files are compared; both arms of a
comparison read the same. Sums are in one order whatever the number of threads, so the same text gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from tuneline.data.io import file_sha256, read_lines
from tuneline.data.model_facts import ImportanceMatrix
from tuneline.data.slices import Slice
from tuneline.errors import UserError
from tuneline.model import llama_cpp
from tuneline.model.chat import ChatTokenizer
from tuneline.model.gguf_header import read_header
from tuneline_gguf_converter.checking.samples import longest_of_each, slices_at

CHUNK = 512
"""Tokens that are read at once; llama-imatrix takes no text shorter than two of them."""
TEXT, MATRIX = "conversations.txt", "imatrix.gguf"
"""Names that end up in the files that are made with the matrix, so they are the same everywhere."""

NEEDED = frozenset({"Q2_K_S", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS"})
"""Types that llama-quantize does not make without a matrix (`tensor_requires_imatrix` in llama-quant.cpp)."""


def programs(with_matrix: bool) -> tuple[llama_cpp.Program, ...]:
    """Return what a conversion takes of llama.cpp."""
    return ("llama-server", "llama-quantize", *(("llama-imatrix",) if with_matrix else ()))


class Calibration(NamedTuple):
    """What the matrix is made of, or `given` itself."""

    text: str = ""
    conversations: int = 0
    tokens: int = 0
    given: Path | None = None


def read_calibration(path: Path, tokenizer: ChatTokenizer, tokens: int) -> Calibration:
    """Read the input: a matrix of llama-imatrix as it is, or up to `tokens` tokens of the training slices.

    Conversations are taken from their beginnings, all alike far or at least `CHUNK` tokens. Raises UserError for
    another kind of file, and for too little text.
    """
    if is_matrix(path):
        return Calibration(given=path)
    left, texts = tokens, list[str]()
    for remaining, row in _in_some_order(path, tokens // CHUNK):
        text, count = _beginning(tokenizer, tokenizer.render(row.chat), min(left, max(CHUNK, left // remaining)))
        texts.append(text)
        left -= count
        if left <= 0:
            break
    if tokens - left < 2 * CHUNK:
        raise UserError(
            f"imatrix: the training conversations have {tokens - left} tokens, and a matrix takes {2 * CHUNK:,} or "
            "more. Leave it out, or train on more"
        )
    return Calibration("".join(texts), len(texts), tokens - left)


def _beginning(tokenizer: ChatTokenizer, text: str, tokens: int) -> tuple[str, int]:
    """Return the beginning of a text that has so many tokens, or all of it, and its own count.

    A text that ends within a word may have fewer tokens than it was cut behind, or more.
    """
    ends = [end for _, end in tokenizer.tokens(text).offsets]
    for end in ends[tokens - 1 :]:
        if (count := len(tokenizer.encode(text[:end]))) >= tokens:
            return text[:end], count
    return text, len(ends)


def _in_some_order(path: Path, at_once: int) -> Iterator[tuple[int, Slice]]:
    """Yield the longest training slice of each transcript, and how many remain with it, in an order of no meaning."""
    places = longest_of_each(path)["train"]
    order = sorted(places, key=lambda place: sha256(str(place).encode()).digest())
    for begin in range(0, len(order), at_once):
        for number, row in enumerate(slices_at(path, order[begin : begin + at_once]), start=begin):
            yield len(order) - number, row


def is_matrix(path: Path) -> bool:
    """Tell whether the file is a matrix of llama-imatrix. Raises UserError for a folder and any other GGUF file."""
    if not path.is_file():
        raise UserError("imatrix: is a folder: give the file that llama-imatrix wrote, or slices")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            return False
    if read_header(path).text("general.type") != "imatrix":
        raise UserError(f"imatrix: {path.name} is another kind of GGUF file: give what llama-imatrix wrote, or slices")
    return True


def look_at_calibration(path: Path) -> None:
    """Raises UserError for what is neither a matrix nor slices, of which the first is read."""
    if not is_matrix(path):
        next(iter(read_lines(path, Slice)), None)


def refuse_without_matrix(quantizations: Iterable[str]) -> None:
    """Raise UserError for types that cannot be made without one."""
    if found := [encoding for encoding in quantizations if encoding in NEEDED]:
        raise UserError(
            f"`quantizations`: {', '.join(found)} cannot be made without an importance matrix: give the input "
            "`imatrix`, as in `imatrix: output:slicer/slices`, or take a type with more bits"
        )


def facts_of(calibration: Calibration) -> ImportanceMatrix:
    """Return what is told about it: the same for every model."""
    if calibration.given:
        return ImportanceMatrix(sha256=file_sha256(calibration.given))
    digest = sha256(calibration.text.encode()).hexdigest()
    return ImportanceMatrix(sha256=digest, conversations=calibration.conversations, tokens=calibration.tokens)


def matrix_of(calibration: Calibration, model: Path, threads: int | None) -> Path:
    """Return the matrix; unless it was given it is made with `model`. It lies beside it."""
    place, text = model.with_name(MATRIX), model.with_name(TEXT)
    if calibration.given:
        place.symlink_to(calibration.given.absolute())
        return place
    text.write_text(f"{calibration.text}\n", encoding="utf-8", newline="")  # llama-imatrix takes one line end off
    options = ["--parse-special", "--no-ppl", "--ctx-size", str(CHUNK), "--output-file", MATRIX]
    options += ["--threads", str(threads)] if threads else []
    program = llama_cpp.program("llama-imatrix")
    llama_cpp.run_program([program, "--model", model.name, "--file", TEXT, *options], cwd=model.parent)
    text.unlink()
    return place
