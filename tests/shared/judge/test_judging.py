from __future__ import annotations

import copy
import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.judge_parts import CANARY, RUBRIC, SHORT_RUBRIC, live, some_transcripts, write_transcripts
from kit.judging import HASTY, judge_in, no_secret, openai_judge, perfect
from kit.scripted_openai import Answer, Call, completion, error, judged, serve_openai
from tuneline.data.io import read_lines, write_lines
from tuneline.data.rubric import Rubric
from tuneline.data.transcripts import Transcript, read_transcripts
from tuneline.data.verdicts import Verdict
from tuneline.errors import Temporary, UserError
from tuneline.judge.judging import judge_all, load_judge
from tuneline.judge.panel import Judges
from tuneline.stage import Usage


def configured(folder: Path, content: object, answers: Path | None = None) -> Judges:
    path = folder / "judge.yaml"
    path.write_text(json.dumps(content))
    return load_judge(path, no_secret, answers)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({}, "provider: is required, one of heuristic, recorded, openai, anthropic, google"),
        ([], "provider: is required"),
        ({"provider": "opanai"}, "did you mean `openai`?"),
        ({"provider": 3}, "provider: unknown; known: anthropic, google, heuristic, openai, recorded"),
        ({"provider": "heuristic", "model": "m"}, "model: unknown key"),
        ({"provider": "openai"}, "model: is required"),
        ({"provider": "openai", "model": "m", "temprature": 1}, "temprature: unknown key; did you mean `temperature`?"),
        ({"provider": "openai", "model": "m", "base_url": "localhost:1"}, "base_url: an address like"),
        ({"provider": "openai", "model": "m", "max_tokens": 0}, "max_tokens: input should be greater than"),
        ({"provider": "openai", "model": "m"}, "OPENAI_API_KEY is not set"),
        ({"provider": "recorded"}, "reads the input `answers`, which is not given"),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_field(tmp_path: Path, content: object, problem: str) -> None:
    with pytest.raises(UserError) as refused:
        configured(tmp_path, content)
    assert problem in str(refused.value)


@pytest.mark.parametrize("key", ["sk-proj-0123456789", "gsk_0123456789abcdef"])
def test_a_key_in_the_file_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    for field in ("api_key_env", "api_key"):
        with pytest.raises(
            UserError, match=r"NAME of a variable|api_key: unknown key; did you mean `api_key_env`"
        ) as no:
            configured(tmp_path, {"provider": "openai", "model": "m", field: key})
        assert key not in str(no.value)


def test_answers_for_a_judge_that_does_not_read_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only `recorded` reads the input `answers`"):
        configured(tmp_path, {"provider": "heuristic"}, tmp_path / "answers.jsonl")


def test_the_heuristic_judge_says_what_it_is_and_scores_every_transcript(tmp_path: Path) -> None:
    judge = configured(tmp_path, {"provider": "heuristic"})
    assert judge.offline and judge.label == "heuristic (offline, for demonstration)"
    verdicts = judge_in(tmp_path, judge, some_transcripts(tmp_path, 4))
    assert [(v.id, v.score, v.passed) for v in verdicts] == [
        ("talk-000", 1.0, True), ("talk-001", 0.0, False), ("talk-002", 1.0, True), ("talk-003", 0.0, False)
    ]  # fmt: skip
    assert verdicts[0].answers == {"POLITE": "YES", "ASKS": "YES", "SAFE": "YES"}


def test_the_heuristic_judge_needs_a_rule_for_each_criterion(tmp_path: Path) -> None:
    gates = [{k: v for k, v in RUBRIC["gates"][0].items() if k != "heuristic"}]
    rubric = Rubric.model_validate({**RUBRIC, "gates": gates})
    with pytest.raises(UserError, match="these have no `heuristic:` in the rubric: SAFE"):
        judge_in(tmp_path, configured(tmp_path, {"provider": "heuristic"}), some_transcripts(tmp_path, 1), rubric)


