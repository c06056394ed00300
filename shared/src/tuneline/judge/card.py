"""Who judged, and how: what has to be known about a judge wherever its verdicts are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pydantic import Field

from tuneline.data.io import Closed
from tuneline.data.verdicts import Judgement
from tuneline.stage import Json

_FAMILIES = {
    "openai": r"gpt|chatgpt|o[1-9](?:$|[-:_.])|davinci", "anthropic": "claude", "google": "gemini|gemma|palm",
    "meta": "llama", "mistral": r"mistral|mixtral|ministral|magistral|codestral|devstral", "qwen": "qwen|qwq",
    "deepseek": "deepseek", "microsoft": r"phi(?:$|[-:_.\d])|wizardlm", "xai": "grok", "cohere": "command|aya",
    "zhipu": "glm", "moonshot": "kimi|moonshot", "minimax": "minimax", "amazon": "nova|titan", "ibm": "granite",
    "hugging face": "smollm|zephyr", "nvidia": "nemotron", "ai2": "olmo|tulu", "01": r"yi(?:$|[-:_.\d])",
}  # fmt: skip
"""Makers by how their models are named. A distilled or fine-tuned model counts as what its name says first."""


class JudgeCard(Closed):
    """One judge as it was used for one result."""

    label: str
    """Name for people."""
    provider: str
    model: str | None = None
    """As its server calls it; None for a judge that is no model."""
    family: str
    """Who made the model, as far as its name says: judges of one family like the same answers. `rules`, `recorded` or
    `unknown` otherwise."""
    server: str | None = None
    """Host and port."""
    prompt_version: int | None = None
    questions_sha256: str
    """Hash of what was asked: the criteria with their words, without weights and threshold."""
    settings: dict[str, Json] = Field(default_factory=dict)
    """What else an answer depends on."""
    first_judged: str | None = None
    """Day of the oldest answer, UTC; None where none was drawn."""
    last_judged: str | None = None

    def dated(self, judgements: Iterable[Judgement]) -> JudgeCard:
        """Return the card with the days on which these were made."""
        days = sorted(judgement.day for judgement in judgements if judgement.day)
        return self.model_copy(update={"first_judged": days[0], "last_judged": days[-1]}) if days else self


class JudgeCards(Closed):
    """judges.json: every judge of a result."""

    judges: list[JudgeCard]


def family_of(model: str) -> str:
    """Return who made a model, by its name: the part behind the last slash, since many serve others' models."""
    name = model.rpartition("/")[2].lower()
    found = ((match.start(), maker) for maker, names in _FAMILIES.items() if (match := _named(names, name)))
    return min(found, default=(0, "unknown"))[1]


def families(cards: Sequence[JudgeCard]) -> str:
    """Return the families of some judges, in words."""
    return " and ".join(dict.fromkeys(card.family for card in cards))


def _named(names: str, name: str) -> re.Match[str] | None:
    return re.search(rf"(?:^|[^a-z])(?:{names})", name)
