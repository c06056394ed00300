"""Chat template and token ids of the model that is trained, without transformers.

Slicer, trainer, converter and evaluator must agree on two things: the text a conversation becomes, and the ids that
text becomes. Both come from the model's own files (`tokenizer.json`, `tokenizer_config.json` and the chat template),
through the same libraries that transformers uses below its surface (jinja2 and tokenizers).

Policy on control tokens: a message is data. Where its text spells a control token of the model, such as
`<end_of_turn>`, a space goes behind the token's first character (`< end_of_turn>`): people can still read it, nothing
invisible enters the training text, doing it twice changes nothing, and no tokenizer takes it for the control token.
Role markers that a template writes as ordinary text (`[INST]` of some models) are no control tokens and stay.

Policy on system prompts: where the template refuses a system message or drops it, the prompt is put in front of the
first user message, with an empty line between.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tokenizers import AddedToken, Tokenizer

from tuneline.errors import UserError
from tuneline.model.chat_template import ChatTemplate

Message = Mapping[str, str]
"""A message as the template sees it: `role` (system, user or assistant) and `content`."""

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The variables that a template may use beside the messages, in the naming of tokenizer_config.json."""


class EncodedConversation(NamedTuple):
    """Token ids of a conversation; `assistant_mask` is 1 on the assistant's answers and their end of turn, else 0."""

    input_ids: list[int]
    assistant_mask: list[int]


class ChatTokenizer:
    """Renders conversations with the model's chat template and encodes them with its tokenizer. Safe for threads."""

    def __init__(self, tokenizer: Tokenizer, template: str, special_tokens: Mapping[str, str]):
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._template = ChatTemplate(template)
        self._special_tokens = dict(special_tokens)
        self._control = _control_tokens(tokenizer, template)

    @classmethod
    def from_folder(cls, path: Path) -> ChatTokenizer:
        """Read the tokenizer and chat template of the model in `path`.

        Raises UserError when a file is missing or unreadable, or when the model has no chat template.
        """
        config = _read_json(path / "tokenizer_config.json")
        file = path / "tokenizer.json"
        if not file.is_file():
            raise UserError(
                "The base model has no tokenizer.json. "
                "Write one with `AutoTokenizer.from_pretrained(…).save_pretrained(…)` of transformers."
            )
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # noqa: BLE001  (tokenizers raises plain Exception for every kind of damage)
            raise UserError(f"The base model's tokenizer.json cannot be read: {error}") from None
        return cls(tokenizer, _find_template(path, config), _special_tokens(path, config))

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """Return the text that the template makes of `messages`. Raises UserError when the template refuses them."""
        return self._template.render(messages, self._special_tokens, add_generation_prompt)

    def encode(self, text: str) -> list[int]:
        """Return the ids of rendered `text`: control tokens are recognised, none is added (the template writes BOS)."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_conversation(self, messages: Sequence[Message]) -> EncodedConversation:
        """Render and encode `messages`, and mark the tokens that the assistant writes.

        The spans come from the template's `{% generation %}` blocks. Without them, an answer is what its message adds
        to the rendering so far with the generation prompt, up to the last control token (the end of turn).
        """
        if self._template.marks_generation:
            text, spans = self._template.render_spans(messages, self._special_tokens)
        else:
            text = self.render(messages)
            spans = self._answer_spans(messages, text)
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return EncodedConversation(encoding.ids, _mask(encoding.offsets, spans))

    def neutralise(self, text: str) -> str:
        """Return `text` in which no control token is spelt any more (see the policy above). Idempotent.

        White space at the ends goes too: templates trim it, but each program knows another set of it.
        """
        text = text.strip()
        # One insertion can complete no token, but it can free one that overlapped: repeat until none is left.
        while self._control_pattern.search(text):
            text = self._control_pattern.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
        return text

    def split_at_control_tokens(self, text: str) -> list[str]:
        """Cut rendered `text` before each control token. The ids of the parts, joined, are the ids of the text."""
        borders = [0, *(found.start() for found in self._boundary_pattern.finditer(text)), len(text)]
        return [text[start:end] for start, end in pairwise(borders) if end > start]

    @cached_property
    def accepts_system(self) -> bool:
        """Whether the template renders a system message, rather than refusing or dropping it."""
        probe = "Answer in one word."
        messages = [{"role": "system", "content": probe}, {"role": "user", "content": "Hello"}]
        try:
            return probe in self.render(messages, add_generation_prompt=True)
        except UserError:
            return False

    @cached_property
    def template_sha256(self) -> str:
        """Hash of the template's source, 64 hex digits."""
        return hashlib.sha256(self._template.source.encode()).hexdigest()

    @cached_property
    def _control_pattern(self) -> re.Pattern[str]:
        return _any_of(token.content for token in self._control)

    @cached_property
    def _boundary_pattern(self) -> re.Pattern[str]:
        # Only tokens that are cut out of the raw text first, and take no white space with them, are exact boundaries.
        exact = [t for t in self._control if t.special and not (t.normalized or t.lstrip or t.single_word)]
        return _any_of(token.content for token in exact)

    def _answer_spans(self, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
        spans = []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.render(messages[:index], add_generation_prompt=True)
            after = self.render(messages[: index + 1])
            if not (after.startswith(before) and text.startswith(after)):
                raise UserError(
                    "The chat template renders earlier turns differently as a conversation grows, so the assistant's "
                    "answers cannot be told apart. Put `{% generation %}` … `{% endgeneration %}` around them in it."
                )
            ends = [found.end() for found in self._control_pattern.finditer(after, len(before))]
            spans.append((len(before), ends[-1] if ends else len(after)))
        return spans


def read_system_prompt(path: Path | None) -> str | None:
    """Return the system prompt in a text file; None without a file. Raises UserError if it is empty or not UTF-8."""
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UserError(f"{path.name}: the system prompt is not UTF-8 text") from None
    if not text:
        raise UserError(f"{path.name}: the system prompt is empty; leave the input out to have none")
    return text


def fold_system(messages: Sequence[Message], tokenizer: ChatTokenizer) -> list[dict[str, str]]:
    """Return `messages` with the system prompt in front of the first user message where the template needs that."""
    copies = [dict(message) for message in messages]
    if len(copies) < 2 or copies[0]["role"] != "system" or tokenizer.accepts_system:
        return copies
    system, first = copies[0], copies[1]
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *copies[2:]]


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


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


