from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from kit.comparisons import SLICES, comparison, conversations, material
from kit.pages import Page, drawings_of, reported, written
from tuneline.data.io import write_record
from tuneline.data.judged import Generated
from tuneline.data.slices import GeneratedCount
from tuneline.errors import UserError
from tuneline_evaluator.comparison.effects import RateGap
from tuneline_evaluator.comparison.figures import Comparison

HOSTILE = (
    '</div></style><script>alert(1)</script><img src="https://evil.example/x" onerror=alert(1)> {{ 7 * 7 }} `code` '
    "\u202egnp.exe\u2066 \x00\x1b[31m | [link](https://evil.example) @team " + "Donaudampfschifffahrt" * 40
)

LOST = RateGap(name=HOSTILE, base=0, of_base=9, finetuned=9, of_finetuned=9, fisher_p=0.001, differs=True)


def hostile(made: Comparison) -> Comparison:
    return made.model_copy(
        update={
            "personas": [row.model_copy(update={"name": HOSTILE}) for row in made.personas],
            "categories": [row.model_copy(update={"text": HOSTILE}) for row in made.categories],
            "criteria": [row.model_copy(update={"text": HOSTILE}) for row in made.criteria],
            "safety": [row.model_copy(update={"text": HOSTILE, "id": HOSTILE}) for row in made.safety],
            "arms": [arm.model_copy(update={"base_model": HOSTILE, "file": HOSTILE}) for arm in made.arms],
            "gaps": [LOST],
            "lineage": {port: row.model_copy(update={"uri": HOSTILE}) for port, row in made.lineage.items()},
            "rubric": HOSTILE,
            "judge": HOSTILE, "simulator": HOSTILE, "notes": [HOSTILE], "explanation": HOSTILE, "unequal": [HOSTILE],
            "fingerprint": HOSTILE,
        }
    )  # fmt: skip


def test_hostile_text_is_shown_and_never_obeyed(tmp_path: Path) -> None:
    calm = Page(reported(tmp_path, comparison(unequal=("x",)))[0])
    html, summary = reported(tmp_path, hostile(comparison(unequal=("x",))), said=HOSTILE)
    page = Page(html)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in calm.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "<script>alert(1)</script>" in page.text and "{{ 7 * 7 }}" in page.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", html)
    assert not re.search("<[a-z/]", summary) and not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", summary
    )
    assert not re.search(r"(?<!\\)\[(?!report|comparison)", summary)


def test_a_text_that_would_turn_the_line_around_is_isolated(tmp_path: Path) -> None:
    html, _ = reported(tmp_path, hostile(comparison()), said=HOSTILE)
    for element in re.findall(r"<(\w+)[^>]*>[^<]*\u202e", html):
        assert element in {"title", "p", "div", "td", "th", "dd", "bdi", "code"}, (
            "an inline element would pass the turn on"
        )
    assert "code { unicode-bidi: isolate; }" in html
    assert re.search(r'<div class="said" dir="auto">[^<]*\u202e', html)


@pytest.mark.parametrize("made", [comparison(), comparison(20, refused=7), comparison(1, heuristic=True)])
def test_the_page_runs_nothing_and_loads_nothing(made: Comparison, tmp_path: Path) -> None:
    html, _ = reported(tmp_path, made)
    page = Page(html)
    assert "<script" not in html.lower() and "@import" not in html and "url(" not in html
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    loading = {"src", "srcset", "data", "action", "poster", "background"}
    assert not [a for _, a in page.tags if loading & a.keys()]
    anchors = [a["href"] or "" for _, a in page.tags if "href" in a]
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert anchors and all(a.startswith("conversations.html") or (a[0] == "#" and a[1:] in ids) for a in anchors)
    assert len(ids) == len([a for _, a in page.tags if "id" in a])


@pytest.mark.parametrize("personas", [1, 2, 5, 60])
def test_any_number_of_personas_gives_a_sound_page(personas: int, tmp_path: Path) -> None:
    html, _ = reported(tmp_path, comparison(personas, 0.05, 0.15), steps=5000)
    drawings = drawings_of(html)
    assert len(drawings) > personas
    for drawing in drawings:
        ET.fromstring(drawing)
    text = Page(html).text
    assert not re.search(r"\b(nan|NaN|inf|None|Undefined)\b", text)
    assert len(html.encode()) < 200_000


