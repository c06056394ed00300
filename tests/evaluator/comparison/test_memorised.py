"""Answers that repeat what was learnt: by long runs of words, told by their ids and never by their text."""

from __future__ import annotations

from pathlib import Path

from tuneline.data.conversations import Conversation, Said
from tuneline.data.io import write_lines
from tuneline.data.slices import Message, Slice
from tuneline_evaluator.comparison.compare import about_memory
from tuneline_evaluator.comparison.memorised import learnt_in, memorised

LEARNT = (
    "Please unplug the machine first, then lift the drip tray with both hands, rinse the float under warm water until "
    "it moves again, and put everything back in the order in which you took it out."
)
OWN = "I would look at the little red part that swims in the tray, it sometimes sticks and then the light stays on."


def talk(number: int, arm: str, answer: str, said: str = "The light stays on.") -> Conversation:
    messages = [Said(role="user", content=said), Said(role="assistant", content=answer)]
    return Conversation(
        id=f"p{number}/0/{arm}", persona=f"p{number}", trial=0, arm=arm, seed=0, status="complete", messages=messages,
        answers=[], judged_id=f"{arm}{number}",
    )  # fmt: skip


def test_a_long_stretch_of_what_was_learnt_is_found_whatever_its_spelling_and_named_by_id() -> None:
    copied = f"Sure! {LEARNT.upper().replace(',', ' –')} Anything else?"
    talks = [talk(n, arm, OWN) for n in range(10) for arm in ("base", "finetuned")][:-1]
    found = memorised([*talks, talk(9, "finetuned", copied)], [LEARNT], 0.05)
    assert (found.base.repeating, found.finetuned.repeating, found.finetuned.answers) == (0, 1, 10)
    [one] = found.finetuned.longest
    assert (one.conversation, one.answer, one.words) == ("p9/0/finetuned", 1, 36)
    assert not found.differs
    assert list(about_memory(found)) == []


def test_short_stretches_and_what_the_user_said_before_are_no_memory() -> None:
    short = " ".join(LEARNT.split()[:12])
    found = memorised([talk(0, "finetuned", short), talk(1, "finetuned", LEARNT, said=LEARNT)], [LEARNT], 0.05)
    assert found.finetuned.repeating == 0


def test_a_fine_tune_that_copies_more_than_its_base_is_a_note() -> None:
    talks = [talk(n, "base", OWN) for n in range(10)] + [talk(n, "finetuned", LEARNT) for n in range(10)]
    [note] = about_memory(memorised(talks, [LEARNT], 0.05))
    assert "10 of 10 answers of the fine-tuned model repeat 13 words or more of the training text (0 of 10" in note
    assert "drip tray" not in note


def test_in_a_script_without_spaces_characters_count_and_more_of_them() -> None:
    learnt = "请先拔掉电源插头然后用双手取下滴水盘用温水冲洗浮子直到它可以自由活动为止最后按照取出的顺序装回去"
    short = memorised([talk(0, "finetuned", learnt[:20])], [learnt], 0.05)
    whole = memorised([talk(0, "finetuned", learnt)], [learnt], 0.05)
    assert (short.finetuned.repeating, whole.finetuned.repeating, whole.words) == (0, 1, 26)


def test_what_was_learnt_are_the_answers_of_the_training_set_that_are_not_context_only(tmp_path: Path) -> None:
    def row(name: str, split: str, *messages: Message) -> Slice:
        return Slice.model_validate({
            "id": name, "transcript": name, "point": 1, "dropped": 0, "split": split, "tokens": 1,
            "planning_tokens": 1, "messages": list(messages),
        })  # fmt: skip

    asked, first = Message(role="user", content="asked"), Message(role="assistant", content="greeting", learn=False)
    one, two, held = (Message(role="assistant", content=text) for text in ("one", "two", "held out"))
    write_lines(tmp_path / "slices.jsonl", [
        row("a", "train", first, asked, one), row("b", "train", asked, one, asked, two),
        row("c", "validation", asked, held),
    ])  # fmt: skip
    assert list(learnt_in(tmp_path / "slices.jsonl")) == ["one", "two"]
