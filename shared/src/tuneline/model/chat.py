"""Chat template and token ids of the model that is trained, without transformers.

Slicer, trainer, converter and evaluator must agree on two things: the text a conversation becomes, and the ids that
text becomes. Both come from the model's own files (`tokenizer.json`, `tokenizer_config.json` and the chat template),
through the same libraries that transformers uses below its surface (jinja2 and tokenizers).

Policy on what comes before the first user message: where the template refuses a system message or drops it, or refuses
an assistant that speaks first, that text is put in front of the first user message, with an empty line between. The
policies on control tokens and spelling stand in `tuneline.model.tokenizer`.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer, models

from tuneline.errors import UserError
from tuneline.model.answers import FoundBy, find_answers, with_ends
from tuneline.model.base_model import refuse_code
from tuneline.model.chat_template import ChatTemplate, find_template, read_chat_settings
from tuneline.model.tokenizer import ControlTokens, encoded, read_special_tokens, read_tokenizer

Message = Mapping[str, str]
"""A message as the template sees it: `role` (system, user or assistant) and `content`."""


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
        self._control = ControlTokens(tokenizer, template)

    @classmethod
    def from_folder(cls, path: Path, settings: Path | None = None) -> ChatTokenizer:
        """Read the tokenizer and chat template of the model in `path`; `settings` is the input `chat_template`.

        Raises UserError when a file is missing or unreadable, when the model has no chat template, or one that does not
        write what was said.
        """
        refuse_code(path)
        tokenizer = read_tokenizer(path)
        chosen = read_chat_settings(settings)
        own = "" if chosen.template else find_template(path)
        if own is None:
            raise UserError(
                "base_model: it has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json). "
                "Use an instruction-tuned model, or give a template as the input `chat_template`."
            )
        template = chosen.pinned(own)
        read = cls(tokenizer, template, read_special_tokens(path))
        read.refuse_lost_text()
        return read

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        return self._template.render(messages, self._special_tokens, add_generation_prompt)["text"]

    def encode(self, text: str) -> list[int]:
        """Return the ids of rendered `text`: control tokens are recognised, none is added (the template writes BOS)."""
        return encoded(self._tokenizer, text).ids

    def tokens(self, text: str) -> Tokens:
        """Return the ids of rendered `text` with where they stand in it."""
        encoding = encoded(self._tokenizer, text)
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
            answers = with_ends(rendered["spans"], text, self._control.pattern)
        else:
            answers = find_answers(messages, text, self.render, self._control.pattern)
        ids, offsets = (encode or self.tokens)(text)
        return EncodedConversation(ids, _mask(offsets, answers.spans), answers.found_by)

    def neutralise(self, text: str) -> str:
        """Return `text` in which no control token is spelt any more. Idempotent."""
        return self._control.neutralise(text)

    def split_at_control_tokens(self, text: str) -> list[str]:
        """Cut rendered `text` before each control token. The ids of the parts, joined, are the ids of the text."""
        return self._control.split(text)

    @cached_property
    def accepts_system(self) -> bool:
        """Whether the template renders a system message, in whatever is asked and answered, or drops or refuses it."""
        return self._renders_first("system", "Answer in one word.")

    @cached_property
    def writes_space_first(self) -> bool:
        """Whether the tokenizer puts a space before a text right behind a control token, as that of Llama 2 does."""
        return any(encoded(self._tokenizer, f"{spelt}a").tokens[-1] == "▁a" for spelt in self._control.spellings[:1])

    @cached_property
    def writes_beginning(self) -> bool:
        """Whether the template begins with the beginning token, rather than leave it to the tokenizer or out."""
        bos = self._special_tokens.get("bos_token")
        return bool(bos) and self.render([{"role": "user", "content": "Hello"}], True).startswith(bos or "")

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
        own = encoded(self._tokenizer, text, add_special_tokens=True).ids
        return [ids, own] if bos is None else [ids, own, [bos, *ids]]

    def refuse_lost_text(self) -> None:
        """Raise UserError when a template drops or cuts what is said, as those do that expect a list of parts."""
        said = ("Is the tray empty? " * 50 + "Is it?", "It is full. " * 50 + "It is.")
        messages = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), said, strict=True)]
        if not all(text in self.render(messages) for text in said):
            raise UserError(
                "base_model: its chat template does not write all the text of a message (it may be made for images "
                "too). Give one for plain text as the input `chat_template`."
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
