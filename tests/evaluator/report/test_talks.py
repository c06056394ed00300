from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from kit.browser import open_browser
from kit.comparisons import comparison, conversations, met_of, preferred
from kit.pages import Page, reported
from kit.talking import Told, judged, judged_by_two, page_of, rubric
from tuneline.data.conversations import AnswerFacts
from tuneline.data.text.talks import TalkPage, write_talks
from tuneline_evaluator.comparison.scores import JudgedConversation
from tuneline_evaluator.report.tables import arm_rows
from tuneline_evaluator.report.talks import LEADS, leads, talk_page

LOOP = "You have to clean it. " * 40
HOSTILE = (
    "</script><script>document.title='taken'</script><img src=https://evil.example/x onerror=alert(1)> {{ 7 * 7 }} "
    "{% raw %} ${7*7} <!-- \u202egnp.exe\u2066 \x00\x1b[31m \u05e9\u05dc\u05d5\u05dd 👩‍👩‍👧‍👦 &amp; \"' "
    + "Donaudampf"
    * 300
)


def facts_in(page: Page) -> list[dict[str, object]]:
    return [json.loads(a["data-facts"] or "") for _, a in page.tags if "data-facts" in a]


def written(folder: Path, page: TalkPage) -> str:
    write_talks(folder / "conversations.html", page)
    return (folder / "conversations.html").read_text(encoding="utf-8")


def test_every_conversation_stands_there_with_the_judges_answers_and_reasons(tmp_path: Path) -> None:
    page = Page(written(tmp_path, page_of(6)[1]))
    rows = facts_in(page)
    assert len(rows) == 12 and {row["arm"] for row in rows} == {"base", "finetuned"}
    [failed] = [row for row in rows if "NO" in dict(row["answers"]).values()]  # type: ignore[call-overload]
    assert failed["open"] == "persona-00/0/base" and not failed["passed"]
    assert "LI2: it says so in its second answer." in page.text and "puddle of water on the worktop" in page.text
    [base] = [row for row in rows if row["open"] == "persona-00/0/base"]
    assert base["differs"] == {"judges": [], "models": ["LI2"]}


def test_what_code_sees_is_flagged_in_the_message_and_of_the_conversation(tmp_path: Path) -> None:
    made = comparison(1)
    base, tuned = conversations(made, answers=LOOP)
    cut = AnswerFacts(finish_reason="length", prompt_tokens=1, evaluated_tokens=1, answer_tokens=9)
    strange = conversations(made, says="As an AI language model I have no coffee machine.", answers="Gut.")[0]
    items = [
        judged(base.model_copy(update={"answers": [cut, *base.answers[1:]]})), judged(tuned, status="refused"),
        JudgedConversation(strange.model_copy(update={"id": "c", "arm": "other", "status": "empty"}), None),
    ]  # fmt: skip
    page = Page(written(tmp_path, talk_page(made, items, None, rubric())))
    assert [row["flag"] for row in facts_in(page)] == [["loops", "cut"], ["loops", "refused"], ["role", "empty"]]
    assert [row["status"] for row in facts_in(page)] == ["scored", "refused", "empty"]
    assert "left its role in message 1, 2, 3, 4" in page.text and "stayed in its role" in page.text


def test_two_judges_that_differ_are_both_shown(tmp_path: Path) -> None:
    made = comparison(1)
    items = [judged_by_two(conversations(made)[0], "GU1")]
    page = Page(written(tmp_path, talk_page(made, items, None, rubric())))
    assert facts_in(page)[0]["differs"] == {"judges": ["GU1"], "models": []}
    assert "house : YES" in page.text and "other : NO" in page.text


def test_of_prompts_the_preference_in_both_orders_is_there(tmp_path: Path) -> None:
    made = preferred(comparison(2), 1, 1, 0)
    met = [met_of("prompt-000", "win", 3), met_of("prompt-001", "loss", 3)]
    items = [judged(talk) for pair in met for talk in (pair.base, pair.finetuned)]
    page = Page(written(tmp_path, talk_page(made, items, met, rubric())))
    assert sorted(str(row["preferred"]) for row in facts_in(page)) == ["loss", "loss", "win", "win"]
    assert "Asked with the base model first: Prefers the fine-tuned model. It names the float." in page.text