def _control_tokens(tokenizer: Tokenizer, template: str) -> list[AddedToken]:
    """Return the special tokens, and the other added tokens that the template writes (Gemma's "\\n" is no marker)."""
    added = tokenizer.get_added_tokens_decoder().values()
    return [t for t in added if len(t.content.strip()) > 1 and (t.special or t.content in template)]


def _read_json(path: Path) -> dict[str, object]:
    if not path.exists():
        return {}
    try:
        content = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"The base model's {path.name} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"The base model's {path.name} is not a JSON object.")
    return content


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The base model's {path.name} cannot be read: {error}") from None


def _find_template(path: Path, config: Mapping[str, object]) -> str:
    file = path / "chat_template.jinja"
    template: object = _read_text(file) if file.is_file() else config.get("chat_template")
    if isinstance(template, list):  # several named templates, in the form {name, template}
        named = {entry["name"]: entry["template"] for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    if not isinstance(template, str):
        raise UserError(
            "The base model has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json). "
            "Use an instruction-tuned model, or add its template to the folder."
        )
    return template


def _special_tokens(path: Path, config: Mapping[str, object]) -> dict[str, str]:
    # Files of older models keep the special tokens apart; there they win, as they do in transformers.
    older = {} if "added_tokens_decoder" in config else _read_json(path / "special_tokens_map.json")
    found = {}
    for name in SPECIAL_TOKENS:
        token = older.get(name) or config.get(name)
        content = token.get("content") if isinstance(token, dict) else token
        if isinstance(content, str):
            found[name] = content
    return found
