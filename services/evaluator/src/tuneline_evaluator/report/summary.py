"""The report in short, as Markdown for a terminal or a pull request."""

from __future__ import annotations

from tuneline_evaluator.comparison.figures import Comparison
from tuneline_evaluator.comparison.numbers import percent, points, signed
from tuneline_evaluator.report.escape import markdown
from tuneline_evaluator.report.tables import banners
from tuneline_evaluator.report.wording import detectable, in_words


def summary_text(comparison: Comparison) -> str:
    """Return summary.md: the verdict, what limits it, one table (none when the headline is withheld), and the rest."""
    words = in_words(comparison)
    lines = [f"## {words.mark} {comparison.outcome.capitalize()}: {words.sentence}", ""]
    lines += [f"> **{banner.title}** {markdown(banner.text)}\n" for banner in banners(comparison)]
    lines += [f"{words.evidence}.", "", f"**{words.action}.** {markdown(words.meaning)}", ""]
    if comparison.outcome != "withheld":
        lines += [
            *_table(comparison),
            "",
            f"Smallest detectable difference (80 % power): {detectable(comparison)} points.",
            "",
        ]
    lines += ["[report.html](report.html) shows how we know; [comparison.json](comparison.json) has every figure."]
    return "\n".join(lines) + "\n"


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
