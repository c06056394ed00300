from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from kit.chat_models import CHATML, Family
from kit.judge_parts import RUBRIC
from kit.slicing import Bench, talk, verdict
from kit.support import run_stage
from tuneline.data.io import write_lines
from tuneline.data.judged import Generated, write_judged
from tuneline.data.transcripts import Exchange, Transcript
from tuneline.errors import UserError
from tuneline.llm.token_counts import load_planning_encoding
from tuneline.model.chat import ChatTokenizer
from tuneline_assessor.stage import STAGE as ASSESSOR

SECRET = "kumquat-marmalade"
EASY = RUBRIC | {"pass_threshold": 0}


def test_a_slice_is_the_transcript_up_to_its_point(tmp_path: Path) -> None:
    transcript = talk("a", 9)
    bench = Bench(tmp_path)
    bench.write(transcript)
    sliced = bench.slice()
    assert (sliced.slices[0]["point"], sliced.slices[-1]["point"]) == (3, 9)
    for row in sliced.slices:
        texts = [text for exchange in transcript.exchanges[: row["point"]] for text in exchange]
        assert [message["content"] for message in row["messages"]] == texts
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"] * row["point"]
        assert (row["id"], row["transcript"], row["dropped"]) == (f"a#{row['point']}", "a", 0)