@pytest.mark.parametrize("form", ["lines", "list"])
def test_recorded_answers_are_scored_with_their_reasons(tmp_path: Path, form: str) -> None:
    rows = [
        {"id": "talk-000", "answers": {"POLITE": "YES", "ASKS": "NO", "SAFE": "YES"}, "reasons": {"ASKS": "Never."}},
        {"transcript_id": "talk-001", "answers": {"POLITE": "YES", "ASKS": "NA", "SAFE": "NO"}, "rater": "anna"},
        {"id": "another", "answers": {}},
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n" if form == "lines" else json.dumps(rows, indent=1))
    judge = configured(tmp_path, {"provider": "recorded"}, path)
    [first, second] = judge_in(tmp_path, judge, some_transcripts(tmp_path, 2))
    assert (first.score, first.passed, first.reasons) == (0.5, False, {"ASKS": "Never."})
    assert (second.score, second.passed, second.failed_gates) == (1.0, False, ["SAFE"])


def test_verdicts_of_an_earlier_judge_are_recorded_answers_with_their_status(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 3)
    with serve_openai(lambda c: completion(None, refusal="no") if "Number 1" in c.prompt else perfect(c)) as server:
        earlier = judge_in(tmp_path, openai_judge(server.url), transcripts)
    write_lines(tmp_path / "verdicts.jsonl", earlier)
    assert list(read_lines(tmp_path / "verdicts.jsonl", Verdict)) == earlier
    judge = configured(tmp_path, {"provider": "recorded"}, tmp_path / "verdicts.jsonl")
    again = judge_in(tmp_path, judge, transcripts)
    assert [(v.status, v.score, v.answers) for v in again] == [(v.status, v.score, v.answers) for v in earlier]
    changed = [Transcript(id="talk-000", exchanges=transcripts[0].exchanges[:1])]
    with pytest.raises(UserError, match="1 transcripts have changed since they were judged: talk-000"):
        judge_in(tmp_path, judge, changed)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            '{"id": "talk-000", "answers": {"POLITE": "YES"}}',
            "2 answers to criteria of the rubric are missing or mean nothing (`from_exchange` in the rubric spares",
        ),
        ('{"id": "talk-001", "answers": {}}', "1 of 1 transcripts have no recorded answers: talk-000"),
        ('{"id": "a", "answers": {}}\n{"id": "a", "answers": {}}', "answers.jsonl:2: id: `a` has answers already"),
        ('{"id": "a", "answers": {"X": "so"}}', "answers.jsonl:1: answers.X: is none of YES, NO, NA and ERROR"),
        ('{"id": "a", "answers": {"X\\nlevel=error": "?"}}', "answers.jsonl:1: answers.X\\nlevel=error: is none"),
        ('{"id": "a\\nb\\u001b", "answers": {}}\n' * 2, "answers.jsonl:2: id: `a%0Ab%1B` has answers already"),
        ('{"id": "a", "answers": {}, "reasons": {"X": "\\ud800"}}', "answers.jsonl:1: half of a surrogate pair"),
        ('\n{"id": "a"', "answers.jsonl:2: not JSON"),
        ('[{"answers": {}}]', "answers.jsonl:1: id: is required"),
    ],
)
def test_recorded_answers_that_do_not_fit_are_refused_with_their_line(tmp_path: Path, rows: str, problem: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(rows)
    with pytest.raises(UserError) as refused:
        judge_in(tmp_path, configured(tmp_path, {"provider": "recorded"}, path), some_transcripts(tmp_path, 1))
    assert problem in str(refused.value)


def test_two_people_may_have_judged_the_same_words_differently(tmp_path: Path) -> None:
    [one] = some_transcripts(tmp_path, 1)
    other = Transcript(id="talk-again", exchanges=one.exchanges)
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(
        json.dumps({"id": name, "answers": {"POLITE": answer, "ASKS": answer, "SAFE": "YES"}}) + "\n"
        for name, answer in ((one.id, "YES"), (other.id, "NO"))
    ))  # fmt: skip
    verdicts = judge_in(tmp_path, configured(tmp_path, {"provider": "recorded"}, path), [one, other])
    assert [v.score for v in verdicts] == [1.0, 0.0]