def test_without_earlier_stages_the_page_says_what_is_missing(tmp_path: Path) -> None:
    text = Page(reported(tmp_path, comparison(), earlier=False)[0]).text
    assert "did not assess or slice transcripts itself" in text and "did not train it" in text
    assert "top1 agreement ✓ passed" in text


def test_each_file_of_earlier_stages_may_be_missing_alone(tmp_path: Path) -> None:
    made, whole = comparison(), material(tmp_path)
    for part, words in (
        ("assessed", "Read 41"),
        ("slices_stats", "Passed the rubric 35"),
        ("training", "in 102 steps"),
        ("training_metrics", "The run left no loss by step."),
    ):
        inputs = whole.model_copy(update={part: None})
        assert words in Page(written(tmp_path, made, conversations(made), inputs)[0]).text


def test_what_a_model_wrote_of_the_training_set_is_told_as_that(tmp_path: Path) -> None:
    made, inputs = comparison(), material(tmp_path)
    assert inputs.slices_stats and "Generated data" not in Page(reported(tmp_path, made)[0]).text
    how = Generated(recipe="instructions", looked="critic", critic_auc=0.81)
    stats = SLICES.model_copy(update={"generated": [GeneratedCount(how=how, transcripts=17)]})
    write_record(inputs.slices_stats, stats)
    text = Page(written(tmp_path, made, conversations(made), inputs)[0]).text
    assert "17 (50 %) were written by a model: recipe instructions, a critic chose them with AUC 0.81." in text


def test_no_scored_conversation_at_all_still_gives_a_page(tmp_path: Path) -> None:
    made = comparison(6)
    rows = [row.model_copy(update={"base_mean": None, "difference": None, "base_trials": 0}) for row in made.personas]
    nothing = dict.fromkeys(type(made.score).model_fields) | {"personas": 0, "unit": "persona"}
    made = made.model_copy(
        update={
            "personas": rows,
            "examples": [],
            "score": made.score.model_copy(update=nothing),
            "outcome": "inconclusive",
        }
    )
    text = Page(reported(tmp_path, made)[0]).text
    assert "No persona has a scored conversation in both arms." in text
    assert "No persona has a scored conversation with both models." in text


def test_the_same_comparison_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    made = comparison()
    again = Comparison.model_validate_json(made.model_dump_json())
    assert reported(tmp_path / "a", made) == reported(tmp_path / "b", again)


def test_light_and_dark_define_the_same_colours(tmp_path: Path) -> None:
    html, _ = reported(tmp_path, comparison())
    light, dark, paper = (set(re.findall(r"(--\w+):", block)) for block in re.findall(r":root \{(.*?)\}", html, re.S))
    assert light == dark == paper
    assert set(re.findall(r"var\((--\w+)\)", html)) <= light
    assert "@media (prefers-color-scheme: dark)" in html and "@media print" in html


def test_text_has_enough_contrast_in_light_and_dark(tmp_path: Path) -> None:
    html, _ = reported(tmp_path, comparison())
    for block in re.findall(r":root \{(.*?)\}", html, re.S):
        colours = dict(re.findall(r"--(\w+): (#\w+)", block))
        for name in ("ink", "soft", "base", "finetuned", "good", "bad", "unsure", "held"):
            for ground in ("paper", "wash"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_tables_have_captions_or_titles_and_scoped_headers(tmp_path: Path) -> None:
    page = Page(reported(tmp_path, comparison())[0])
    heads = [attributes for tag, attributes in page.tags if tag == "th"]
    assert heads and all(head.get("scope") in {"col", "row"} for head in heads)


def test_a_file_that_its_stage_did_not_write_is_named_without_its_text(tmp_path: Path) -> None:
    made, part = comparison(), material(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": "canary-text"}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.jsonl:1: step: int parsing") as error:
        written(tmp_path, made, conversations(made), part)
    assert "canary" not in str(error.value)