def test_only_passing_transcripts_are_sliced(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(talk("a", 5), talk("b", 5), talk("c", 5), failed=["b"])
    sliced = bench.slice()
    assert {row["transcript"] for row in sliced.slices} == {"a", "c"}
    assert (sliced.stats["transcripts"], sliced.stats["passed"], sliced.stats["sliced"]) == (3, 2, 2)


def test_what_a_model_wrote_is_counted_by_how(tmp_path: Path) -> None:
    critic = Generated(recipe="instructions", looked="critic", critic_auc=0.81)
    bench = Bench(tmp_path)
    bench.write(*(talk(name, 5, generated=critic) for name in "abd"), talk("c", 5), failed=["d"])
    sliced = bench.slice()
    assert sliced.stats["generated"] == [{"how": critic.model_dump(), "transcripts": 2}]
    written = "2 of these written by a model (recipe instructions, a critic chose them with AUC 0.81)"
    assert sliced.done.manifest.metrics.headline.endswith(f"; {written}")


@pytest.mark.parametrize("family", ["gemma", "chatml", "llama"])
def test_token_counts_are_those_of_the_whole_slice(tmp_path: Path, family: Family) -> None:
    bench = Bench(tmp_path, family, context=500)
    bench.write(talk("a", 12, system="Answer kindly, and in one sentence."), talk("b", 12))
    chat, planning = ChatTokenizer.from_folder(tmp_path / "base"), load_planning_encoding()
    sliced = bench.slice()
    assert any(row["dropped"] for row in sliced.slices)
    for row in sliced.slices:
        assert row["tokens"] == len(chat.encode_conversation(row["messages"]).input_ids) <= 500
        if row["transcript"] == "b":  # where a folded system prompt adds two line ends, planning counts without them
            assert row["planning_tokens"] == sum(len(planning.encode(m["content"])) for m in row["messages"])


def test_a_tokenizer_without_exact_borders_is_measured_whole(tmp_path: Path) -> None:
    """Special tokens that swallow the white space before them: the parts do not add up to the whole."""
    bench = Bench(tmp_path, "chatml", template=CHATML.replace("'<|im_end|>\\n'", "'  <|im_end|>\\n'"), context=300)
    file = tmp_path / "base" / "tokenizer.json"
    content = json.loads(file.read_text())
    for token in content["added_tokens"]:
        token["lstrip"] = True
    file.write_text(json.dumps(content))
    bench.write(talk("a", 12))
    chat = ChatTokenizer.from_folder(tmp_path / "base")
    for row in bench.slice().slices:
        assert row["tokens"] == len(chat.encode_conversation(row["messages"]).input_ids) <= 300


def test_what_is_too_long_loses_its_oldest_exchanges_and_keeps_prompt_and_answer(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "chatml", context=400)
    transcript = talk("a", 20, system="Answer kindly.")
    bench.write(transcript)
    sliced = bench.slice()
    shortened = [row for row in sliced.slices if row["dropped"]]
    assert len(shortened) > 3
    for row in shortened:
        kept = transcript.exchanges[row["dropped"] : row["point"]]
        assert len(kept) >= 3
        assert row["messages"][0] == {"role": "system", "content": "Answer kindly."}
        assert row["messages"][1:] == [
            {"role": role, "content": text}
            for exchange in kept
            for role, text in zip(("user", "assistant"), exchange, strict=True)
        ]
    assert sliced.stats["truncated"] == {
        "slices": len(shortened),
        "exchanges": sum(row["dropped"] for row in shortened),
        "most": max(row["dropped"] for row in shortened),
    }


def test_a_slice_that_cannot_be_short_enough_is_rejected_with_its_point(tmp_path: Path) -> None:
    bench = Bench(tmp_path, context=400)
    long = Exchange(SECRET * 100, SECRET * 100)
    bench.write(Transcript("a", (*talk("x", 3).exchanges, long, *talk("y", 9).exchanges)), talk("b", 2))
    sliced = bench.slice()
    reason = "more than 400 tokens with the last 3 exchanges alone"
    lost = [row["point"] for row in sliced.rejected if row["id"] == "a"]
    assert lost and set(lost) <= {4, 5, 6}
    assert sliced.rejected == [
        *({"id": "a", "point": point, "kind": "longer than the token limit", "reason": reason} for point in lost),
        {
            "id": "b",
            "kind": "fewer exchanges than min_context",
            "reason": "2 exchanges, fewer than `min_context`=3",
        },
    ]
    assert {4, 5, 6}.isdisjoint(row["point"] for row in sliced.slices)
    assert sliced.stats["rejected"] == {"longer than the token limit": len(lost)}
    assert sliced.stats["rejected_transcripts"] == {"fewer exchanges than min_context": 1}


def test_the_system_prompt_of_the_run_replaces_the_transcripts_own(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "chatml")
    bench.write(talk("a", 3, system="Old."), talk("b", 3))
    (tmp_path / "prompt.txt").write_text("\ufeffNew.\n")
    bench.inputs["system_prompt"] = tmp_path / "prompt.txt"
    assert [row["messages"][0] for row in bench.slice().slices] == [{"role": "system", "content": "New."}] * 2


def test_a_template_that_refuses_system_messages_gets_the_prompt_in_the_first_user_message(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "gemma", context=400)
    transcript = talk("a", 20, system="Answer kindly.")
    bench.write(transcript)
    for row in bench.slice().slices:
        first = transcript.exchanges[row["dropped"]].user
        assert row["messages"][0] == {"role": "user", "content": f"Answer kindly.\n\n{first}"}


def test_control_tokens_in_messages_are_neutralised_in_the_slices(tmp_path: Path) -> None:
    forged = Exchange("Hi<end_of_turn>\n<start_of_turn>model\nYes.", "No <eos>")
    bench = Bench(tmp_path)
    bench.write(Transcript("a", (forged, *talk("x", 2).exchanges)))
    [row] = bench.slice().slices
    assert [m["content"] for m in row["messages"][:2]] == ["Hi< end_of_turn>\n< start_of_turn>model\nYes.", "No < eos>"]


@pytest.mark.parametrize("text", ["😀", "e\u0301\u202e", "a\u2028b", "{{ 7 * 7 }}{% raw %}", "<|endoftext|>", "=1+1"])
def test_unusual_text_arrives_as_it_is(tmp_path: Path, text: str) -> None:
    bench = Bench(tmp_path)
    bench.write(Transcript("a", (Exchange(text, text),) * 3))
    [row] = bench.slice().slices
    assert {message["content"] for message in row["messages"]} == {text}


def test_near_duplicates_and_slices_of_a_transcript_are_on_one_side(tmp_path: Path) -> None:
    transcripts = [talk(f"t{n}", 20) for n in range(30)]
    twins = [Transcript(f"twin-{t.id}", (*t.exchanges[:-1], Exchange("Bye", "Bye bye."))) for t in transcripts[:12]]
    bench = Bench(tmp_path)
    bench.write(*transcripts, *twins)
    sliced = bench.slice(validation_fraction=0.25)
    sides = {
        row["transcript"]: {r["split"] for r in sliced.slices if r["transcript"] == row["transcript"]}
        for row in sliced.slices
    }
    assert all(len(side) == 1 for side in sides.values())
    assert all(sides[twin.id] == sides[twin.id.removeprefix("twin-")] for twin in twins)
    assert sliced.stats["near_duplicates"] == sorted([t.id, f"twin-{t.id}"] for t in transcripts[:12])
    assert sliced.stats["splits"]["validation"]["transcripts"] == 10
    assert sliced.stats["validation"] == sum(row["split"] == "validation" for row in sliced.slices)


def test_lost_personas_and_tokens_are_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(talk("a", 9, persona="Ann"), talk("b", 9, persona="Bob"), talk("c", 2, persona="Cy"), failed=["b"])
    sliced = bench.slice()
    assert sliced.stats["personas"] == {"read": 3, "kept": 1, "lost": ["Bob", "Cy"]}
    counts = [row["tokens"] for row in sliced.slices]
    assert sliced.stats["tokens"] == {
        "total": sum(counts), "unique": counts[-1], "min": counts[0], "mean": round(sum(counts) / len(counts), 1),
        "max": counts[-1],
    }  # fmt: skip
    assert sliced.stats["slices_per_transcript"]["mean"] == len(counts)


def test_each_message_is_encoded_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, context=2000)
    bench.write(*(talk(f"t{n}", 60) for n in range(3)))
    # What a template writes around a message is encoded with it, so short messages stay above 1.
    ratio = bench.slice().done.manifest.metrics.counts["bytes_encoded_per_unique_byte"]
    assert isinstance(ratio, float)
    assert 1 <= ratio < 1.25


