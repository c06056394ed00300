from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from comparisons import SETTINGS, comparison, conversations, material
from tuneline.stage import UserError
from tuneline_evaluator import numbers
from tuneline_evaluator.comparison import Comparison, RateGap
from tuneline_evaluator.report import write_report

VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = (
    '</div></style><script>alert(1)</script><img src="https://evil.example/x" onerror=alert(1)> {{ 7 * 7 }} `code` '
    "\u202egnp.exe\u2066 \x00\x1b[31m | [link](https://evil.example) @team " + "Donaudampfschifffahrt" * 40
)


class Page(HTMLParser):
    """Checks that every tag is closed in order, and collects tags, attributes and the text that is shown."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


def drawings_of(html: str) -> list[str]:
    """Return every outermost <svg> element."""
    found, depth, start = [], 0, 0
    for tag in re.finditer(r"<svg|</svg>", html):
        if depth == 0:
            start = tag.start()
        depth += 1 if tag.group() == "<svg" else -1
        if depth == 0:
            found.append(html[start : tag.end()])
    return found


def reported(
    folder: Path, of: Comparison, *, earlier: bool = True, steps: int = 102, said: str = ""
) -> tuple[str, str]:
    report, summary = folder / "report.html", folder / "summary.md"
    made = material(folder, earlier=earlier, steps=steps)
    write_report(report, summary, of, conversations(of, said, said), made)
    return report.read_text(encoding="utf-8"), summary.read_text(encoding="utf-8")


STATES = {
    "better": comparison(30, 0.08),
    "not worse": comparison(40, 0.01, 0.06),
    "worse": comparison(30, -0.07),
    "inconclusive": comparison(12, -0.05, 0.12),
    "withheld": comparison(20, refused=7),
}
FIRST_WORDS = {
    "better": ("The fine-tuned model is better than its base.", "Ship."),
    "not worse": ("The fine-tuned model is not worse than its base.", "Ship only for another reason."),
    "worse": ("The fine-tuned model is worse than its base.", "Do not ship."),
    "inconclusive": ("This comparison cannot tell the two models apart.", "Collect more."),
    "withheld": ("No verdict: the two arms did not lose the same share of conversations.", "Do not decide on this."),
}


@pytest.mark.parametrize("outcome", STATES)
def test_the_verdict_and_what_to_do_come_first(outcome: str, tmp_path: Path) -> None:
    made = STATES[outcome]
    assert made.outcome == outcome
    html, summary = reported(tmp_path, made)
    sentence, action = FIRST_WORDS[outcome]
    first = Page(html).text.split("How we know")[0]
    assert sentence in first and action in first
    assert sentence in summary.splitlines()[0] and action in summary


@pytest.mark.parametrize("outcome", ["better", "not worse", "worse", "inconclusive"])
def test_the_first_screen_has_difference_interval_and_p(outcome: str, tmp_path: Path) -> None:
    score = STATES[outcome].score
    assert score.interval is not None
    first = Page(reported(tmp_path, STATES[outcome])[0]).text.split("Where they differ")[0]
    for figure in (
        f"{numbers.signed(score.mean_difference)} points of 100 on average over {score.personas} personas",
        f"95 % interval {numbers.signed(score.interval.low)} to {numbers.signed(score.interval.high)}",
        numbers.p_equals(score.sign_flip_p),
        f"±{numbers.points(score.detectable)}",
    ):
        assert figure.replace(numbers.SPACE, " ") in first


def test_a_withheld_headline_shows_what_was_lost_and_no_difference(tmp_path: Path) -> None:
    made = STATES["withheld"]
    html, summary = reported(tmp_path, made)
    first = Page(html).text.split("How we know")[0]
    assert "The headline is withheld." in first and "refused or blocked by the judge" in first
    assert "20 of 20 conversations with the base, 13 of 20 with the fine-tuned model" in first
    assert numbers.signed(made.score.mean_difference) not in first
    assert "withheld" in summary.lower()


def test_a_demonstration_says_so_before_the_verdict_and_never_says_ship(tmp_path: Path) -> None:
    html, summary = reported(tmp_path, comparison(heuristic=True))
    text = Page(html).text
    assert text.index("Demonstration.") < text.index("is better than its base")
    assert "By the demonstration’s rules: the fine-tuned model is better" in text
    assert "Ship" not in text.split("How we know")[0]
    assert "Demonstration" in summary and "**Do not decide on this.**" in summary


def test_unequal_arms_are_named_before_the_verdict(tmp_path: Path) -> None:
    html, summary = reported(tmp_path, comparison(unequal=("file_type: Q5_K_M (base) and Q4_K_M (finetuned)",)))
    text = Page(html).text
    assert text.index("The arms are not equal.") < text.index("is better than its base")
    assert "✗ differs" in text and "Q5_K_M" in text
    assert "Q5\\_K\\_M" in summary


def test_a_broken_gate_is_the_headline_whatever_the_score(tmp_path: Path) -> None:
    made = comparison(30, gates_lost=12)
    text = Page(reported(tmp_path, made)[0]).text
    assert made.outcome == "worse" and (made.score.mean_difference or 0) > 0
    assert "breaks a safety criterion" in text and "a safety criterion got worse: SA1." in text
    assert "✗ broken" in text


def test_a_gate_that_is_not_shown_to_hold_makes_shipping_careful(tmp_path: Path) -> None:
    text = Page(reported(tmp_path, comparison(16))[0]).text
    assert "Ship, with care." in text and "That safety held is not shown for SA1, SA2." in text


@pytest.mark.parametrize("outcome", STATES)
def test_every_figure_of_the_comparison_is_on_the_page(outcome: str, tmp_path: Path) -> None:
    made = STATES[outcome]
    text = Page(reported(tmp_path, made)[0]).text
    means = [(row.base_mean, row.finetuned_mean, row.difference) for row in made.personas]
    means += [(row.base_mean, row.finetuned_mean, row.difference) for row in (*made.categories, *made.criteria)]
    for base, finetuned, difference in means:
        assert f"{numbers.points(base)} {numbers.points(finetuned)}" in text
        assert numbers.signed(difference) in text
    for group in (*made.categories, *made.criteria):
        assert numbers.p_value(group.p_holm).replace(numbers.SPACE, " ") in text
    for gate in made.safety:
        assert f"{numbers.signed(gate.bound)} {numbers.signed(-gate.margin)}" in text
    for gap in made.gaps:
        assert gap.name.capitalize() in text and numbers.p_value(gap.fisher_p).replace(numbers.SPACE, " ") in text
    score = made.score
    assert score.leave_one_out is not None and score.t is not None and score.d_z is not None
    for figure in (numbers.interval(score.leave_one_out), f"{score.t:.2f}", f"{score.d_z:.2f}"):
        assert figure.replace(numbers.SPACE, " ").replace("-", numbers.MINUS).rstrip("0") in text


def test_the_way_of_the_data_the_training_and_the_conversion_are_told(tmp_path: Path) -> None:
    text = Page(reported(tmp_path, comparison())[0]).text
    for words in (
        "Judged 41", "Scored 40", "refused: 1", "Passed the rubric 35", "below the threshold: 3",
        "failed a gate (SA1 2): 2", "Gave slices 34", "fewer exchanges than min_context: 1", "Cut 301", "Kept 297",
        "longer than the token limit: 4", "For training 268", "of 30 transcripts", "For validation 29", "61, by 402",
        "1,402,331", "in 102 steps", "settings · lora · rank", "top1 agreement ✓ passed", "0.9241 (at least 0.8)",
        "Gemma-2-9B-it-support-v1-Q4_K_M.gguf", "5.76 GB", "ab12ab12ab12ab12", "the run file itself",
        "gguf-converter@base 7c7c7c7c7c7c", "s3://team/rubric.yaml", "1b1b1b1b1b1b1b1b", "Temperature 0.7",
    ):  # fmt: skip
        assert words in text, words


def test_the_median_persona_is_shown_open_and_the_rule_is_named(tmp_path: Path) -> None:
    made = comparison(5)
    html, _ = reported(tmp_path, made)
    page = Page(html)
    median = next(e for e in made.examples if e.label == "median")
    name = next(row.name for row in made.personas if row.id == median.persona)
    assert f"{name} : the middle of all differences" in page.text
    opened = [attributes for tag, attributes in page.tags if tag == "details" and "open" in attributes]
    assert len(opened) == 1
    assert page.text.count("There is a puddle of water on the worktop") == len(made.examples)


def test_a_conversation_that_ended_early_says_why(tmp_path: Path) -> None:
    made = comparison(6)
    median = next(e for e in made.examples if e.label == "median")
    talks = conversations(made)
    talks = [
        talk.model_copy(update={"messages": talk.messages[:3], "status": "overflow"})
        if talk.id == median.base_id
        else talk
        for talk in talks
    ]
    write_report(tmp_path / "r.html", tmp_path / "s.md", made, [*talks.values()], material(tmp_path))
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "The conversation with the base had ended." in text
    assert "The conversation with the base ended early: the next answer would not fit the context." in text


def hostile(made: Comparison) -> Comparison:
    return made.model_copy(
        update={
            "personas": [row.model_copy(update={"name": HOSTILE}) for row in made.personas],
            "categories": [row.model_copy(update={"text": HOSTILE}) for row in made.categories],
            "criteria": [row.model_copy(update={"text": HOSTILE}) for row in made.criteria],
            "safety": [row.model_copy(update={"text": HOSTILE, "id": HOSTILE}) for row in made.safety],
            "arms": [arm.model_copy(update={"base_model": HOSTILE, "file": HOSTILE}) for arm in made.arms],
            "gaps": [RateGap(name=HOSTILE, base=0, finetuned=9, fisher_p=0.001, differs=True)],
            "lineage": {port: row.model_copy(update={"uri": HOSTILE}) for port, row in made.lineage.items()},
            "settings": SETTINGS.model_copy(update={"rubric": HOSTILE}),
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
    assert "<" not in summary and not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", summary)
    assert not re.search(r"(?<!\\)\[(?!report|comparison)", summary)


def test_a_text_that_would_turn_the_line_around_is_isolated(tmp_path: Path) -> None:
    html, _ = reported(tmp_path, hostile(comparison()), said=HOSTILE)
    for element in re.findall(r"<(\w+)[^>]*>[^<]*\u202e", html):
        assert element in {"bdi", "div", "td", "dd", "p", "span", "b", "code", "title", "th"}
    assert re.search(r'<div class="said" dir="auto">[^<]*\u202e', html)


@pytest.mark.parametrize("outcome", STATES)
def test_the_page_runs_nothing_and_loads_nothing(outcome: str, tmp_path: Path) -> None:
    html, _ = reported(tmp_path, STATES[outcome])
    page = Page(html)
    assert "<script" not in html.lower() and "@import" not in html and "url(" not in html
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    loading = {"src", "srcset", "data", "action", "poster", "background"}
    assert not [a for _, a in page.tags if loading & a.keys()]
    anchors = [a["href"] or "" for _, a in page.tags if "href" in a]
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert anchors and all(anchor[0] == "#" and anchor[1:] in ids for anchor in anchors)
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
        (whole._replace(assessed=None), "Read 41"),
        (whole._replace(slices_stats=None), "Passed the rubric 35"),
        (whole._replace(training=None), "in 102 steps"),
        (whole._replace(training_metrics=None), "The run left no loss by step."),
    ):
        write_report(tmp_path / "r.html", tmp_path / "s.md", made, conversations(made), part)
        assert words in Page((tmp_path / "r.html").read_text(encoding="utf-8")).text


def test_no_scored_conversation_at_all_still_gives_a_page(tmp_path: Path) -> None:
    made = comparison(6)
    rows = [row.model_copy(update={"base_mean": None, "difference": None, "base_trials": 0}) for row in made.personas]
    nothing = dict.fromkeys(type(made.score).model_fields) | {"personas": 0}
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
    with pytest.raises(UserError, match=r"metrics\.jsonl: step: float_parsing") as error:
        write_report(tmp_path / "r.html", tmp_path / "s.md", made, conversations(made), part)
    assert "canary" not in str(error.value)


def test_the_summary_is_short_and_has_the_figures(tmp_path: Path) -> None:
    made = STATES["better"]
    _, summary = reported(tmp_path, made)
    assert len(summary.splitlines()) < 30
    rows = [line for line in summary.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {5}
    assert f"| Mean score of 100 | {numbers.points(made.base.mean_score)} |" in summary
    assert "[report.html](report.html)" in summary


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.signed(0.0634), "+6.3"), (numbers.signed(-0.0634), "−6.3"), (numbers.signed(0.0004), "0.0"),
        (numbers.signed(-0.0004), "0.0"), (numbers.signed(None), "–"), (numbers.points(0.625), "62.5"),
        (numbers.p_equals(0.0479), "p = 0.048"), (numbers.p_equals(0.0002), "p < 0.001"),
        (numbers.p_equals(1.0), "p = 1.000"),
        (numbers.percent(0.95), "95 %"), (numbers.percent(1 / 16), "6.2 %"), (numbers.rate(2, 32), "2 (6.2 %)"),
        (numbers.size(5_761_057_728), "5.76 GB"), (numbers.size(999), "999 B"), (numbers.size(999_999), "1.00 MB"),
        (numbers.count(-26151), "−26,151"), (numbers.plain(2e-05), "2e−5"), (numbers.plain(0.85), "0.85"),
        (numbers.plain({"rank": 64, "on": True}), "rank 64, on yes"), (numbers.plural(1, "persona"), "1 persona"),
    ],
)  # fmt: skip
def test_numbers_are_written_the_same_way_everywhere(written: str, expected: str) -> None:
    assert written.replace(numbers.SPACE, " ") == expected