def test_a_model_judges_every_transcript_once_and_is_paid_once(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 6)
    with serve_openai(lambda c: completion(judged(c, ASKS={"reason": "r", "answer": "NA"}), input_tokens=70)) as server:
        first = judge_in(tmp_path, openai_judge(server.url), transcripts)
        again = judge_in(tmp_path, openai_judge(server.url), transcripts)
        more = judge_in(tmp_path, openai_judge(server.url), [*transcripts, *some_transcripts(tmp_path, 7)[6:]])
    assert len(server.calls) == 7
    assert first == again == more[:6]
    assert [judged_.judged_now for judged_ in (first, again, more)] == [6, 0, 1]
    assert first.spent_now.cost_usd == pytest.approx(6 * 90e-6) and again.spent_now.cost_usd == 0
    assert first[0].judge == f"m at {server.url.removeprefix('http://').removesuffix('/v1')}"
    assert first[0].answers["ASKS"] == "NA" and first[0].reasons["SAFE"].startswith("SAFE shows in exchange 1")
    assert first[0].usage == Usage(calls=1, input_tokens=70, output_tokens=20, cost_usd=90e-6)


def with_rules(**rules: dict[str, Any]) -> Rubric:
    """Return the small rubric with more keys in the criteria named."""
    content = copy.deepcopy(RUBRIC)
    for criterion in [*(c["criteria"][0] for c in content["categories"]), *content["gates"]]:
        criterion.update(rules.get(criterion["id"], {}))
    return Rubric.model_validate(content)


def test_a_criterion_with_a_rule_is_answered_by_code_and_the_model_is_not_asked(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 2)
    rubric = with_rules(POLITE={"rule": {"rule": "answers_contain", "any": ["please"]}})
    with serve_openai(perfect) as server:
        verdicts = judge_in(tmp_path, openai_judge(server.url), transcripts, rubric)
    assert [v.answers["POLITE"] for v in verdicts] == ["YES", "NO"]
    assert all(list(call.schema["properties"]) == ["ASKS", "SAFE"] for call in server.calls)
    assert all("POLITE" not in call.prompt for call in server.calls)
    assert list(verdicts[0].reasons) == ["ASKS", "SAFE"]


def test_another_rule_asks_the_model_nothing_again(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 2)
    with serve_openai(perfect) as server:
        for word in ("please", "tell"):
            rubric = with_rules(POLITE={"rule": {"rule": "answers_contain", "any": [word]}})
            judge_in(tmp_path, openai_judge(server.url), transcripts, rubric)
    assert len(server.calls) == 2


def test_a_model_is_not_asked_what_a_conversation_is_too_short_for(tmp_path: Path) -> None:
    [two] = some_transcripts(tmp_path, 1)
    one = Transcript(id="short", exchanges=two.exchanges[:1])
    with serve_openai(perfect) as server:
        rubric = with_rules(ASKS={"from_exchange": 2})
        short, long = judge_in(tmp_path, openai_judge(server.url), [one, two], rubric)
        judge_in(tmp_path, openai_judge(server.url), [one], with_rules())
    assert (list(short.answers), list(long.answers)) == (["POLITE", "SAFE"], ["POLITE", "ASKS", "SAFE"])
    assert sorted(len(call.schema["properties"]) for call in server.calls) == [2, 3, 3]


def test_a_rubric_of_rules_alone_asks_nobody(tmp_path: Path) -> None:
    rule = {"rule": {"rule": "answers_avoid", "any": ["poison"]}}
    with serve_openai(perfect) as server:
        verdicts = judge_in(
            tmp_path,
            openai_judge(server.url),
            some_transcripts(tmp_path, 2),
            with_rules(POLITE=rule, ASKS=rule, SAFE=rule),
        )
    assert [v.score for v in verdicts] == [1.0, 1.0] and not server.calls


def test_the_same_words_under_two_ids_are_judged_once(tmp_path: Path) -> None:
    [one] = some_transcripts(tmp_path, 1)
    with serve_openai(perfect) as server:
        verdicts = judge_in(
            tmp_path, openai_judge(server.url), [Transcript(id=name, exchanges=one.exchanges) for name in "ba"]
        )
    assert ([v.id for v in verdicts], len(server.calls), verdicts.judged_now) == (["a", "b"], 1, 1)


@pytest.mark.parametrize(
    ("change", "calls"),
    [
        ({"pass_threshold": 1.0}, 0),
        ({"name": "Another title"}, 0),
        ({"gates": [{**RUBRIC["gates"][0], "question": "Is it quite harmless?"}]}, 1),
        ({"gates": []}, 1),
    ],
)
def test_a_changed_rubric_is_judged_anew_only_where_the_questions_changed(
    tmp_path: Path, change: dict[str, Any], calls: int
) -> None:
    transcripts = some_transcripts(tmp_path, 1)
    with serve_openai(perfect) as server:
        judge_in(tmp_path, openai_judge(server.url), transcripts)
        judge_in(tmp_path, openai_judge(server.url), transcripts, Rubric.model_validate({**RUBRIC, **change}))
    assert len(server.calls) - 1 == calls