def test_report_and_page_link_to_each_other_by_places_that_exist(tmp_path: Path) -> None:
    made, page = page_of(6)
    report, view = Page(reported(tmp_path, made)[0]), Page(written(tmp_path, page))
    hrefs = [a["href"] or "" for _, a in report.tags if (a.get("href") or "").startswith("conversations.html#")]
    asked = [dict(parse_qsl(href.partition("#")[2])) for href in hrefs]
    groups = {str(row["group"]) for row in facts_in(view)}
    dots = [place for place in asked if "group" in place]
    assert {place["group"] for place in dots} == groups and len(dots) >= 2 * len(groups), "a dot and a row for each"
    criteria = {place["criterion"] for place in asked if "criterion" in place}
    assert {*(row.id for row in made.criteria), *(gate.id for gate in made.safety)} <= criteria
    ids = {a["id"] for _, a in report.tags if "id" in a}
    back = {href for _, a in view.tags if (href := a.get("href") or "").startswith("report.html#")}
    assert back and {href.partition("#")[2] for href in back} <= ids


def test_rows_that_count_lead_to_what_they_count(tmp_path: Path) -> None:
    made = comparison(3)
    report = Page(reported(tmp_path, made)[0])
    names = {*(row[0] for row in arm_rows(made)), *(gap.name for gap in [*made.gaps, *made.faults])}
    assert LEADS.keys() <= names, "a row was renamed"
    hrefs = {a["href"] for _, a in report.tags if "href" in a}
    assert {leads(name) for name in LEADS} <= hrefs and "conversations.html#flag=loops" in hrefs


