"""Writer and judge without a model, by rules: for demonstration and tests. Their scores mean nothing elsewhere.

The writer puts sentences of the source together and obeys what it understands of a prompt: a number of words, an order
of kinds, every concept, a question to the listener. So it is known by construction which prompt is better.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from tuneline.data.io import Closed
from tuneline.data.text.words import contains, content_words, word_count, words
from tuneline_calibrator.models.answers import Quality
from tuneline_calibrator.models.evidence import Change, Evidence, Refined
from tuneline_calibrator.models.judge import Concept
from tuneline_calibrator.talks.segments import KINDS, Kind, sentences

CUES: Mapping[Kind, tuple[str, ...]] = {
    "hook": ("have you ever", "imagine", "picture this"),
    "background": ("for a long time", "for years", "used to", "believed"),
    "problem": ("the problem", "the trouble", "goes wrong"),
    "method": ("the method", "how it works", "step by step", "the way to"),
    "result": ("as a result", "we found", "turned out"),
    "example": ("for example", "for instance"),
    "limits": ("the limit", "does not work", "be careful"),
    "outlook": ("in the future", "the next step", "one day"),
    "outro": ("thank you for listening", "that is all", "until next time"),
    "aside": ("by the way",),
}
"""By what a passage is told; the writer begins a passage with the first of its kind."""
DEFAULT_WORDS = 60
_LENGTH = re.compile(r"\b(\d{1,5}) words\b")


class ExtractiveConfig(Closed):
    """There is nothing to configure."""

    provider: Literal["extractive"]


class HeuristicReader:
    """Judges by cue words and counts."""

    label = "heuristic (offline, for demonstration)"

    def kinds(self, passages: Sequence[str]) -> list[Kind]:
        return [_kind_of(text) for text in passages]

    def concepts(self, source: str, talk: str, most: int) -> list[Concept]:
        shared = content_words(source) & content_words(talk)
        counts = Counter(word for word in words(source) if word in shared)
        found = sorted(counts, key=lambda word: (-counts[word], word))[:most]
        return [Concept(id=f"c{n}", name=word, explained_if="it is said") for n, word in enumerate(found, 1)]

    def explained(self, text: str, concepts: Sequence[Concept], again: int = 0) -> frozenset[str]:
        said = content_words(text)
        return frozenset(one.id for one in concepts if one.name in said)

    def quality(self, source: str, script: str, again: int = 0) -> Quality:
        said, length = content_words(script), len(words(script)) / max(1, len(sentences(script)))
        true = 100 * len(said & content_words(source)) / max(1, len(said))
        engaged = 40 + 30 * ("?" in script) + 30 * contains(script, ("you",))
        return Quality(
            engagement=engaged, clarity=max(0.0, 100 - 3 * max(0.0, length - 15)), accuracy=round(true, 3),
            reason="questions and the word you; words a sentence; words that stand in the source",
        )  # fmt: skip


class ExtractiveWriter:
    """Puts sentences of the source together as the prompt says."""

    label = "extractive (offline, for demonstration)"

    def script(self, prompt: str, source: str, profile: str, seed: int) -> str:
        told = prompt.casefold()
        found = _LENGTH.search(told)
        most = int(found[1]) if found else DEFAULT_WORDS
        order = sorted((kind for kind in KINDS if kind in words(told)), key=words(told).index)
        chosen = list(_chosen(sentences(source), most, broad="every concept" in told))
        if "question" in told:
            chosen.insert(0, "What do you think happens next?")
        if not order:
            return " ".join(chosen)
        share = -(-len(chosen) // len(order))
        parts = [chosen[n * share : (n + 1) * share] for n in range(len(order))]
        return "\n\n".join(
            " ".join([f"{CUES[kind][0].capitalize()}:", *part]) for kind, part in zip(order, parts, strict=True)
        )

    def refine(self, prompt: str, evidence: Evidence, problem: str = "") -> Refined:
        """Say what was lost most in the first words that this writer understands."""
        told = prompt.casefold()
        can = {
            "duration": f"Write about {evidence.words} words.",
            "coverage": "Explain every concept.",
            "structure": f"Follow this order: {', '.join(dict.fromkeys(evidence.order))}.",
            "quality": "Begin with a question to the listener.",
        }
        tried = evidence.told()
        new = [name for name in evidence.worst if name in can and can[name].casefold() not in told]
        new = [name for name in new if can[name] not in tried][:2]
        changes = [Change(loss=name, change=can[name]) for name in new]
        return Refined(changes=changes, prompt="\n".join([*(can[name] for name in new), prompt]))


def _kind_of(text: str) -> Kind:
    found = {kind: sum(contains(text, (cue,)) for cue in cues) for kind, cues in CUES.items()}
    best = max(found, key=lambda kind: found[kind])
    return best if found[best] else "background"


def _chosen(told: Sequence[str], most: int, *, broad: bool) -> Iterator[str]:
    """Yield sentences up to so many words: the first ones, or those that bring the most new words."""
    left, seen, count = list(told), set[str](), 0
    while left:
        best = max(left, key=lambda text: len(content_words(text) - seen)) if broad else left[0]
        if count and count + word_count(best) > most:
            return
        left.remove(best)
        seen |= content_words(best)
        count += word_count(best)
        yield best
