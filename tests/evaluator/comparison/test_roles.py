"""Simulated users who leave their role: left out with all models alike, by a rule that knows no arm."""

from __future__ import annotations

from tuneline.data.conversations import Conversation, Said
from tuneline_evaluator.comparison.compare import about_roles
from tuneline_evaluator.comparison.roles import kept_roles

AWAY = "As an AI language model I do not own a coffee machine."


def talk(persona: str, arm: str, *said: str, trial: int = 0) -> Conversation:
    messages = [Said(role=role, content=text) for one in said for role, text in (("user", one), ("assistant", AWAY))]
    return Conversation.model_validate({
        "id": f"{persona}/{trial}/{arm}", "persona": persona, "trial": trial, "arm": arm, "seed": 0,
        "status": "complete", "messages": messages, "answers": [], "judged_id": f"{arm}-{persona}-{trial}",
    })  # fmt: skip


TALKS = [
    talk("ann", "base", "Hello", "It drips."), talk("ann", "finetuned", "Hello", AWAY),
    talk("ben", "base", "Hello"), talk("ben", "finetuned", "Hello"),
    talk("ben", "base", "Hello", trial=1), talk("ben", "finetuned", "Hello", trial=1),
]  # fmt: skip


def test_who_leaves_the_role_with_one_model_is_left_out_with_both_and_the_assistants_words_do_not_count() -> None:
    kept = kept_roles(TALKS, None)
    assert kept.left_out == {("ann", 0)}
    assert (kept.check.base, kept.check.finetuned, kept.check.of, kept.check.by_judge) == (0, 1, 3, False)
    [note] = about_roles(kept)
    assert "In 1 of 3 personas and trials the simulated user left its role, as code found" in note
    assert "left out with all models alike (ann/0)" in note


def test_what_the_judge_found_counts_beside_what_code_sees() -> None:
    kept = kept_roles(TALKS, {"base-ben-1": False, "finetuned-ben-1": True})
    assert kept.left_out == {("ann", 0), ("ben", 1)}
    assert (kept.check.base, kept.check.finetuned) == (1, 1)
    assert "as code and the judge found" in next(about_roles(kept))


def test_where_all_stay_in_their_role_nothing_is_said() -> None:
    assert list(about_roles(kept_roles(TALKS[2:], None))) == []
    assert list(about_roles(None)) == []
