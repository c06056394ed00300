"""A transcript as training material: its messages from any exchange to any other, and what they count."""

from __future__ import annotations

from itertools import accumulate

from tuneline.data.transcripts import Exchange, Transcript
from tuneline.model.chat import ChatTokenizer, Tokens, fold_system
from tuneline_slicer.ruler import Ruler


class CleanTranscript:
    """The text of one transcript as the model will see it: control tokens neutralised, with a system prompt."""

    def __init__(self, transcript: Transcript, system: str | None, chat: ChatTokenizer):
        system = system or transcript.system
        self.id = transcript.id
        self.system = system and chat.neutralise(system)
        self.greeting = transcript.greeting and chat.neutralise(transcript.greeting)
        self.exchanges = [Exchange(*map(chat.neutralise, exchange)) for exchange in transcript.exchanges]
        self._chat = chat

    def messages(self, dropped: int, point: int, with_system: bool = True) -> list[dict[str, str]]:
        """Return the exchanges after the first `dropped` up to the `point`-th, behind the system prompt if any.

        The greeting stands before the first exchange and goes with it.
        """
        messages = [{"role": "system", "content": self.system}] if self.system and with_system else []
        if self.greeting and not dropped:
            messages.append({"role": "assistant", "content": self.greeting})
        for user, assistant in self.exchanges[dropped:point]:
            messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
        return fold_system(messages, self._chat)


class TokenCounts:
    """Counts tokens of a conversation. Every message is encoded once per tokenizer, however many slices contain it.

    The model's count is that of the whole rendering: the rendering is cut at control tokens, where tokenization cannot
    reach across, and the ids of the parts are kept. `by_parts` False is for tokenizers that have no such borders.
    """

    def __init__(self, conversation: CleanTranscript, ruler: Ruler, by_parts: bool):
        self._conversation, self._by_parts = conversation, by_parts
        self._chat, self._planning = ruler.chat, ruler.planning
        self._encoded: dict[str, Tokens] = {}
        self.bytes_encoded = 0
        texts = [text for exchange in conversation.exchanges for text in exchange]
        counts = [self._plan(user) + self._plan(assistant) for user, assistant in conversation.exchanges]
        self._planned = list(accumulate(counts, initial=0))
        self._planned_system = self._plan(conversation.system or "")
        self._planned_greeting = self._plan(conversation.greeting or "")
        before = {conversation.system or "", conversation.greeting or ""}
        self.unique_bytes = 2 * sum(len(text.encode()) for text in {*texts, *before})

    def tokens(self, dropped: int, point: int, with_system: bool = True) -> int:
        text = self._chat.render(self._conversation.messages(dropped, point, with_system))
        return sum(len(self._part(part).ids) for part in self._parts(text))

    def planning_tokens(self, dropped: int, point: int) -> int:
        """Return the tokens of the slice's texts, without any template, as cl100k_base counts."""
        greeting = 0 if dropped else self._planned_greeting
        return self._planned_system + greeting + self._planned[point] - self._planned[dropped]

    def encode(self, text: str) -> Tokens:
        """Return the ids of a rendering, and where they stand in it."""
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        start = 0
        for part in self._parts(text):
            part_ids, part_offsets = self._part(part)
            ids += part_ids
            offsets += [(start + first, start + last) for first, last in part_offsets]
            start += len(part)
        return Tokens(ids, offsets)

    def _parts(self, text: str) -> list[str]:
        return self._chat.split_at_control_tokens(text) if self._by_parts else [text]

    def _part(self, part: str) -> Tokens:
        if part not in self._encoded:
            self._encoded[part] = self._chat.tokens(part)
            self.bytes_encoded += len(part.encode())
        return self._encoded[part]

    def _plan(self, text: str) -> int:
        self.bytes_encoded += len(text.encode())
        return len(self._planning.encode(text, disallowed_special=()))


def can_count_by_parts(conversation: CleanTranscript, chat: ChatTokenizer) -> bool:
    """Return whether the ids of a rendering are those of its parts, tried on the first exchanges of `conversation`."""
    text = chat.render(conversation.messages(0, 2))
    return [token for part in chat.split_at_control_tokens(text) for token in chat.encode(part)] == chat.encode(text)
