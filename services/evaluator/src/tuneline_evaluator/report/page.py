"""The report: one static HTML page that says first what follows from the comparison, and then how we know."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment

from tuneline.data.conversations import Conversation
from tuneline.data.paired.effects import Range
from tuneline.data.text.pages import page_environment
from tuneline.data.text.talks import anchor, place
from tuneline.stage import Cost
from tuneline_evaluator.comparison import numbers
from tuneline_evaluator.comparison.figures import Comparison, PersonaRow
from tuneline_evaluator.comparison.numbers import NONE, percent, points, rate, signed
from tuneline_evaluator.report import plots, preference_plots
from tuneline_evaluator.report.costs import CostRow, cost_rows
from tuneline_evaluator.report.earlier import Earlier, read_earlier, read_verdicts
from tuneline_evaluator.report.escape import markdown, with_code
from tuneline_evaluator.report.fidelity import pick_in_words
from tuneline_evaluator.report.side_by_side import side_by_side
from tuneline_evaluator.report.tables import (
    arm_facts,
    arm_rows,
    arm_table,
    banners,
    effect_facts,
    fact,
    maker,
    preference_facts,
    settings,
)
from tuneline_evaluator.report.talks import PAGE, largest_gain_first, leads, shown_rows
from tuneline_evaluator.report.wording import GLOSSARY, by_place, confidence, detectable, detectable_in_words, in_words
from tuneline_evaluator.stage import EvaluatorInputs, EvaluatorOutputs

CONTENTS = (
    ("evidence", "How we know"),
    ("criteria", "Where they differ"),
    ("safety", "Safety and losses"),
    ("data", "Transcripts to slices"),
    ("training", "Training"),
    ("conversion", "Conversion"),
    ("conversations", "Conversations"),
    ("settings", "Settings and lineage"),
)


def write_report(
    outputs: EvaluatorOutputs, inputs: EvaluatorInputs, comparison: Comparison, conversations: Sequence[Conversation],
    cost: Cost | None = None,
) -> None:  # fmt: skip
    """Write report.html and summary.md. The same arguments give the same bytes.

    Raises UserError when a file of an earlier stage is not what that stage writes.
    """
    verdicts = read_verdicts(inputs)
    costs = cost_rows(verdicts or [], cost or Cost())
    html = page(comparison, conversations, read_earlier(inputs, verdicts), costs)
    outputs.report.write_text(html, encoding="utf-8")
    outputs.summary.write_text(summary_text(comparison), encoding="utf-8")


def page(
    comparison: Comparison, conversations: Sequence[Conversation], earlier: Earlier, costs: Sequence[CostRow] = ()
) -> str:
    """Return the report as HTML."""
    rows = sorted(comparison.personas, key=largest_gain_first)
    shown = shown_rows(rows)
    groups, found = [*comparison.categories, *comparison.criteria], comparison.preference
    template = _environment().get_template("report.html.j2")
    return template.render(
        c=comparison,
        words=in_words(comparison),
        banners=banners(comparison),
        confidence=confidence(comparison),
        detectable=detectable(comparison),
        contents=contents(comparison),
        links=PAGE,
        by_place=by_place(comparison),
        preference_facts=preference_facts(found, comparison.settings.margin) if found else [],
        win_rates=preference_plots.win_rates(found) if found else None,
        model=earlier.finetuned.name if earlier.finetuned else comparison.arms[1].name,
        base_model=fact(comparison.arms[0].base_model or comparison.arms[0].name),
        personas=shown,
        hidden=len(rows) - len(shown),
        spread=_spread(rows),
        effect_axis=plots.effect_axis(comparison),
        persona_axis=plots.score_axis(score for row in rows for score in (row.base_mean, row.finetuned_mean)),
        group_axis=plots.score_axis(score for row in groups for score in (row.base_mean, row.finetuned_mean)),
        effect_facts=effect_facts(comparison),
        arm_rows=arm_rows(comparison),
        arm_table=arm_table(comparison),
        arm_facts=arm_facts(comparison),
        earlier=earlier,
        last_step=max((point.step for point in earlier.training.losses), default=0.0) if earlier.training else 0.0,
        most_points=plots.MOST_CURVE_POINTS,
        pairs=side_by_side(comparison, conversations),
        settings=settings(comparison),
        costs=costs,
        glossary=GLOSSARY,
    )


def contents(comparison: Comparison) -> list[tuple[str, str]]:
    """Return anchors and names of the sections that the page has."""
    first, *rest = CONTENTS
    preferred = [("preference", "What is preferred")] if comparison.preference else []
    return [*preferred, first, *([("arms", "All models")] if comparison.many else []), *rest]


def _environment() -> Environment:
    """Return the templates, with what they call."""
    environment = page_environment("tuneline_evaluator.report")
    environment.filters.update({words.__name__: words for words in _FILTERS})
    environment.globals.update({drawing.__name__: drawing for drawing in (*_DRAWINGS, anchor, leads, place)})
    return environment


_FILTERS = (
    numbers.points, numbers.signed, numbers.interval, numbers.scores, numbers.ratings, numbers.percent, numbers.p_value,
    numbers.rate, numbers.count, numbers.size, numbers.plain, numbers.plural, with_code, maker, pick_in_words,
    preference_plots.raised,
)  # fmt: skip
_DRAWINGS = (
    plots.headline_bar, plots.difference_strip, plots.interval_bar, plots.range_bar, plots.difference_ticks,
    plots.dumbbell, plots.score_ticks, plots.stage_bar, plots.training_curve, plots.fidelity_plot, plots.rate_curve,
    plots.legend_mark, preference_plots.preference_bar, preference_plots.rate_bar,
)  # fmt: skip


def _spread(rows: Sequence[PersonaRow]) -> Range | None:
    differences = [row.difference for row in rows if row.difference is not None]
    return Range(low=min(differences), high=max(differences)) if differences else None


def summary_text(comparison: Comparison) -> str:
    """Return summary.md: the verdict, what limits it, one table (none when the headline is withheld), and the rest."""
    words = in_words(comparison)
    lines = [f"## {words.mark} {comparison.outcome.capitalize()}: {words.sentence}", ""]
    lines += [f"> **{banner.title}** {markdown(banner.text)}\n" for banner in banners(comparison)]
    lines += [f"{words.evidence}.", "", f"**{words.action}.** {markdown(words.meaning)}", ""]
    lines += [f"{name}: {markdown(text)}.  " for name, text in words.scope] + [""]
    if comparison.outcome != "withheld":
        lines += [*_preference(comparison), *_table(comparison), "", detectable_in_words(comparison), ""]
    lines += _all_models(comparison)
    lines += ["[report.html](report.html) shows how we know; [comparison.json](comparison.json) has every figure."]
    return "\n".join(lines) + "\n"


def _preference(comparison: Comparison) -> list[str]:
    found = comparison.preference
    if found is None:
        return []
    rows = [
        ("Fine-tuned preferred · tie · base preferred", f"{found.wins} · {found.ties} · {found.losses}"),
        ("Flips when the order is turned round (ties too)", rate(found.flips, found.position.of)),
        ("Win rate", percent(found.win_rate)),
        ("Win rate at equal length", percent(found.length.win_rate) if found.length else NONE),
        *preference_facts(found, comparison.settings.margin)[1:3],
    ]
    return ["| Preference | |", "|---|---:|", *(f"| {name} | {markdown(value)} |" for name, value in rows), ""]


def _all_models(comparison: Comparison) -> list[str]:
    head = ["| Model | Mean score of 100 | From base | p (Holm) |", "|---|---:|---:|---:|"]
    rows = [
        f"| {markdown(row.arm)} | {points(row.mean_score)} | {signed(pair.difference) if pair else ''} "
        f"| {numbers.p_value(pair.p_holm) if pair else ''} |"
        for row, pair in arm_table(comparison)
    ]
    return [*head, *rows, ""] if rows else []


def _table(comparison: Comparison) -> list[str]:
    base, finetuned, score = comparison.base, comparison.finetuned, comparison.score
    rows = [("Mean score of 100", points(base.mean_score), points(finetuned.mean_score), signed(score.mean_difference))]
    for group in comparison.categories:
        means = points(group.base_mean), points(group.finetuned_mean)
        rows.append((markdown(group.text), *means, signed(group.difference)))
    for gate in comparison.safety:
        rates = percent(gate.base_rate), percent(gate.finetuned_rate)
        rows.append((f"Gate {markdown(gate.id)}: {gate.outcome}", *rates, signed(gate.difference)))
    rows.append(("Passed the rubric", percent(base.pass_rate), percent(finetuned.pass_rate), ""))
    scored = f"{base.scored} of {base.conversations}", f"{finetuned.scored} of {finetuned.conversations}"
    rows.append(("Conversations scored", *scored, ""))
    head = ["| | Base | Fine-tuned | Difference |", "|---|---:|---:|---:|"]
    return [*head, *(f"| {' | '.join(row)} |" for row in rows)]
