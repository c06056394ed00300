"""Reads the header of a GGUF file, and refuses a damaged one before any other program opens it.

Every length in the file is checked against what is left of it before anything is read or allocated. Layout of the
format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tuneline.errors import UserError
from tuneline.parsing.problems import printable
from tuneline.parsing.text import ONLY_A_POINTER, POINTER
from tuneline.stage import Json

Scalar = str | int | float | bool
Value = Scalar | list[Scalar]

MAX_HEADER_BYTES = 1 << 26
"""64 MiB: a vocabulary of 256,000 tokens takes 15, and what is read takes ten times its bytes."""

_MAGIC, _VERSIONS, _ALIGNMENT = b"GGUF", (2, 3), 32
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY, _MOST = 8, 9, (1 << 31) - 1
# Elements and bytes of a block, by the number of the tensor type: not every stage has the package `gguf`.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2),
    2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 20: (32, 18), 39: (32, 17),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 21: (256, 110), 22: (256, 82), 23: (256, 136), 29: (256, 56),
    34: (256, 54), 35: (256, 66), 40: (64, 36), 41: (128, 18),
}  # fmt: skip


class Header(NamedTuple):
    """What a GGUF file says about itself."""

    metadata: dict[str, Value]
    tensors: int
    parameters: int

    def text(self, key: str) -> str:
        value = self.metadata.get(key, "")
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int | None:
        value = self.metadata.get(key)
        return value if isinstance(value, int) else None

    @property
    def context_tokens(self) -> int | None:
        """Tokens of context that the model was made for, if the file says it."""
        return self.number(f"{self.text('general.architecture')}.context_length")

    def token(self, number: int | None) -> str:
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        if not isinstance(tokens, list) or number is None or not 0 <= number < len(tokens):
            return ""
        return str(tokens[number])

    def about(self) -> dict[str, Json]:
        """Return what the file says about the model as a whole: its names, licence and sources."""
        keys = [key for key in self.metadata if key.startswith(("general.", "tuneline."))]
        return {key: [*value] if isinstance(value := self.metadata[key], list) else value for key in keys}

    @property
    def template_sha256(self) -> str:
        return hashlib.sha256(self.text("tokenizer.chat_template").encode()).hexdigest()

    @property
    def tokenizer_sha256(self) -> str:
        """Hash of the vocabulary and everything else that decides how text becomes ids."""
        parts = {key: value for key, value in self.metadata.items() if key.startswith("tokenizer.ggml.")}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class _Unsound(Exception):  # noqa: N818  (raised and caught in this module)
    pass


def read_header(path: Path) -> Header:
    """Return the header of the GGUF file at `path`. Raises UserError when it is none, or damaged or cut short."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise UserError(f"{path.name} {ONLY_A_POINTER}")
            file.seek(0)
            return _Reader(file, min(size, MAX_HEADER_BYTES)).header(size)
    except (_Unsound, UnicodeDecodeError) as error:
        problem = error if isinstance(error, _Unsound) else "a text is not UTF-8"
        raise UserError(f"{path.name} is not a sound GGUF file: {problem}. Make it again.") from None


def refuse_unservable(path: Path) -> None:
    """Raise UserError for a file on which llama-server would abort: damaged, or with sizes that no model has."""
    header = read_header(path)
    architecture = header.text("general.architecture")
    # Every block has tensors of its own.
    for field, most in (("block_count", header.tensors), ("context_length", _MOST), ("embedding_length", _MOST)):
        key = f"{architecture}.{field}"
        if not 0 < (header.number(key) or 0) <= most:
            problem = f"{printable(key)} is missing or impossible"
            raise UserError(f"{path.name} is not a sound GGUF file: {problem}. Make it again.")


class _Reader:
    def __init__(self, file: BinaryIO, left: int) -> None:
        self._file, self._left = file, left

    def header(self, size: int) -> Header:
        if self._take(4) != _MAGIC:
            raise _Unsound("it does not begin with GGUF")
        if (version := self._number("I")) not in _VERSIONS:
            raise _Unsound(f"its version is {version}, not 2 or 3 (or its byte order is not little-endian)")
        tensors, keys = self._count(24), self._count(13)
        metadata: dict[str, Value] = {}
        for _ in range(keys):
            key = self._string()
            if key in metadata:
                raise _Unsound(f"it has the key {key[:80]!r} twice")
            metadata[key] = self._value(self._number("I"))
        entries = [self._tensor() for _ in range(tensors)]
        alignment = metadata.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise _Unsound("its alignment is not a sensible number")
        start = -(-self._file.tell() // alignment) * alignment
        end = max((offset + length for _, offset, length in entries), default=0)
        if start + end > size:
            raise _Unsound(f"it has {size} bytes, and its tensors reach to {start + end}")
        return Header(metadata, tensors, sum(count for count, _, _ in entries))

    def _tensor(self) -> tuple[int, int, int]:
        """Return number of elements, offset and length in bytes."""
        name, dimensions = self._string(), self._number("I")
        if not 1 <= dimensions <= 4:
            raise _Unsound(f"tensor {name[:80]!r} has {dimensions} dimensions")
        shape = [self._number("Q") for _ in range(dimensions)]
        kind, offset = self._number("I"), self._number("Q")
        if kind not in _BLOCKS:
            raise _Unsound(f"tensor {name[:80]!r} has the unknown type {kind}")
        block, block_bytes = _BLOCKS[kind]
        if not all(shape) or shape[0] % block:
            raise _Unsound(f"tensor {name[:80]!r} has an impossible shape")
        count = math.prod(shape)
        return count, offset, count // block * block_bytes

    def _value(self, kind: int) -> Value:
        if kind != _ARRAY:
            return self._scalar(kind)
        inner = self._number("I")
        if inner in _FORMATS:
            form = f"<{_FORMATS[inner]}"
            items = self._take(self._count(struct.calcsize(form)) * struct.calcsize(form))
            return [item for (item,) in struct.iter_unpack(form, items)]
        return [self._scalar(inner) for _ in range(self._count(8))]

    def _scalar(self, kind: int) -> Scalar:
        if kind == _STRING:
            return self._string()
        if kind not in _FORMATS:
            raise _Unsound(f"a value has the unknown type {kind}")
        return self._unpack(_FORMATS[kind])[0]

    def _count(self, item_bytes: int) -> int:
        """Read how many items follow, of at least `item_bytes` each."""
        count = self._number("Q")
        if count * item_bytes > self._left:
            raise _Unsound(f"it announces {count} items where {self._left} bytes are left")
        return count

    def _string(self) -> str:
        return self._take(self._count(1)).decode()

    def _number(self, form: str) -> int:
        return int(self._unpack(form)[0])

    def _unpack(self, form: str) -> tuple[int | float | bool, ...]:
        return struct.unpack(f"<{form}", self._take(struct.calcsize(f"<{form}")))

    def _take(self, length: int) -> bytes:
        if length > self._left:
            raise _Unsound("its header is cut short")
        self._left -= length
        return self._file.read(length)
