"""The tokenizer of the model that is trained, read without trust, and its control tokens, which no message may spell.

Policy on control tokens: a message is data. Where its text spells a control token of the model, such as
`<end_of_turn>`, a space goes behind the token's first character (`< end_of_turn>`): people can still read it, nothing
invisible enters the training text, doing it twice changes nothing, and no tokenizer takes it for the control token.
Role markers that a template writes as ordinary text (`[INST]` of some models) are no control tokens and stay.

Policy on spelling: where the tokenizer composes characters before it splits a text (Qwen's makes `é` of `e` and an
accent), the text is composed here already: llama.cpp does not, and would make other tokens of it.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from tokenizers import Encoding, Tokenizer

from tuneline.errors import UserError
from tuneline.model.base_model import read_if_there, read_text

UnicodeForm = Literal["NFC", "NFD", "NFKC", "NFKD"]
UNICODE_FORMS: tuple[UnicodeForm, ...] = ("NFC", "NFD", "NFKC", "NFKD")

MOST_PASSES = 100
"""Over a text, to break its control tokens: two do for any tokenizer that is not made to resist."""

MOST_GROWTH = 1000
"""Characters that a normalizer may make of one; no model that was meant to be used has a tenth of it."""

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The variables that a template may use beside the messages, in the naming of tokenizer_config.json."""


def read_tokenizer(path: Path, port: str = "base_model") -> Tokenizer:
    """Read the tokenizer of the model in `path`. Raises UserError for one that is missing, damaged or made to harm."""
    file = path / "tokenizer.json"
    if not file.is_file():
        raise UserError(
            f"{port}: tokenizer.json is missing. "
            "Write one with `AutoTokenizer.from_pretrained(…).save_pretrained(…)` of transformers."
        )
    text = read_text(file, port)
    with _plain_errors(port, "cannot be read"):
        tokenizer = Tokenizer.from_str(text)
    if tokenizer.normalizer and _growth(json.loads(tokenizer.normalizer.__getstate__())) > MOST_GROWTH:
        raise UserError(
            f"{port}: tokenizer.json: its normalizer could make a text more than "
            f"{MOST_GROWTH:,} times as long. Choose another model."
        )
    return tokenizer


def read_special_tokens(path: Path) -> dict[str, str]:
    """Return what a template may write beside the messages, by the names of SPECIAL_TOKENS. Raises UserError."""
    config = read_if_there(path / "tokenizer_config.json")
    # Files of older models keep the special tokens apart; there they win, as they do in transformers.
    older = {} if "added_tokens_decoder" in config else read_if_there(path / "special_tokens_map.json")
    found = {}
    for name in SPECIAL_TOKENS:
        token = older.get(name) or config.get(name)
        content = token.get("content") if isinstance(token, dict) else token
        if isinstance(content, str):
            found[name] = content
    return found


def encoded(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool = False, port: str = "base_model") -> Encoding:
    """Encode `text`. Raises UserError where the tokenizer fails."""
    with _plain_errors(port, "cannot encode a text"):
        return tokenizer.encode(text, add_special_tokens=add_special_tokens)


class ControlTokens:
    """The tokens that structure a conversation: special ones, and others that the template writes (not Gemma's "\\n").

    Safe for threads.
    """

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder().values()
        self._tokens = [t for t in added if len(t.content.strip()) > 1 and (t.special or t.content in template)]
        self.spellings = [token.content for token in self._tokens]
        self.pattern = _any_of(self.spellings)
        # Only tokens that are cut out of the raw text first, and take no white space with them, are exact boundaries.
        exact = [t for t in self._tokens if t.special and not (t.normalized or t.lstrip or t.single_word)]
        self._boundary_pattern = _any_of(token.content for token in exact)

    def neutralise(self, text: str) -> str:
        """Return `text` in which no control token is spelt any more (see the policies above). Idempotent.

        White space at the ends goes too: templates trim it, but each program knows another set of it.
        """
        text = (unicodedata.normalize(self._unicode_form, text) if self._unicode_form else text).strip()
        # An insertion can free a token that overlapped, or complete one with spaces in it: repeat until none is left.
        for _ in range(MOST_PASSES):
            spans = [found.span() for found in self.pattern.finditer(text)] or self._normalised_spans(text)
            if not spans:
                return text
            for start, end in reversed(spans):
                text = f"{text[:start]}{self._broken(text[start:end])}{text[end:]}"
        raise UserError(
            "base_model: tokenizer.json: its special tokens cannot be distinguished from text. Choose another model."
        )

    def split(self, text: str) -> list[str]:
        """Cut rendered `text` before each control token. The ids of the parts, joined, are the ids of the text."""
        borders = [0, *(found.start() for found in self._boundary_pattern.finditer(text)), len(text)]
        return [text[start:end] for start, end in pairwise(borders) if end > start]

    @cached_property
    def _unicode_form(self) -> UnicodeForm | None:
        """The form in which the tokenizer composes or splits characters; None if it leaves them as they are."""
        normaliser = self._tokenizer.normalizer
        found: object = json.loads(normaliser.__getstate__()) if normaliser else {}
        return next((form for form in UNICODE_FORMS if found == {"type": form}), None)

    @cached_property
    def _normalised_pattern(self) -> re.Pattern[str] | None:
        """The control tokens that are looked for in normalised text, as it is written there; None without them."""
        normaliser = self._tokenizer.normalizer
        found = [t.content for t in self._tokens if t.normalized] if normaliser else []
        return _any_of(map(normaliser.normalize_str, found)) if normaliser and found else None

    def _normalised_spans(self, text: str) -> list[tuple[int, int]]:
        """Return where `text` spells a control token only once it is normalised, like `＜end＞` or `<END>`."""
        normaliser, pattern = self._tokenizer.normalizer, self._normalised_pattern
        if not normaliser or not pattern or not pattern.search(normaliser.normalize_str(text)):
            return []
        control = set(map(self._tokenizer.token_to_id, self.spellings))
        encoding = encoded(self._tokenizer, text)
        return [span for token, span in zip(encoding.ids, encoding.offsets, strict=True) if token in control]

    def _broken(self, spelling: str) -> str:
        cut = len(spelling) - len(spelling.lstrip()) + 1
        if cut >= len(spelling) and self._tokenizer.normalizer:  # one character that stands for several
            spelling = self._tokenizer.normalizer.normalize_str(spelling)
            cut = len(spelling) - len(spelling.lstrip()) + 1
        return f"{spelling[:cut]} {spelling[cut:]}"


def _growth(normalizer: Mapping[str, Any]) -> int:
    """Return how many characters a normalizer of the `tokenizers` library could make of one, at most."""
    match normalizer:
        case {"type": "Sequence", "normalizers": list(steps)}:
            return math.prod(map(_growth, steps))
        case {"type": "Replace", "content": str(content), "pattern": pattern}:
            return max(1, len(content) + ("Regex" in pattern))  # an expression may match between two characters
        case {"type": "Prepend", "prepend": str(content)}:
            return 1 + len(content)
    return 18  # what Unicode's forms make of U+FDFA, the longest


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))) or r"(?!)")  # longest first


@contextmanager
def _plain_errors(port: str, problem: str) -> Iterator[None]:
    """Say that it is the tokenizer's fault. Its own words may quote the text that it was given."""
    try:
        yield
    except BaseException as error:  # every damage is a plain Exception of tokenizers, or a panic, which is none
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise UserError(f"{port}: tokenizer.json {problem}: copy it again, or choose another base model") from None