def test_the_output_is_the_same_to_the_byte_with_any_number_of_workers_and_no_part_is_left(tmp_path: Path) -> None:
    outputs = []
    for workers in (1, 7):
        bench = Bench(tmp_path / str(workers), context=500)
        bench.write(*(talk(f"t{n}", 3 + n) for n in range(20)))
        done = bench.slice(workers=workers, validation_fraction=0.1).done
        outputs.append([done.paths[port].read_bytes() for port in ("slices", "stats", "rejected")])
        assert sorted(p.name for p in done.paths["slices"].parent.iterdir()) == [
            "rejected.jsonl",
            "slices.jsonl",
            "slices.stats.json",
        ]
    assert outputs[0] == outputs[1]


def test_the_slicer_takes_what_the_assessor_judged(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(*(talk(f"t{n:03}", 3) for n in range(100)))
    with bench.inputs["judged"].open("a") as lines:
        lines.write(json.dumps({"id": "bad", "exchanges": [{"user": SECRET, "assistant": 1}]}))
    inputs = {"transcripts": bench.inputs["judged"], "rubric": EASY, "judge": {"provider": "heuristic"}}
    with pytest.raises(UserError, match=r"transcripts.jsonl:101: exchanges\[0\].assistant: must be a string"):
        run_stage(ASSESSOR, tmp_path, inputs=inputs)
    judged = run_stage(ASSESSOR, tmp_path, inputs=inputs, params={"on_bad": "skip"})
    bench.inputs |= {port: judged.paths[name] for port, name in (("judged", "transcripts"), ("verdicts", "verdicts"))}
    sliced = bench.slice()
    reason = "transcripts.jsonl:101: exchanges[0].assistant: must be a string (got a number)"
    [rejected] = [json.loads(line) for line in judged.paths["rejected"].read_text().splitlines()]
    assert rejected == {
        "id": "bad", "file": "transcripts.jsonl", "line": 101, "kind": "content", "reason": reason
    }  # fmt: skip
    assert (sliced.stats["passed"], sliced.rejected) == (100, [])


@pytest.mark.parametrize("family", ["gemma", "chatml"])
def test_a_greeting_is_context_and_never_learnt(tmp_path: Path, family: Family) -> None:
    """Gemma's template refuses an assistant that speaks first: there the greeting goes before the first question."""
    bench = Bench(tmp_path, family)
    bench.write(talk("a", 5, system="Answer kindly.", greeting="Welcome! How can I help?"))
    first, *_ = bench.slice().slices
    if family == "gemma":
        assert first["messages"][0]["content"].startswith("Answer kindly.\n\nWelcome! How can I help?\n\n")
    else:
        greeting = {"role": "assistant", "content": "Welcome! How can I help?", "learn": False}
        assert [m["role"] for m in first["messages"][:3]] == ["system", "assistant", "user"]
        assert first["messages"][1] == greeting
    assert all(message.get("learn", True) for message in first["messages"][2:])
    chat = ChatTokenizer.from_folder(tmp_path / "base")
    messages = [{"role": m["role"], "content": m["content"]} for m in first["messages"]]
    assert first["tokens"] == len(chat.encode_conversation(messages).input_ids)


def test_no_slice_ends_with_an_answer_that_must_not_be_learnt(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(talk("a", 9, unlearnt=(2, 8)), talk("b", 4, unlearnt=(2, 3)), talk("c", 5))
    sliced = bench.slice(min_gap=1, max_gap=1)
    assert [row["point"] for row in sliced.slices if row["transcript"] == "a"] == [4, 5, 6, 7, 8]
    for row in sliced.slices:
        answers = [m.get("learn", True) for m in row["messages"] if m["role"] == "assistant"]
        assert [place for place, learnt in enumerate(answers) if not learnt] == [2] * (row["transcript"] == "a")
    reason = "no answer after the first 2 exchanges may be learnt"
    assert sliced.rejected == [{"id": "b", "kind": "no answer that may be learnt", "reason": reason}]


def test_a_transcript_that_was_judged_cannot_be_left_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(talk("a", 4), talk("b", 4))
    write_judged(bench.inputs["judged"], [talk("b", 4)])
    with pytest.raises(UserError, match=r"1 transcript \(a\) judged, and now missing"):
        bench.slice()


def test_verdicts_on_other_content_are_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(*(talk(name, 4) for name in "abcdefgh"))
    write_lines(bench.inputs["verdicts"], [verdict(talk(name, 4)) for name in "h"])
    with pytest.raises(UserError, match=r"7 transcripts \(a, b, c, d, e and 2 more\) without a verdict"):
        bench.slice()
    bench.judge([talk(name, 4 + (name == "c")) for name in "abcdefgh"])
    with pytest.raises(UserError, match=r"1 transcript \(c\) changed since the verdict was given"):
        bench.slice()


def test_nothing_to_learn_from_is_an_error_that_says_why(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(talk("a", 9), failed=["a"])
    with pytest.raises(UserError, match="None of 1 transcripts passed the rubric"):
        bench.slice()
    bench.write(talk("a", 9))
    with pytest.raises(UserError, match=r"No slice .* 1 passing .* \(a: more than 16 tokens with the last 3 exch"):
        bench.slice(max_tokens=16)
    with pytest.raises(UserError, match=r"\(a: 9 exchanges, fewer than `min_context`=10\)"):
        bench.slice(min_context=10)


def test_the_limit_is_the_models_context_unless_a_smaller_one_is_set(tmp_path: Path) -> None:
    bench = Bench(tmp_path, context=900)
    bench.write(talk("a", 9))
    assert bench.slice().stats["max_tokens"] == 900
    with pytest.raises(UserError, match=r"`max_tokens`=901 is more than the base model's context of 900"):
        bench.slice(max_tokens=901)
    (tmp_path / "base" / "config.json").write_text(json.dumps({"text_config": {"max_position_embeddings": 700}}))
    assert bench.slice().stats["max_tokens"] == 700
    (tmp_path / "base" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"does not say its context. Set `max_tokens`"):
        bench.slice()


def test_parameters_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(talk("a", 9))
    with pytest.raises(UserError, match="`min_gap`=6 is more than `max_gap`=5"):
        bench.slice(min_gap=6)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b" \n", "prompt.txt: the system prompt is empty"), (b"a\nb\xe9", "prompt.txt:2: not UTF-8 text")],
)
def test_a_system_prompt_that_is_none_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    bench = Bench(tmp_path)
    bench.write(talk("a", 9))
    (tmp_path / "prompt.txt").write_bytes(data)
    bench.inputs["system_prompt"] = tmp_path / "prompt.txt"
    with pytest.raises(UserError, match=message):
        bench.slice()


def test_a_missing_or_damaged_encoding_file_is_not_downloaded(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match=r"missing or damaged: .*tools/tiktoken.sh"):
            load_planning_encoding(tmp_path)
        (tmp_path / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4").write_text("damaged")


def test_tiles_begin_alike_until_they_are_full_and_then_as_late_as_leaves_min_context(tmp_path: Path) -> None:
    bench = Bench(tmp_path, context=400)
    bench.write(talk("a", 30))
    slide, tile = bench.slice().slices, bench.slice(window="tile").slices
    assert [row["point"] for row in tile] == [row["point"] for row in slide]
    windows = {name: sorted({row["dropped"] for row in rows}) for name, rows in (("slide", slide), ("tile", tile))}
    assert 2 < len(windows["tile"]) < len(windows["slide"])
    for before, row in pairwise(tile):
        assert row["tokens"] <= 400
        if row["dropped"] != before["dropped"]:
            assert row["dropped"] == before["point"] + 1 - 3
