"""Chat template and token ids of the model that is trained, without transformers.

Slicer, trainer, converter and evaluator must agree on two things: the text a conversation becomes, and the ids that
text becomes. Both come from the model's own files (`tokenizer.json`, `tokenizer_config.json` and the chat template),
through the same libraries that transformers uses below its surface (jinja2 and tokenizers).

Policy on control tokens: a message is data. Where its text spells a control token of the model, such as
`<end_of_turn>`, a space goes behind the token's first character (`< end_of_turn>`): people can still read it, nothing
invisible enters the training text, doing it twice changes nothing, and no tokenizer takes it for the control token.
Role markers that a template writes as ordinary text (`[INST]` of some models) are no control tokens and stay.

Policy on spelling: where the tokenizer composes characters before it splits a text (Qwen's makes `é` of `e` and an
accent), the text is composed here already: llama.cpp does not, and would make other tokens of it.

Policy on what comes before the first user message: where the template refuses a system message or drops it, or refuses
an assistant that speaks first, that text is put in front of the first user message, with an empty line between.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tokenizers import Encoding, Tokenizer, models

from tuneline.errors import UserError
from tuneline.model.answers import FoundBy, find_answers, with_ends
from tuneline.model.base_model import read_if_there, read_text, refuse_code
from tuneline.model.chat_template import ChatTemplate, find_template, read_chat_settings

Message = Mapping[str, str]
"""A message as the template sees it: `role` (system, user or assistant) and `content`."""

UnicodeForm = Literal["NFC", "NFD", "NFKC", "NFKD"]
UNICODE_FORMS: tuple[UnicodeForm, ...] = ("NFC", "NFD", "NFKC", "NFKD")

MOST_PASSES = 100
"""Over a text, to break its control tokens: two do for any tokenizer that is not made to resist."""

MOST_GROWTH = 1000
"""Characters that a normalizer may make of one; no model that was meant to be used has a tenth of it."""

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The variables that a template may use beside the messages, in the naming of tokenizer_config.json."""


class Tokens(NamedTuple):
    """Token ids of a text, and the range of its characters that each stands for."""

    ids: list[int]
    offsets: list[tuple[int, int]]


Encode = Callable[[str], Tokens]


class EncodedConversation(NamedTuple):
    """Token ids of a conversation; `assistant_mask` is 1 on the assistant's answers and their end of turn, else 0."""

    input_ids: list[int]
    assistant_mask: list[int]
    found_by: FoundBy