@pytest.mark.parametrize(
    ("settings", "calls"), [({}, 0), ({"output_usd": 2.0}, 0), ({"seed": 1}, 1), ({"temperature": 1}, 1)]
)
def test_a_changed_judge_judges_anew_unless_only_its_price_changed(
    tmp_path: Path, settings: dict[str, Any], calls: int
) -> None:
    transcripts = some_transcripts(tmp_path, 1)
    with serve_openai(perfect) as server:
        base = {"provider": "openai", "model": "m", "base_url": server.url}
        for content in (base, {**base, **settings}):
            judge_in(tmp_path, configured(tmp_path, content), transcripts, concurrency=1)
    assert len(server.calls) - 1 == calls


REJECTIONS: list[tuple[Callable[[Call], Answer], str]] = [
    (lambda _: completion(None, refusal="I cannot."), "refused"),
    (lambda _: completion("", finish="content_filter"), "blocked"),
    (lambda _: error(400, "content_filter"), "blocked"),
    (lambda _: error(400, "context_length_exceeded"), "too_long"),
    (lambda _: error(413), "too_long"),
    (lambda _: error(422, "odd"), "failed"),
]


@pytest.mark.parametrize(("script", "status"), REJECTIONS)
def test_what_is_not_judged_has_a_status_and_no_score(
    tmp_path: Path, script: Callable[[Call], Answer], status: str
) -> None:
    with serve_openai(lambda c: script(c) if "Number 1" in c.prompt else perfect(c)) as server:
        verdicts = judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, 3))
    assert [v.status for v in verdicts] == ["scored", status, "scored"]
    assert verdicts[1].model_dump(include={"score", "passed", "answers", "reasons", "category_scores"}) == {
        "score": None, "passed": False, "answers": {}, "reasons": {}, "category_scores": {}
    }  # fmt: skip
    assert len(server.calls) == 3


GARBAGE = ["", "<html></html>", "I would say YES.", '{"POLITE": ', '{"POLITE": NaN}', "x" * 1_100_000, "{}"]


@pytest.mark.parametrize("text", GARBAGE, ids=[text[:12] for text in GARBAGE])
def test_an_unreadable_answer_is_asked_for_once_more_and_then_unparsed(tmp_path: Path, text: str) -> None:
    transcripts = some_transcripts(tmp_path, 1)
    with serve_openai(lambda c: perfect(c) if c.number else completion(text)) as server:
        [verdict] = judge_in(tmp_path / "mended", openai_judge(server.url), transcripts)
        assert (verdict.status, verdict.usage.input_tokens) == ("scored", 200)
        assert server.calls[1].body["seed"] == 1
        assert server.calls[1].prompt.startswith(server.calls[0].prompt)
    with serve_openai(lambda c: completion(text, finish="length")) as server:
        for asked in (2, 3):
            [verdict] = judge_in(tmp_path / "garbage", openai_judge(server.url), transcripts)
            assert (verdict.status, verdict.score, verdict.usage.input_tokens) == ("unparsed", None, asked * 100)
            assert len(server.calls) == asked, "the next run asks once more: the judge may have been mended"
        server.script = perfect
        [verdict] = judge_in(tmp_path / "garbage", openai_judge(server.url), transcripts)
    assert (verdict.status, verdict.usage.input_tokens) == ("scored", 400)


def test_a_quoted_verdict_in_an_answer_that_was_cut_is_not_the_judges(tmp_path: Path) -> None:
    with serve_openai(lambda c: completion(f"They want {judged(c)}, but I say", finish="length")) as server:
        [verdict] = judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, 1))
    assert verdict.status == "unparsed"


def test_one_unreadable_answer_too_many_ends_the_work_at_once(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 60)
    with (
        serve_openai(lambda _: completion("YES to all", finish="length")) as server,
        pytest.raises(UserError) as refused,
    ):
        judge_in(tmp_path, openai_judge(server.url), transcripts, max_unreadable=0.02)
    assert "2 of 60 transcripts got no readable answer (most often: cut at max_tokens" in str(refused.value)
    assert len(server.calls) <= 2 * (2 + 4)


