"""Tokens of a text before any server has counted them: as cl100k_base does if it is installed, else by its length.

Ollama and others cut a prompt that is longer than the context without a word, and only their count of it tells.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tuneline.errors import UserError

if TYPE_CHECKING:
    import tiktoken

ENCODING_FILE = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
"""Name under which tiktoken looks for the file of cl100k_base."""
ENCODING_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"

BYTES_PER_TOKEN = 4
"""Of English text."""

MESSAGE_TOKENS = 4
"""What a chat's form takes around each message, about."""

TOKENS_PER_WORD = 0.75
"""Fewest tokens that any tokenizer makes of a word on average; the best of today make 0.9 or more."""
LONG_PROMPT = 1_000
"""Tokens from which a prompt may have been cut: no server has a smaller context."""
CUT = "the server cut the prompt silently, it counts far fewer tokens than there are; give it a larger context"

_WORD = re.compile(r"[^\W_]{1,16}")


def load_planning_encoding(folder: Path = Path(sys.prefix, "share", "tiktoken")) -> tiktoken.Encoding:
    """Load cl100k_base from the file that set-up put into `folder`. Raises UserError if it is not there."""
    path = folder / ENCODING_FILE
    # tiktoken would replace a missing or damaged file by a download: a stage has no network, so look first.
    if not path.is_file() or sha256(path.read_bytes()).hexdigest() != ENCODING_SHA256:
        raise UserError(
            f"The encoding file of cl100k_base is missing or damaged: {path}. "
            "Run `tools/tiktoken.sh` with the environment's folder."
        )
    import tiktoken

    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    return tiktoken.get_encoding("cl100k_base")


@cache
def _encoding() -> tiktoken.Encoding | None:
    try:
        return load_planning_encoding() if find_spec("tiktoken") else None
    except UserError:
        return None


def count_tokens(text: str) -> int:
    """Return about how many tokens a text has; models differ by a tenth, more for code and other scripts."""
    encoding = _encoding()
    if encoding is None:
        return len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN
    return len(encoding.encode_ordinary(text))


def count_in_messages(messages: Iterable[Mapping[str, str]]) -> int:
    """Return about how many tokens messages have, with the form around them."""
    return sum(count_tokens(message["content"]) + MESSAGE_TOKENS for message in messages)


def was_cut(counted: int, said: str) -> bool:
    """Whether a server has read less than the whole of what was said, by the tokens that it counted; 0 is not known."""
    least = int(TOKENS_PER_WORD * sum(1 for _ in _WORD.finditer(said)))
    return 0 < counted < least and least >= LONG_PROMPT


def counted_by() -> str:
    """Name how `count_tokens` counts here."""
    return "as cl100k_base counts" if _encoding() else f"one per {BYTES_PER_TOKEN} bytes of text"