class ChatTokenizer:
    """Renders conversations with the model's chat template and encodes them with its tokenizer. Safe for threads."""

    def __init__(self, tokenizer: Tokenizer, template: str, special_tokens: Mapping[str, str]):
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.template = template
        self._template = ChatTemplate(template)
        self._special_tokens = dict(special_tokens)
        self.template_sha256 = hashlib.sha256(template.encode()).hexdigest()
        # Special tokens, and the other added tokens that the template writes (Gemma's "\n" is no marker).
        added = tokenizer.get_added_tokens_decoder().values()
        self._control = [t for t in added if len(t.content.strip()) > 1 and (t.special or t.content in template)]
        self._control_pattern = _any_of(token.content for token in self._control)
        # Only tokens that are cut out of the raw text first, and take no white space with them, are exact boundaries.
        exact = [t for t in self._control if t.special and not (t.normalized or t.lstrip or t.single_word)]
        self._boundary_pattern = _any_of(token.content for token in exact)

    @classmethod
    def from_folder(cls, path: Path, settings: Path | None = None) -> ChatTokenizer:
        """Read the tokenizer and chat template of the model in `path`; `settings` is the input `chat_template`.

        Raises UserError when a file is missing or unreadable, when the model has no chat template, or one that does not
        write what was said.
        """
        refuse_code(path)
        config = read_if_there(path / "tokenizer_config.json")
        file = path / "tokenizer.json"
        if not file.is_file():
            raise UserError(
                "base_model: tokenizer.json is missing. "
                "Write one with `AutoTokenizer.from_pretrained(…).save_pretrained(…)` of transformers."
            )
        text = read_text(file)
        with _plain_errors("cannot be read"):
            tokenizer = Tokenizer.from_str(text)
        if tokenizer.normalizer and _growth(json.loads(tokenizer.normalizer.__getstate__())) > MOST_GROWTH:
            raise UserError(
                "base_model: tokenizer.json: its normalizer could make a text more than "
                f"{MOST_GROWTH:,} times as long. Choose another model."
            )
        chosen = read_chat_settings(settings)
        own = "" if chosen.template else find_template(path)
        if own is None:
            raise UserError(
                "base_model: it has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json). "
                "Use an instruction-tuned model, or give a template as the input `chat_template`."
            )
        template = chosen.pinned(own)
        read = cls(tokenizer, template, _special_tokens(path, config))
        read.refuse_lost_text()
        return read

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        return self._template.render(messages, self._special_tokens, add_generation_prompt)["text"]

    def encode(self, text: str) -> list[int]:
        """Return the ids of rendered `text`: control tokens are recognised, none is added (the template writes BOS)."""
        return self._encode(text).ids

    def tokens(self, text: str) -> Tokens:
        """Return the ids of rendered `text` with where they stand in it."""
        encoding = self._encode(text)
        return Tokens(encoding.ids, encoding.offsets)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens, control tokens included."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides on the ids of a conversation; equal ones encode alike."""
        decides = [self._tokenizer.to_str(), self.template, self._special_tokens]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def encode_conversation(self, messages: Sequence[Message], encode: Encode | None = None) -> EncodedConversation:
        """Render and encode `messages`, and mark the tokens that are learnt: see `tuneline.model.answers`.

        `encode` may know parts of the text already.
        """
        marked = self._template.marks_generation
        rendered = self._template.render(messages, self._special_tokens, spans=marked)
        text = rendered["text"]
        if marked:
            answers = with_ends(rendered["spans"], text, self._control_pattern)
        else:
            answers = find_answers(messages, text, self.render, self._control_pattern)
        ids, offsets = (encode or self.tokens)(text)
        return EncodedConversation(ids, _mask(offsets, answers.spans), answers.found_by)

    def neutralise(self, text: str) -> str:
        """Return `text` in which no control token is spelt any more (see the policies above). Idempotent.

        White space at the ends goes too: templates trim it, but each program knows another set of it.
        """
        text = (unicodedata.normalize(self._unicode_form, text) if self._unicode_form else text).strip()
        # An insertion can free a token that overlapped, or complete one with spaces in it: repeat until none is left.
        for _ in range(MOST_PASSES):
            spans = [found.span() for found in self._control_pattern.finditer(text)] or self._normalised_spans(text)
            if not spans:
                return text
            for start, end in reversed(spans):
                text = f"{text[:start]}{self._broken(text[start:end])}{text[end:]}"
        raise UserError(
            "base_model: tokenizer.json: its special tokens cannot be distinguished from text. Choose another model."
        )

    def split_at_control_tokens(self, text: str) -> list[str]:
        """Cut rendered `text` before each control token. The ids of the parts, joined, are the ids of the text."""
        borders = [0, *(found.start() for found in self._boundary_pattern.finditer(text)), len(text)]
        return [text[start:end] for start, end in pairwise(borders) if end > start]

    @cached_property
    def accepts_system(self) -> bool:
        """Whether the template renders a system message, in whatever is asked and answered, or drops or refuses it."""
        return self._renders_first("system", "Answer in one word.")

    @cached_property
    def writes_space_first(self) -> bool:
        """Whether the tokenizer puts a space before a text right behind a control token, as that of Llama 2 does."""
        return any(self._encode(f"{token.content}a").tokens[-1] == "▁a" for token in self._control[:1])

    def with_template(self, template: str) -> ChatTokenizer:
        """Return the same tokenizer with another chat template."""
        return ChatTokenizer(self._tokenizer, template, self._special_tokens)

    @property
    def merges_bytes(self) -> bool:
        """Whether tokens are merged of bytes, as GPT-2's are, rather than of characters with bytes for the rest."""
        model = self._tokenizer.model
        return isinstance(model, models.BPE) and not model.byte_fallback

    def beginnings(self, text: str) -> list[list[int]]:
        """Return the ids of `text` as it is, with the beginning token, and with what the tokenizer adds by itself."""
        ids, bos = self.encode(text), self._tokenizer.token_to_id(self._special_tokens.get("bos_token", ""))
        with _plain_errors("cannot encode a text"):
            own = self._tokenizer.encode(text).ids
        return [ids, own] if bos is None else [ids, own, [bos, *ids]]

    def refuse_lost_text(self) -> None:
        """Raise UserError when a template drops what is said, as those do that expect a list of parts."""
        said = ("Is the tray empty?", "It is full.")
        messages = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), said, strict=True)]
        if not all(text in self.render(messages) for text in said):
            raise UserError(
                "base_model: its chat template does not write the text of a message (it may be made for images too). "
                "Give one for plain text as the input `chat_template`."
            )

    @cached_property
    def accepts_greeting(self) -> bool:
        """Whether the template renders an assistant that speaks first, rather than refusing or dropping it."""
        return self._renders_first("assistant", "How can I help?")

    def _renders_first(self, role: str, said: str) -> bool:
        messages = [{"role": role, "content": said}, {"role": "user", "content": "Hello"}]
        answered = [*messages, {"role": "assistant", "content": "Good morning."}]
        try:
            # Mistral's writes a system prompt when it is asked, and none into a conversation that has its answer.
            return said in self.render(messages, add_generation_prompt=True) and said in self.render(answered)
        except UserError:
            return False

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
        found = [t.content for t in self._control if t.normalized] if normaliser else []
        return _any_of(map(normaliser.normalize_str, found)) if normaliser and found else None

    def _normalised_spans(self, text: str) -> list[tuple[int, int]]:
        """Return where `text` spells a control token only once it is normalised, like `＜end＞` or `<END>`."""
        normaliser, pattern = self._tokenizer.normalizer, self._normalised_pattern
        if not normaliser or not pattern or not pattern.search(normaliser.normalize_str(text)):
            return []
        control = {self._tokenizer.token_to_id(token.content) for token in self._control}
        encoding = self._encode(text)
        return [span for token, span in zip(encoding.ids, encoding.offsets, strict=True) if token in control]

    def _broken(self, spelling: str) -> str:
        cut = len(spelling) - len(spelling.lstrip()) + 1
        if cut >= len(spelling) and self._tokenizer.normalizer:  # one character that stands for several
            spelling = self._tokenizer.normalizer.normalize_str(spelling)
            cut = len(spelling) - len(spelling.lstrip()) + 1
        return f"{spelling[:cut]} {spelling[cut:]}"

    def _encode(self, text: str) -> Encoding:
        with _plain_errors("cannot encode a text"):
            return self._tokenizer.encode(text, add_special_tokens=False)