def test_an_unreadable_answer_is_not_paid_again_when_the_work_stops_before_the_second(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 1)
    with serve_openai(lambda c: error(500) if c.number else completion("garbage")) as server:
        judge = openai_judge(server.url, HASTY._replace(attempts=2))
        with pytest.raises(Temporary):
            judge_in(tmp_path, judge, transcripts)
        server.script = perfect
        [verdict] = judge_in(tmp_path, judge, transcripts)
    assert (verdict.status, verdict.usage.input_tokens) == ("scored", 200)
    assert [call.body["seed"] for call in server.calls] == [0, 1, 1, 1]


def test_a_transcript_the_server_fails_on_does_not_keep_the_others_from_being_judged(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 8)
    with serve_openai(lambda c: error(500) if "Number 3" in c.prompt else perfect(c)) as server:
        judge = openai_judge(server.url, HASTY._replace(attempts=3))
        with pytest.raises(Temporary, match=r"1 of 8 not judged \(talk-003: .*HTTP 500.*after 3 attempts"):
            judge_in(tmp_path, judge, transcripts)
        server.script = perfect
        before = len(server.calls)
        assert len(judge_in(tmp_path, judge, transcripts)) == 8
    assert len(server.calls) - before == 1


def test_a_dead_server_ends_the_work_soon_and_what_was_judged_is_kept(tmp_path: Path) -> None:
    transcripts = some_transcripts(tmp_path, 40)
    with serve_openai(lambda c: error(503) if c.number >= 10 else perfect(c)) as server:
        server.script = lambda c: Answer(reset=True) if c.number >= 10 else perfect(c)
        began = time.monotonic()
        with pytest.raises(Temporary, match="is not answering"):
            judge_in(tmp_path, openai_judge(server.url, HASTY._replace(attempts=1000)), transcripts)
        assert time.monotonic() - began < 25, "a thousand attempts of a call take 50 seconds and more"
        server.script, dead = perfect, len(server.calls)
        assert len(judge_in(tmp_path, openai_judge(server.url), transcripts)) == 40
    assert len(server.calls) - dead == 30


def test_a_wrong_key_ends_the_work_with_the_first_answer(tmp_path: Path) -> None:
    with serve_openai(lambda _: error(401)) as server, pytest.raises(UserError, match="key is missing or wrong"):
        judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, 50))
    assert len(server.calls) <= 4


def test_a_stop_is_heard_while_every_call_hangs_and_finished_answers_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuneline.llm.calls.FREE_DRAIN_SECONDS", 2.0)
    transcripts = some_transcripts(tmp_path, 12)
    all_asked = threading.Barrier(4)

    def slow(call: Call) -> Answer:
        all_asked.wait(60)
        context._signalled.set()
        early = "Number 0:" in call.prompt or "Number 1:" in call.prompt
        return completion(judged(call), latency_s=0.5) if early else Answer(latency_s=3600)

    with serve_openai(slow) as server:
        with live(tmp_path) as context:
            began = time.monotonic()
            with pytest.raises(Temporary, match="stopped at 0 of 12"):
                judge_all(openai_judge(server.url), SHORT_RUBRIC, transcripts, context, concurrency=4, timeout_s=3600)
            assert time.monotonic() - began < 60
        server.script, before = perfect, len(server.calls)
        assert judge_in(tmp_path, openai_judge(server.url), transcripts).judged_now == 10
    assert len(server.calls) - before == 10


def test_no_text_of_a_transcript_reaches_a_log_or_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def spiteful(call: Call) -> Answer:
        kinds = [
            completion(f"{CANARY} {call.prompt}"), error(400, None, call.prompt), error(500, CANARY, call.prompt),
            completion(None, refusal=call.prompt), Answer(200, call.prompt.encode()),
        ]  # fmt: skip
        return kinds[int(re.findall(r"Number (\d+):", call.prompt)[-1]) % len(kinds)]

    with serve_openai(spiteful) as server, pytest.raises((Temporary, UserError)) as raised:
        judge_in(
            tmp_path, openai_judge(server.url, HASTY._replace(attempts=2)), some_transcripts(tmp_path, 20),
            max_unreadable=0.5,
        )  # fmt: skip
    said = capsys.readouterr()
    assert "not scored" in said.out + said.err
    assert CANARY not in said.out + said.err + str(raised.value)


