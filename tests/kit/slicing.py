"""What the slicer's tests share: a folder with transcripts, verdicts and a base model, sliced by the real runner."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kit.chat_models import PARAGRAPH, Family, write_chat_model
from kit.support import Done, run_stage
from tuneline.data.io import write_lines
from tuneline.data.judged import write_judged
from tuneline.data.slices import Message, Slice, Split
from tuneline.data.transcripts import Exchange, Transcript, read_transcripts
from tuneline.data.verdicts import Verdict
from tuneline.stage import Usage
from tuneline_slicer.cut import slice_points
from tuneline_slicer.stage import STAGE, SlicerParams

WORDS = PARAGRAPH.split()


class Sliced(NamedTuple):
    """The outputs of one run."""

    done: Done
    slices: list[dict[str, Any]]
    stats: dict[str, Any]
    rejected: list[dict[str, Any]]


def talk(name: str, length: int, **more: Any) -> Transcript:
    """A conversation of `length` exchanges about nothing, always the same for the same name."""
    words = random.Random(name)
    texts = [" ".join(words.choices(WORDS, k=words.randint(4, 20))) for _ in range(2 * length)]
    return Transcript(name, tuple(map(Exchange, texts[::2], texts[1::2])), **more)


class Bench:
    """A folder to slice in. All transcripts pass unless `failed` names them."""

    def __init__(self, folder: Path, family: Family = "gemma", *, template: str | None = None, context: int = 8192):
        self.folder, self.runs = folder, 0
        self.inputs: dict[str, Any] = {
            "judged": folder / "transcripts.jsonl",
            "base_model": write_chat_model(folder / "base", family, template=template, context=context),
            "verdicts": folder / "verdicts.jsonl",
        }

    def write(self, *transcripts: Transcript, failed: Sequence[str] = ()) -> None:
        """Write transcripts and verdicts."""
        write_judged(self.inputs["judged"], transcripts)
        self.judge(transcripts, failed)

    def judge(self, transcripts: Sequence[Transcript], failed: Sequence[str] = ()) -> None:
        """Write verdicts alone."""
        write_lines(self.inputs["verdicts"], [verdict(t, passed=t.id not in failed) for t in transcripts])

    def slice(self, **params: Any) -> Sliced:
        """Run the stage, as a new run."""
        self.runs += 1
        params = {"validation_fraction": 0, **params}
        done = run_stage(STAGE, self.folder, inputs=self.inputs, params=params, run=f"run-{self.runs}")
        texts = {port: path.read_text() for port, path in done.paths.items()}
        slices, rejected = (
            [json.loads(line) for line in texts[port].split("\n")[:-1]] for port in ("slices", "rejected")
        )
        return Sliced(done, slices, json.loads(texts["stats"]), rejected)


def verdict(transcript: Transcript, *, passed: bool = True) -> Verdict:
    """A verdict without reasons."""
    return Verdict(
        id=transcript.id, sha256=transcript.sha256, status="scored", answers={}, reasons={}, category_scores={},
        score=float(passed), passed=passed, failed_gates=[], judge="test", usage=Usage(),
    )  # fmt: skip


def slice_of(transcript: str, turns: Sequence[str], split: Split = "train") -> Slice:
    """A slice with these turns, user first."""
    roles: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")
    messages = [Message(role=roles[i % 2], content=turn) for i, turn in enumerate(turns)]
    point = len(turns) // 2
    return Slice(
        id=f"{transcript}#{point}", transcript=transcript, point=point, dropped=0, split=split, tokens=0,
        planning_tokens=0, messages=messages,
    )  # fmt: skip


def real_bench(folder: Path, data: Path, context: int) -> Bench:
    """A bench on the real transcripts, of which those pass that passed then."""
    bench = Bench(folder, context=context)
    read, passed = read_transcripts(data / "transcripts").transcripts, _passed(data)
    bench.write(*read, failed=[t.id for t in read if t.id not in passed])
    return bench


def survivors(data: Path, sliced: Sliced) -> tuple[int, int]:
    """Return how many slices end with the answer of their point, and how many points the passing transcripts have."""
    passed = _passed(data)
    talks = {t.id: t for t in read_transcripts(data / "transcripts").transcripts if t.id in passed}
    params = SlicerParams.model_validate(sliced.done.manifest.params)
    points = sum(len([*slice_points(t.id, len(t.exchanges), params)]) for t in talks.values())
    kept = sum(
        row["messages"][-1]["content"].strip() == talks[row["transcript"]].exchanges[row["point"] - 1].assistant.strip()
        for row in sliced.slices
    )
    return kept, points


def _passed(data: Path) -> set[str]:
    return {row["id"] for row in json.loads((data / "passing_35_of_41.json").read_text())["transcripts"]}