def fold_system(messages: Sequence[Message], tokenizer: ChatTokenizer) -> list[dict[str, str]]:
    """Return `messages` with what comes before the first user message in front of it, where the template needs that."""
    copies = [dict(message) for message in messages]
    place = next((place for place, message in enumerate(copies) if message["role"] == "user"), 0)
    accepted = {"system": place and tokenizer.accepts_system, "assistant": place and tokenizer.accepts_greeting}
    kept = [message for message in copies[:place] if accepted[message["role"]]]
    folded = [message["content"] for message in copies[:place] if not accepted[message["role"]]]
    if not folded:
        return copies
    first, *rest = copies[place:]
    return [*kept, {**first, "content": "\n\n".join([*folded, first["content"]])}, *rest]


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


def _mask(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return 1 for each token from the first that reaches into a span to the last that begins in it.

    Offsets are character ranges in text order. The tokens in between count too, whatever their offsets say: byte-level
    tokenizers report an empty range for white space.
    """
    starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
    mask = [0] * len(offsets)
    for start, end in spans:
        first, last = bisect_right(ends, start), bisect_left(starts, end)
        mask[first:last] = [1] * (last - first)
    return mask


@contextmanager
def _plain_errors(problem: str) -> Iterator[None]:
    """Say that it is the tokenizer's fault. Its own words may quote the text that it was given."""
    try:
        yield
    except BaseException as error:  # every damage is a plain Exception of tokenizers, or a panic, which is none
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise UserError(f"base_model: tokenizer.json {problem}: copy it again, or choose another base model") from None


def _special_tokens(path: Path, config: Mapping[str, object]) -> dict[str, str]:
    # Files of older models keep the special tokens apart; there they win, as they do in transformers.
    older = {} if "added_tokens_decoder" in config else read_if_there(path / "special_tokens_map.json")
    found = {}
    for name in SPECIAL_TOKENS:
        token = older.get(name) or config.get(name)
        content = token.get("content") if isinstance(token, dict) else token
        if isinstance(content, str):
            found[name] = content
    return found
