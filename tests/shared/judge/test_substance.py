from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from kit.judge_parts import CANARY, RUBRIC, SHORT_RUBRIC, some_transcripts
from kit.judging import judge_in, openai_judge, perfect
from kit.scripted_openai import Answer, Call, completion, judged, serve_openai
from tuneline.data.rubric import Rubric
from tuneline.data.transcripts import Exchange, Transcript
from tuneline.errors import UserError

Write = Callable[[Call, str], str]
"""The reason for a criterion."""


def reasons(write: Write, answer: str = "YES") -> Callable[[Call], Answer]:
    def script(call: Call) -> Answer:
        names = call.schema["properties"]
        return completion(json.dumps({name: {"reason": write(call, name), "answer": answer} for name in names}))

    return script


HOLLOW = [
    "…",
    "...",
    "",
    " - ",
    "<reason>",
    "Text",
    "Is the assistant polite?",
    "always.",
    "Your own sentences",
    "YES.",
]


@pytest.mark.parametrize("reason", HOLLOW)
@pytest.mark.parametrize("count", [1, 3, 8])
def test_reasons_that_say_nothing_stop_the_run_and_a_mended_judge_is_asked_again(
    tmp_path: Path, reason: str, count: int
) -> None:
    transcripts = some_transcripts(tmp_path, count)
    with serve_openai(reasons(lambda *_: reason)) as server:
        with pytest.raises(UserError, match=r"does not judge: \d+ of \d+ reasons are empty .*\(hollow reasons\)"):
            judge_in(tmp_path, openai_judge(server.url), transcripts, concurrency=1)
        assert len(server.calls) == min(count, 3)
        server.script, before = perfect, len(server.calls)
        assert {v.status for v in judge_in(tmp_path, openai_judge(server.url), transcripts)} == {"scored"}
        assert len(server.calls) - before == count


def test_a_reason_without_words_here_and_there_is_let_pass(tmp_path: Path) -> None:
    def one(call: Call) -> Answer:
        return completion(judged(call, SAFE={"reason": "-", "answer": "YES"}))

    with serve_openai(one) as server:
        assert len(judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, 8))) == 8


def test_reasons_of_which_none_names_an_exchange_stop_the_run(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 40)
    with serve_openai(reasons(lambda call, name: f"{name} is fine: {words(call)}")) as server:
        with pytest.raises(UserError, match=r"none of 51 reasons names an exchange.*\(no citation\)"):
            judge_in(tmp_path, openai_judge(server.url), transcripts, concurrency=1)
        assert len(server.calls) == 17
        before = len(server.calls)
        with pytest.raises(UserError, match="no citation"):
            judge_in(tmp_path, openai_judge(server.url), transcripts)
        assert len(server.calls) == before, "what was paid is kept, and shows it at once"


@pytest.mark.parametrize(
    "cited",
    [
        "In exchange 2.",
        "Seen in the last answer.",
        "Im Austausch 3.",
        "٣",
        "Throughout.",
        "在第一轮中。",
        "Au premier échange.",
        "В первом обмене.",
        "最初の回。",
    ],
)
def test_a_citation_may_be_written_in_many_ways(tmp_path: Path, cited: str) -> None:
    with serve_openai(reasons(lambda call, name: f"{name}, {words(call)}. {cited}")) as server:
        assert len(judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, 20))) == 20


@pytest.mark.parametrize("many", [8, 30])
def test_one_reason_for_everything_stops_the_run_from_eight_conversations_on(tmp_path: Path, many: int) -> None:
    with serve_openai(reasons(lambda *_: "Seen in the first answer.")) as server:
        assert len(judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, 7))) == 7
        with pytest.raises(UserError, match=r"24 of 24 reasons are the same one.*\(one reason for everything\)"):
            judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, many), concurrency=1)


def test_one_reason_in_most_answers_stops_the_run_and_in_half_of_them_does_not(tmp_path: Path) -> None:
    def but_each(nth: int) -> Callable[[Call], Answer]:
        numbers, same = count(), "Seen in the first answer."
        return reasons(lambda call, _: f"In 1 {words(call)} is said." if next(numbers) % nth == 0 else same)

    with serve_openai(but_each(2)) as server:
        assert len(judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, 12))) == 12
    with serve_openai(but_each(8)) as server, pytest.raises(UserError, match="one reason for everything"):
        judge_in(tmp_path / "other", openai_judge(server.url), some_transcripts(tmp_path, 12))


