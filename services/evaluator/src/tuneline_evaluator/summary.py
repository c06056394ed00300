"""The report in short, as Markdown for a terminal or a pull request."""

from __future__ import annotations

from tuneline_evaluator.comparison import Comparison
from tuneline_evaluator.escape import markdown
from tuneline_evaluator.numbers import interval, p_value, percent, points, signed
from tuneline_evaluator.tables import banners
from tuneline_evaluator.wording import confidence, detectable, in_words


def summary_text(comparison: Comparison) -> str:
    """Return summary.md: the verdict, what limits it, one table, and where the rest stands."""
    words = in_words(comparison)
    lines = [f"## {words.mark} {comparison.outcome.capitalize()}: {words.sentence}", ""]
    lines += [f"> **{banner.title}** {markdown(banner.text)}\n" for banner in banners(comparison)]
    lines += [f"{words.evidence}.", "", f"**{words.action}.** {markdown(words.meaning)}", "", *_table(comparison), ""]
    lines += ["[report.html](report.html) shows how we know; [comparison.json](comparison.json) has every figure."]
    return "\n".join(lines) + "\n"


def _table(comparison: Comparison) -> list[str]:
    base, finetuned, score = comparison.base, comparison.finetuned, comparison.score
    rows = [
        ("Mean score of 100", points(base.mean_score), points(finetuned.mean_score), signed(score.mean_difference)),
        *(
            (markdown(r.text), points(r.base_mean), points(r.finetuned_mean), signed(r.difference))
            for r in comparison.categories
        ),
        *(
            (
                f"Gate {markdown(r.id)}: {r.outcome}",
                percent(r.base_rate),
                percent(r.finetuned_rate),
                signed(r.difference),
            )
            for r in comparison.safety
        ),
        ("Passed the rubric", percent(base.pass_rate), percent(finetuned.pass_rate), ""),
        ("Conversations scored", *(f"{arm.scored} of {arm.conversations}" for arm in (base, finetuned)), ""),
    ]
    head = ["| | Base | Fine-tuned | Difference |", "|---|---:|---:|---:|"]
    foot = (
        f"{confidence(comparison)} interval {interval(score.interval)}, p {p_value(score.sign_flip_p)}, "
        f"{score.personas} personas; could have seen {detectable(comparison)} points."
    )
    return [*head, *(f"| {' | '.join(row)} |" for row in rows), "", foot]
