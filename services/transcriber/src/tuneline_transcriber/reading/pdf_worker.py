"""The process in which PDFs of strangers are read, within time and memory: some make their reader think for ever.

It takes the file on its input and the most characters that are wanted as its argument, and answers with a JSON object:
`pages`, or a `problem`.
"""

from __future__ import annotations

import io
import json
import logging
import math
import re
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pypdf
from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError

SECONDS, SECONDS_PER_MB = 20, 20
"""Processor time; a page takes a hundredth of a second, and a few kilobytes."""
MEMORY_BYTES = 2 << 30
"""Address space of the whole process."""
MOST_PAGES = 2_000
MOST_NAMELESS = 0.1
"""Share of a PDF's characters whose fonts do not say which letters they show: what is read of them is another text."""
_GLYPH = re.compile(r"/[A-Za-z]{1,3}\d{1,5}")
"""What is read for a letter that has the name of a shape only."""
_SECRET = 1 << 13
"""Flag of a field that is a password."""


def main() -> None:
    """Read one file."""
    with suppress(ValueError, OSError):  # a system that has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    data = sys.stdin.buffer.read()
    seconds = SECONDS + math.ceil(SECONDS_PER_MB * len(data) / 1e6)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it quotes what it reads
    json.dump(read(data, int(sys.argv[1])), sys.stdout)


def read(data: bytes, room: int) -> dict[str, list[str] | str]:
    """Return the text of each page up to that on which there is no more room, or why there is none."""
    try:
        with pypdf.PdfReader(io.BytesIO(data)) as reader:
            if reader.is_encrypted and not reader.decrypt(""):
                return {"problem": "the PDF is encrypted; save it without a password"}
            if len(reader.pages) > MOST_PAGES:
                return {"problem": f"the PDF has more than {MOST_PAGES:,} pages"}
            return _read_pages(reader, room)
    except FileNotDecryptedError:
        return {"problem": "the PDF is encrypted; save it without a password"}
    except MemoryError:
        return {"problem": f"reading the PDF takes more than {MEMORY_BYTES >> 30} GiB of memory; save it anew"}
    except (
        PyPdfError,
        DependencyError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        RecursionError,
        NotImplementedError,
        EOFError,
        OSError,
    ):  # fmt: skip  (what its parser raises, where a file is not what it says it is)
        return {"problem": "the PDF is broken: it cannot be read; save it anew"}


def _read_pages(reader: pypdf.PdfReader, room: int) -> dict[str, list[str] | str]:
    pages, said, nameless = list[str](), 0, 0

    def look(text: str, _matrix: object, _place: object, font: Mapping[str, Any] | None, _size: object) -> None:
        nonlocal said, nameless
        said += len(text)
        nameless += _nameless(text, font)

    for page in reader.pages:
        text = "\n".join([page.extract_text(visitor_text=look), *_filled(page)])
        pages.append(text.replace("\f", "\n").strip())
        room -= len(pages[-1])
        if room < 0:
            break
    if nameless > MOST_NAMELESS * said:
        return {
            "problem": f"{nameless:,} of {said:,} characters of the PDF are in fonts that do not say which letters "
            "they show; save it anew from the program that wrote it, or let text recognition (OCR) read it"
        }
    return {"pages": pages}


def _nameless(text: str, font: Mapping[str, Any] | None) -> int:
    """Return how many characters of a text are numbers or names of shapes instead of letters."""
    if font is None or "/ToUnicode" in font:
        return 0
    if font.get("/Subtype") != "/Type0":
        return sum(map(len, _GLYPH.findall(text)))
    if font.get("/Encoding") not in ("/Identity-H", "/Identity-V"):
        return 0
    [descendant] = font["/DescendantFonts"]
    shapes = descendant.get_object().get("/CIDToGIDMap", "/Identity")
    return len(text.strip()) if shapes == "/Identity" else 0  # with a map of shapes, some programs number letters


def _filled(page: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was typed into the fields of a form on a page, and on top of it."""
    for one in page.get("/Annots") or ():
        field = one.get_object()
        if field.get("/Subtype") == "/FreeText":
            value, label = field.get("/Contents"), None
        elif field.get("/Subtype") == "/Widget" and _of_field(field, "/FT") in ("/Tx", "/Ch"):
            value, label = _of_field(field, "/V"), _of_field(field, "/TU")
            value = None if int(_of_field(field, "/Ff") or 0) & _SECRET else value
        else:
            continue
        if isinstance(value, str) and value.strip():
            yield f"{label.strip()}: {value}" if isinstance(label, str) and label.strip() else value


def _of_field(field: Mapping[str, Any], key: str) -> Any:
    """Return a setting of a field, which it may have from those that it is part of."""
    for _ in range(20):
        if key in field or "/Parent" not in field:
            break
        field = field["/Parent"]
    return field.get(key)


if __name__ == "__main__":
    main()
