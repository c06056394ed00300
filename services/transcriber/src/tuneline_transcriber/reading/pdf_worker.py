"""The process in which PDFs of strangers are read, within time and memory: some make their reader think for ever.

It takes the file on its input and the most characters that are wanted as its argument, and answers with a JSON object:
`pages`, or a `problem`.
"""

from __future__ import annotations

import io
import json
import logging
import math
import resource
import sys
from contextlib import suppress

import pypdf
from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError

SECONDS, SECONDS_PER_MB = 20, 20
"""Processor time; a page takes a hundredth of a second, and a few kilobytes."""
MEMORY_BYTES = 2 << 30
"""Address space of the whole process."""
MOST_PAGES = 2_000


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
            pages = list[str]()
            for page in reader.pages:
                pages.append(page.extract_text().replace("\f", "\n").strip())
                room -= len(pages[-1])
                if room < 0:
                    break
            return {"pages": pages}
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


if __name__ == "__main__":
    main()
