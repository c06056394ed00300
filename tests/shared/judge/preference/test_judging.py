from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from kit.judge_parts import SHORT_RUBRIC, live
from kit.judging import openai_judge
from kit.preferring import contests, first_one, longer, preferred
from kit.scripted_batches import BatchServer
from kit.scripted_openai import Answer, Call, completion, error, serve_openai
from kit.scripted_vendors import PROTOCOLS, Protocol
from tuneline.data.rubric import Rubric
from tuneline.data.transcripts import Exchange, Transcript
from tuneline.errors import UserError
from tuneline.judge.by_model import LlmJudge
from tuneline.judge.heuristic import HeuristicJudge
from tuneline.judge.panel import Judges, Panel
from tuneline.judge.preference.choice import ending
from tuneline.judge.preference.judging import Asked, Comparisons, Contest, compare_all
from tuneline.judge.preference.prompt import Shown, preference_messages

ASKED = Asked("Which is better?", concurrency=4, timeout_s=60, max_unreadable=1.0)
TEXTS = [("Short.", "A good deal longer."), ("This one is the longer one.", "Brief."), ("Equal", "Equal")]


def compare(
    folder: Path, judge: Judges, pairs: Sequence[Contest], asked: Asked = ASKED, rubric: Rubric = SHORT_RUBRIC
) -> Comparisons:
    with live(folder) as context:
        return compare_all(judge, rubric, pairs, context, asked)


def endings(found: Comparisons) -> list[str]:
    return [
        ending(*(one.score(second=not place) for place, one in enumerate(choices)))
        for compared in found.pairs
        for choices in compared.choices
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.provider)
def test_each_pair_is_asked_about_in_both_orders_by_any_provider(protocol: Protocol, tmp_path: Path) -> None:
    def script(call: Call) -> Answer:
        assert list(protocol.schema(call)["properties"]) == ["reason", "answer"]
        return protocol.reply(preferred(protocol.prompt(call), longer))

    with serve_openai(script) as server:
        judge = LlmJudge(protocol.config(server.url, input_usd=1.0, output_usd=1.0), lambda name: name)
        found = compare(tmp_path, judge, contests(*TEXTS))
        assert len(server.calls) == 4  # the identical pair is a tie that nobody is asked about
    assert endings(found) == ["win", "loss"]
    assert found.pairs[2].choices == []
    assert (found.asked_now, found.cost.rows[0].role, found.cost.rows[0].total.calls) == (4, "preference", 4)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.provider)
def test_batches_answer_too(protocol: Protocol, tmp_path: Path) -> None:
    batches = BatchServer(protocol, lambda call: protocol.reply(preferred(protocol.prompt(call), longer)))
    with serve_openai(batches) as server:
        judge = LlmJudge(protocol.config(server.url, mode="batch"), lambda name: name)
        assert endings(compare(tmp_path, judge, contests(*TEXTS))) == ["win", "loss"]
    assert batches.live == 0


def test_who_prefers_what_stands_first_is_seen_to_flip(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion(preferred(call.prompt, first_one))) as server:
        assert endings(compare(tmp_path, openai_judge(server.url), contests(*TEXTS))) == ["flip", "flip"]


def test_nothing_is_paid_twice_and_another_question_is_paid_anew(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion(preferred(call.prompt, longer))) as server:
        judge = openai_judge(server.url)
        compare(tmp_path, judge, contests(TEXTS[0]))
        found = compare(tmp_path, judge, contests(*TEXTS))
        assert (found.asked_now, len(server.calls)) == (2, 4)
        assert endings(found) == ["win", "loss"]
        compare(tmp_path, judge, contests(*TEXTS), ASKED._replace(question="Which is kinder?"))
        assert len(server.calls) == 8
        compare(tmp_path, judge, contests(*TEXTS, reference="A good one."))
        assert len(server.calls) == 12 and "--- " in server.calls[-1].prompt
        assert all("reference\nA good one." in call.prompt for call in server.calls[8:])


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (completion(None, refusal="No."), "refused"),
        (completion("", finish="content_filter"), "blocked"),
        (completion("I like both."), "unparsed"),
        (error(400, "context_length_exceeded"), "too_long"),
    ],
)
def test_a_call_without_a_preference_has_a_status_and_its_pair_none(
    tmp_path: Path, answer: Answer, status: str
) -> None:
    def script(call: Call) -> Answer:
        spoilt = "Short." in call.prompt.partition("answer B")[0]
        return answer if spoilt else completion(preferred(call.prompt, longer))

    with serve_openai(script) as server:
        found = compare(tmp_path, openai_judge(server.url), contests(*TEXTS, ("aa", "b"), ("c", "dd"), ("ee", "f")))
        [spoilt] = found.pairs[0].choices
        assert [str(choice.status) for choice in spoilt].count(status) == 1
        assert endings(found)[0] == "unjudged" and endings(found)[1:] == ["loss", "loss", "win", "loss"]


def test_an_unreadable_answer_is_asked_for_once_more(tmp_path: Path) -> None:
    def script(call: Call) -> Answer:
        again = "An earlier answer" in call.prompt
        return completion(preferred(call.prompt, longer) if again else "Let me think about it.")

    with serve_openai(script) as server:
        found = compare(tmp_path, openai_judge(server.url), contests(TEXTS[0]))
        assert len(server.calls) == 4
    assert endings(found) == ["win"] and {choice.asked for choice in found.pairs[0].choices[0]} == {2}


def test_a_judge_that_cannot_be_read_ends_the_run(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion("Hm.")) as server, pytest.raises(UserError, match="4 comparisons got no"):
        compare(tmp_path, openai_judge(server.url), contests(*TEXTS), ASKED._replace(max_unreadable=0.1))


def test_a_judge_with_one_reason_for_everything_does_not_judge(tmp_path: Path) -> None:
    same = json.dumps({"reason": "Both answers are good.", "answer": "TIE"})
    with serve_openai(lambda call: completion(same)) as server, pytest.raises(UserError, match="one reason for every"):
        compare(tmp_path, openai_judge(server.url), contests(*((f"a{n}", f"b{n}") for n in range(20))))


def test_the_rules_of_a_rubric_prefer_the_higher_score_and_call_nobody(tmp_path: Path) -> None:
    polite = ("Thank you, I am glad to help. Could you tell me more, please?", "No.")
    found = compare(tmp_path, HeuristicJudge(), contests(polite, polite[::-1]))
    assert endings(found) == ["loss", "win"] and found.asked_now == 0


def test_two_judges_are_both_asked(tmp_path: Path) -> None:
    rubric = SHORT_RUBRIC.model_copy(update={"judges": ["a", "b"]})
    with (
        serve_openai(lambda call: completion(preferred(call.prompt, longer))) as one,
        serve_openai(lambda call: completion(preferred(call.prompt, first_one))) as other,
    ):
        panel = Panel({"a": openai_judge(one.url), "b": openai_judge(other.url)})
        found = compare(tmp_path, panel, contests(TEXTS[0]), rubric=rubric)
    assert endings(found) == ["win", "flip"]


def test_whole_conversations_are_shown_one_after_the_other() -> None:
    x, y = (
        Transcript(name, (Exchange("Hello.", f"Hi from {name}."), Exchange(f"And {name}?", "Yes."))) for name in "xy"
    )
    [message] = preference_messages(Shown("s", x, y), "Which?", again=False)
    text = message["content"]
    assert text.startswith("You compare two conversations")
    assert (
        text.index("Hi from x.")
        < text.index("And x?")
        < text.index("conversation B, exchange 1")
        < text.index("And y?")
    )