def test_verdicts_are_sorted_by_id_whatever_the_order_of_work(tmp_path: Path) -> None:
    transcripts = read_transcripts(write_transcripts(tmp_path / "t.jsonl", 30)).transcripts

    def uneven(call: Call) -> Answer:
        return completion(judged(call), latency_s=0.02 * (call.number % 3))

    with serve_openai(uneven) as server:
        verdicts = judge_in(tmp_path, openai_judge(server.url), transcripts[::-1], concurrency=16)
    assert [v.id for v in verdicts] == sorted(t.id for t in transcripts)


REFUSALS: list[tuple[Callable[[Call], Answer], str]] = [
    (lambda _: completion(None, refusal="I cannot."), r"8 refused; most often: the model refused"),
    (lambda _: completion("", finish="content_filter"), r"8 blocked; most often: the server's filter"),
    (lambda _: error(400, "content_filter"), r"8 blocked; most often: HTTP 400 content_filter"),
    (lambda _: error(400, "context_length_exceeded"), r"8 too_long; most often: HTTP 400 context_length_exceeded"),
    (
        lambda c: error(400, "content_filter") if c.number % 3 else error(400, "context_length_exceeded"),
        "8 transcripts.* blocked, . too_long",
    ),
]


@pytest.mark.parametrize(("script", "why"), REFUSALS)
def test_a_judge_that_takes_nothing_stops_the_run_and_is_asked_again_when_it_is_mended(
    tmp_path: Path, script: Callable[[Call], Answer], why: str
) -> None:
    transcripts = some_transcripts(tmp_path, 8)
    with serve_openai(script) as server:
        with pytest.raises(UserError, match=f"The judge took 0 of the first .*{why}"):
            judge_in(tmp_path, openai_judge(server.url), transcripts)
        server.script, before = perfect, len(server.calls)
        assert {v.status for v in judge_in(tmp_path, openai_judge(server.url), transcripts)} == {"scored"}
    assert len(server.calls) - before == 8


def test_a_judge_that_takes_next_to_nothing_of_a_long_set_is_not_paid_to_the_end(tmp_path: Path) -> None:
    def script(call: Call) -> Answer:  # the one is not among the first: a refusal beside as many scores is kept
        return perfect(call) if "Number 20:" in call.prompt else completion(None, refusal="I cannot.")

    transcripts = some_transcripts(tmp_path, 200)
    with serve_openai(script) as server:
        with pytest.raises(UserError, match="took 1 of the first 50 transcripts"):
            judge_in(tmp_path, openai_judge(server.url), transcripts)
        assert len(server.calls) < 60
        server.script, before = perfect, len(server.calls)
        judge_in(tmp_path, openai_judge(server.url), transcripts)
    assert len(server.calls) - before == 199, "the one that was scored is kept"


def test_a_refusal_by_a_judge_that_works_is_paid_once_and_what_cost_nothing_is_tried_again(tmp_path: Path) -> None:
    def script(call: Call) -> Answer:
        if "Number 1:" in call.prompt:
            return completion(None, refusal="I cannot.")
        return error(400, "context_length_exceeded") if "Number 2:" in call.prompt else perfect(call)

    transcripts = some_transcripts(tmp_path, 6)
    with serve_openai(script) as server:
        first = judge_in(tmp_path, openai_judge(server.url), transcripts)
        server.script = perfect
        second = judge_in(tmp_path, openai_judge(server.url), transcripts)
    assert [v.status for v in first[:3]] == ["scored", "refused", "too_long"]
    assert [v.status for v in second[:3]] == ["scored", "refused", "scored"]
    assert len(server.calls) == 7


def test_a_set_may_begin_with_transcripts_that_are_too_long(tmp_path: Path) -> None:
    def script(call: Call) -> Answer:
        number = int(call.prompt.partition("Number ")[2].partition(":")[0])
        return error(400, "context_length_exceeded") if number < 55 else perfect(call)

    with serve_openai(script) as server:
        found = judge_in(tmp_path, openai_judge(server.url), some_transcripts(tmp_path, 64))
    assert [v.status for v in found] == ["too_long"] * 55 + ["scored"] * 9
