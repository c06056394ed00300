"""Reads a report as a browser would, for the tests of the evaluator."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

from kit.comparisons import conversations, material
from tuneline.data.conversations import Conversation
from tuneline.stage import Cost, Spent, Usage
from tuneline_evaluator.comparison.figures import Comparison
from tuneline_evaluator.report.page import write_report
from tuneline_evaluator.stage import STAGE, EvaluatorInputs, EvaluatorOutputs

COST = Cost.of(
    Spent(role="judge", model="gpt-5-mini", total=Usage(calls=64, input_tokens=83_466, output_tokens=4, cost_usd=1.25)),
    Spent(role="simulator", model="persona-player", total=Usage(calls=224, input_tokens=9, unpriced=224)),
)
"""What the calls to models took in every report of these tests."""

VOID = {"meta", "link", "br", "hr", "img", "input"}


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

    @property
    def first(self) -> str:
        """The verdict with what stands beside it, before its evidence."""
        return self.text.split("How we know")[0]


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
    return written(folder, of, conversations(of, said, said), material(folder, earlier=earlier, steps=steps))


def written(folder: Path, of: Comparison, held: Sequence[Conversation], inputs: EvaluatorInputs) -> tuple[str, str]:
    """Return report and summary as the stage writes them."""
    outputs = EvaluatorOutputs(**{port.name: folder / port.path for port in STAGE.output_ports()})
    write_report(outputs, inputs, of, held, COST)
    return outputs.report.read_text(encoding="utf-8"), outputs.summary.read_text(encoding="utf-8")