TWO_CRITERIA = Rubric.model_validate({**RUBRIC, "gates": []})


@pytest.mark.parametrize(("rubric", "first_seen"), [(SHORT_RUBRIC, 8), (TWO_CRITERIA, 30)])
def test_equal_answers_with_reasons_that_fit_every_conversation_stop_the_run(
    tmp_path: Path, rubric: Rubric, first_seen: int
) -> None:
    with (
        serve_openai(reasons(lambda _, name: f"Exchange 1 shows {name}.")) as server,
        pytest.raises(
            UserError, match=r"all \d+ answers to \d+ conversations .*\(equal answers to everything\)"
        ) as said,
    ):
        judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, 60), rubric, concurrency=1)
    assert f"to {first_seen} conversations" in str(said.value), "two criteria may both be gates"


def test_a_good_set_may_get_equal_answers_when_the_reasons_tell_its_conversations_apart(tmp_path: Path) -> None:
    with serve_openai(perfect) as server:
        verdicts = judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, 60))
    assert {v.score for v in verdicts} == {1.0}


def test_answers_that_differ_may_have_reasons_that_repeat(tmp_path: Path) -> None:
    def script(call: Call) -> Answer:
        answer = "YES" if "Please" in call.prompt else "NO"
        return reasons(lambda _, name: f"{name} in exchange 1: {answer}", answer)(call)

    with serve_openai(script) as server:
        assert len(judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, 60))) == 60


def test_a_rubric_of_one_question_may_get_one_answer_for_one_reason(tmp_path: Path) -> None:
    category = {"id": "all", "weight": 1, "criteria": RUBRIC["gates"]}
    one: dict[str, Any] = {"name": "One", "categories": [category]}
    with serve_openai(reasons(lambda *_: "No exchange holds anything harmful.")) as server:
        rubric = Rubric.model_validate(one)
        assert len(judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, 60), rubric)) == 60


def test_what_a_judge_wrote_never_stands_in_the_message(tmp_path: Path) -> None:
    with (
        serve_openai(reasons(lambda *_: f"{CANARY} in exchange 1")) as server,
        pytest.raises(UserError, match="one reason for everything") as stopped,
    ):
        judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, 30), SHORT_RUBRIC)
    assert CANARY not in str(stopped.value)


LONG = "We looked at the kettle together and it drips near the spout. "


@pytest.mark.parametrize(
    ("text", "tokens", "status"),
    [
        (LONG * 250, 2048, "failed"),
        (LONG * 250, 512, "failed"),
        (LONG * 250, 3500, "scored"),
        (LONG * 250, 0, "scored"),  # a server that does not count
        ("我们一起看了水壶，它在壶嘴附近漏水。" * 300, 3000, "scored"),
        ("=" * 40_000, 700, "scored"),
        ("a" * 30_000, 2000, "scored"),
        (LONG, 60, "scored"),  # too short to be cut
    ],
)
def test_a_prompt_that_the_server_cut_silently_gets_no_score(
    tmp_path: Path, text: str, tokens: int, status: str
) -> None:
    transcripts = [Transcript(id=f"t{n}", exchanges=(Exchange(f"Number {n}: {text}", "Oh."),)) for n in range(4)]

    def script(call: Call) -> Answer:
        return completion(judged(call), input_tokens=tokens if "Number 1:" in call.prompt else 9_000)

    with serve_openai(script) as server:
        verdicts = judge_in(tmp_path, openai_judge(server.url), transcripts)
        assert [v.status for v in verdicts] == ["scored", status, "scored", "scored"]
        if status == "failed":
            with pytest.raises(UserError, match=r"most often: the server cut the prompt silently.*larger context"):
                judge_in(tmp_path, openai_judge(server.url), transcripts, max_unreadable=0.02)
            server.script = perfect_at(9_000)
            assert [v.status for v in judge_in(tmp_path, openai_judge(server.url), transcripts)] == ["scored"] * 4


def perfect_at(tokens: int) -> Callable[[Call], Answer]:
    return lambda call: completion(judged(call), input_tokens=tokens)


def words(call: Call) -> str:
    """Something without a digit that differs from conversation to conversation."""
    number = call.prompt.partition("Number ")[2].partition(":")[0]
    return "".join(chr(ord("a") + int(digit)) for digit in number)
