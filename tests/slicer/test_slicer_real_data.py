"""The data set that the stage was planned around. Its counts were taken with other code."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.places import REAL_DATA
from kit.slicing import real_bench
from tuneline.data.transcripts import read_transcripts
from tuneline.llm.token_counts import load_planning_encoding
from tuneline.model.chat import ChatTokenizer

pytestmark = [
    pytest.mark.skipif(not REAL_DATA.exists(), reason="needs the data set next to the repository"),
    pytest.mark.slow,
]


def test_the_35_passing_transcripts_give_297_slices(tmp_path: Path) -> None:
    sliced = real_bench(tmp_path, REAL_DATA, context=400_000).slice(min_context=3, min_gap=2, max_gap=5)
    assert len(sliced.slices) == 297
    assert len({row["transcript"] for row in sliced.slices}) == 35
    assert not sliced.rejected
    assert sliced.stats["truncated"]["slices"] == 0
    assert len(sliced.stats["personas"]["lost"]) == 6
    metrics = sliced.done.manifest.metrics.counts
    assert isinstance(metrics["bytes_encoded_per_unique_byte"], float)
    assert metrics["bytes_encoded_per_unique_byte"] <= 1.05
    whole = {row["transcript"]: row["planning_tokens"] for row in sliced.slices}  # the last point is the whole
    short = [whole[path.stem] for path in (REAL_DATA / "transcripts" / "short").glob("*.json") if path.stem in whole]
    assert (round(sum(short) / len(short)), max(short)) == (25_704, 34_772)
    assert sliced.stats["planning_tokens_per_transcript"]["max"] == 121_722


def test_the_planning_tokens_of_all_transcripts_are_the_known_ones() -> None:
    encoding = load_planning_encoding()
    counts: dict[str, list[int]] = {}
    for kind in ("short", "medium", "long", "very_long"):
        for transcript in read_transcripts(REAL_DATA / "transcripts" / kind).transcripts:
            texts = [text for exchange in transcript.exchanges for text in exchange]
            tokens = sum(len(encoding.encode(text, disallowed_special=())) for text in texts)
            counts.setdefault(kind, []).append(tokens)
    assert round(sum(counts["short"]) / len(counts["short"])) == 26_151
    assert {kind: max(tokens) for kind, tokens in counts.items()} == {
        "short": 37_596,
        "medium": 47_262,
        "long": 90_611,
        "very_long": 121_722,
    }


@pytest.mark.parametrize("context", [8192, 16_384])
def test_in_a_small_context_every_slice_keeps_its_last_answer(tmp_path: Path, context: int) -> None:
    sliced = real_bench(tmp_path, REAL_DATA, context=context).slice()
    answers = {
        t.id: [e.assistant for e in t.exchanges] for t in read_transcripts(REAL_DATA / "transcripts").transcripts
    }
    chat = ChatTokenizer.from_folder(tmp_path / "base")
    assert sliced.stats["truncated"]["slices"] + len(sliced.rejected) > 150
    assert len(sliced.slices) + len(sliced.rejected) == 297
    for row in sliced.slices:
        encoded = chat.encode_conversation(row["messages"])
        assert row["messages"][-1] == {"role": "assistant", "content": answers[row["transcript"]][row["point"] - 1]}
        assert row["tokens"] == len(encoded.input_ids) <= context
        assert encoded.assistant_mask[-2:] == [1, 0]  # the end of turn is learnt, the line end behind it is not
        assert len(row["messages"]) >= 2 * 3
