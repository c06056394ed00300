"""Whether the two files of a SentencePiece tokenizer say the same: tokenizer.json, and tokenizer.model for llama.cpp.

Training and rendering read the one, llama.cpp's converter the other. In tokenizer.model each piece has a score, and of
two merges the one whose result scores higher comes first; in tokenizer.json the merges stand in the order in which they
are done. A program that sorts them by the pieces' ids instead makes other tokens wherever that order is another one, as
in Mistral 7B v0.3, whose pieces of spaces have low ids and the lowest score.

Layout: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from tuneline.errors import UserError
from tuneline.model.base_model import read_object
from tuneline.parsing.problems import printable
from tuneline.parsing.text import ONLY_A_POINTER, POINTER

MAX_BYTES = 1 << 26
"""64 MiB: 256,000 pieces take 4."""
_PIECES, _TRAINER, _MODEL_TYPE, _NORMAL, _BPE = 1, 2, 3, 1, 2
_LENGTHS = {1: 8, 5: 4}


class _Unsound(Exception):  # noqa: N818  (raised and caught in this module)
    pass


def refuse_other_merges(folder: Path) -> None:
    """Raise UserError where tokenizer.json merges in another order than tokenizer.model, so that ids would differ."""
    file, own = folder / "tokenizer.model", folder / "tokenizer.json"
    if not file.is_file() or not own.is_file():
        return
    model = read_object(own, "base_model").get("model")
    merges = model.get("merges") if isinstance(model, dict) else None
    if not isinstance(merges, list) or not (scores := merge_scores(file)):
        return
    pieces = ["".join(map(str, merge)) if isinstance(merge, list) else str(merge).replace(" ", "") for merge in merges]
    known = [piece for piece in pieces if piece in scores]
    for first, later in pairwise(known):
        if scores[first] < scores[later]:
            raise UserError(
                f"base_model: tokenizer.json merges {printable(repr(first))} before {printable(repr(later))}, and "
                "tokenizer.model the other way round, which is what llama.cpp goes by: the GGUF file would make other "
                "tokens of a text than the training. Take both from the repository that the model was published in"
            )


def merge_scores(path: Path) -> dict[str, float]:
    """Return the score of each ordinary piece; nothing of a model that does not merge. Raises UserError if unsound."""
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"base_model: {path.name} is larger than {MAX_BYTES >> 20} MiB: it is no tokenizer")
    scores, merges = dict[str, float](), False
    data = path.read_bytes()
    if data.startswith(POINTER):
        raise UserError(f"base_model: {path.name} {ONLY_A_POINTER}")
    try:
        for field, value in _fields(data):
            if field == _PIECES and isinstance(value, bytes):
                piece = dict(_fields(value))
                name, score, kind = piece.get(1, b""), piece.get(2, b""), piece.get(3, _NORMAL)
                if kind == _NORMAL and isinstance(name, bytes) and isinstance(score, bytes) and len(score) == 4:
                    scores[name.decode()] = float(struct.unpack("<f", score)[0])
            elif field == _TRAINER and isinstance(value, bytes):
                merges = dict(_fields(value)).get(_MODEL_TYPE) == _BPE
    except (_Unsound, UnicodeDecodeError):
        raise UserError(f"base_model: {path.name} is damaged, or no SentencePiece model. Copy it again.") from None
    return scores if merges else {}


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field of a protobuf message."""
    place = 0
    while place < len(data):
        key, place = _number(data, place)
        field, kind = key >> 3, key & 7
        if kind == 0:
            value, place = _number(data, place)
            yield field, value
            continue
        if kind == 2:
            length, place = _number(data, place)
        elif kind in _LENGTHS:
            length = _LENGTHS[kind]
        else:
            raise _Unsound
        if place + length > len(data):
            raise _Unsound
        yield field, data[place : place + length]
        place += length


def _number(data: bytes, place: int) -> tuple[int, int]:
    """Return the number that begins at `place`, and where it ends."""
    found = 0
    for shift in range(0, 64, 7):
        if place >= len(data):
            break
        found |= (data[place] & 127) << shift
        place += 1
        if data[place - 1] < 128:
            return found, place
    raise _Unsound