def test_the_policy_lets_this_script_run_and_no_other(tmp_path: Path) -> None:
    html = written(tmp_path, page_of(6, Told(name=HOSTILE, says=HOSTILE, answers=HOSTILE, reason=HOSTILE))[1])
    page = Page(html)
    [script] = re.findall(r"<script>(.*?)</script>", html, re.S)
    [style] = re.findall(r"<style>(.*?)</style>", html, re.S)
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 1
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.tags for name in attributes)
    assert not {"img", "iframe", "form", "link", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", html)


def test_of_very_many_the_ends_are_kept_and_the_rest_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuneline_evaluator.report.talks.MOST_TALKS", 8)
    page = page_of(12)[1]
    assert len(page.talks) == 8 and page.hidden == 16
    assert "16 more conversations are left out here" in Page(written(tmp_path, page)).text


@pytest.mark.slow
def test_in_a_browser_two_clicks_lead_from_the_verdict_to_a_sentence_of_the_judge(tmp_path: Path) -> None:
    made, page = page_of(6)
    reported(tmp_path, made)
    written(tmp_path, page)
    with open_browser(tmp_path) as browser:
        browser.open((tmp_path / "report.html").as_uri())
        browser.click('#criteria a[href*="criterion=LI2"]')
        browser.wait("location.pathname.endsWith('/conversations.html') && document.readyState === 'complete'")
        assert browser.run("document.getElementById('count').textContent") == "1 of 12 conversations"
        assert browser.run("document.querySelector('.talk:not([hidden]) .why').innerText") == (
            "LI2 NO: LI2: it says so in its second answer."
        )
        browser.click(".talk:not([hidden]) summary")
        assert browser.run("document.querySelector('.talk[open] tr.hit .reason').innerText")
        browser.click(".talk[open] a[href*='report.html#persona']")
        browser.wait("location.pathname.endsWith('/report.html') && document.querySelector(':target') !== null")
        assert browser.run("document.querySelector(':target').innerText").startswith("The tidy host")
        browser.click("svg a")
        browser.wait("location.pathname.endsWith('/conversations.html') && document.readyState === 'complete'")
        assert browser.run("document.getElementById('count').textContent") == "2 of 12 conversations"
        assert not browser.told and {url.partition(":")[0] for url in browser.asked} == {"file"}


@pytest.mark.slow
def test_in_a_browser_filters_links_and_the_way_back_agree(tmp_path: Path) -> None:
    written(tmp_path, page_of(6)[1])
    place = (tmp_path / "conversations.html").as_uri()
    with open_browser(tmp_path) as browser:
        browser.open(f"{place}#open=persona-03%2F0%2Ffinetuned")
        assert browser.run("document.querySelectorAll('.talk:not([hidden])[open]').length") == 1
        browser.open(place)
        for name, value, count in (
            ("arm", "base", 6), ("group", "persona-00", 1), ("answer", "NO", 1), ("criterion", "GU1", 0),
            ("answer", "", 1), ("arm", "", 2), ("group", "", 12), ("criterion", "category:listening", 12),
            ("differs", "models", 2), ("status", "passed", 1),
        ):  # fmt: skip
            browser.choose(name, value)
            shown = browser.run("document.getElementById('count').textContent")
            assert shown == f"{count} of 12 conversations", (name, value)
        browser.run("history.back()")
        browser.wait("document.getElementById('count').textContent === '2 of 12 conversations'")
        assert browser.run("document.querySelector('select[name=status]').value") == ""
        browser.click("#clear")
        browser.wait("document.getElementById('count').textContent === '12 of 12 conversations'")


@pytest.mark.slow
def test_on_a_phone_a_table_is_pushed_and_what_it_is_about_stays_in_sight(tmp_path: Path) -> None:
    reported(tmp_path, comparison(6))
    with open_browser(tmp_path) as browser:
        browser.open((tmp_path / "report.html").as_uri(), width=390)
        browser.run("document.querySelectorAll('.scroll').forEach(e => e.scrollLeft = 150)")
        pushed = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollLeft > 100)"
        assert browser.run(f"{pushed}.length") >= 3, "the tables of gates and losses are wider than a phone"
        inside = "c => c.getBoundingClientRect().left >= 0 && c.getBoundingClientRect().right <= 390"
        assert browser.run(f"{pushed}.flatMap(e => [...e.querySelectorAll('caption')]).every({inside})")
        assert browser.run("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_in_a_browser_hostile_texts_are_seen_and_never_obeyed(tmp_path: Path) -> None:
    told = Told(name=HOSTILE[:200], says=HOSTILE, answers=HOSTILE + "x" * 1_000_000, reason=HOSTILE)
    made, page = page_of(2, told)
    reported(tmp_path, made)
    written(tmp_path, page)
    with open_browser(tmp_path) as browser:
        browser.open((tmp_path / "report.html").as_uri(), width=390)
        browser.click("tbody th a[href*=group]")
        browser.wait("location.pathname.endsWith('/conversations.html') && document.readyState === 'complete'")
        assert browser.run("document.getElementById('count').textContent") == "2 of 4 conversations"
        browser.click(".talk:not([hidden]) summary")
        assert browser.run("document.title") == "Every conversation, and what the judge said"
        assert browser.run("document.documentElement.scrollWidth") <= 390
        assert not browser.told and {url.partition(":")[0] for url in browser.asked} == {"file"}


@pytest.mark.slow
def test_in_a_browser_a_thousand_conversations_are_there_in_two_seconds(tmp_path: Path) -> None:
    written(tmp_path, page_of(500, Told(answers="A long answer about the drip tray. " * 40))[1])
    with open_browser(tmp_path) as browser:
        browser.open((tmp_path / "conversations.html").as_uri() + "#criterion=LI2&answer=NO")
        browser.wait("document.getElementById('count')?.textContent === '1 of 1000 conversations'")
        opened = browser.worked_s
        assert 0 < opened < 2
        browser.choose("answer", "YES")
        browser.wait("document.getElementById('count').textContent === '999 of 1000 conversations'")
        assert browser.worked_s - opened < 1
