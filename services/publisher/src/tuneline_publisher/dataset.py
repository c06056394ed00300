"""The data set: the transcripts that passed, as they were judged, and its card."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tuneline.data.io import read_lines
from tuneline.data.judged import Transcript, read_judged
from tuneline.data.slices import Slice
from tuneline.data.transcripts import Repaired
from tuneline.data.verdicts import Verdict
from tuneline.errors import UserError
from tuneline.stage import Json, Memory
from tuneline_publisher.cards import judge_lines, made_lines
from tuneline_publisher.facts import Facts
from tuneline_publisher.stage import PublisherInputs, PublisherParams
from tuneline_publisher.text import card, code, plain, table

TRAIN, HELD_OUT = "train", "validation"


class Counts(NamedTuple):
    """What the card counts."""

    judged: int
    by_status: Counter[str]
    rows: Counter[str]
    exchanges: int
    repairs: Counter[str]
    gates: Counter[str]
    generated: Counter[str]
    """Rows that a model wrote, by how."""


def write_dataset(inputs: PublisherInputs, folder: Path, memory: Memory) -> tuple[dict[str, Path], Counts]:
    """Write a row for each transcript that passed: id, score and messages. Returns the files by name, and counts.

    Raises UserError for a transcript that was forgotten, and if none passed.
    """
    assert inputs.judged and inputs.verdicts
    held_out = (
        {s.transcript for s in read_lines(inputs.slices, Slice) if s.split == HELD_OUT} if inputs.slices else set()
    )
    verdicts = {verdict.id: verdict for verdict in read_lines(inputs.verdicts, Verdict)}
    files = {f"data/{split}.jsonl": folder / f"{split}.jsonl" for split in (TRAIN, HELD_OUT)}
    rows, generated, exchanges, forgotten = Counter[str](), Counter[str](), 0, 0
    with files[f"data/{TRAIN}.jsonl"].open("w") as train, files[f"data/{HELD_OUT}.jsonl"].open("w") as validation:
        for transcript in read_judged(inputs.judged):
            verdict = verdicts.get(transcript.id)
            if verdict is None or not verdict.passed:
                continue
            forgotten += memory.is_forgotten(transcript.id, transcript.sha256)
            split, file = (HELD_OUT, validation) if transcript.id in held_out else (TRAIN, train)
            file.write(json.dumps(_row(transcript, verdict), ensure_ascii=False) + "\n")
            rows[split] += 1
            generated.update([transcript.generated.words] if transcript.generated else [])
            exchanges += len(transcript.exchanges)
    if forgotten:
        raise UserError(
            f"`dataset`: {forgotten} of the transcripts were forgotten (`tuneline forget`). Judge again without them."
        )
    if not rows[TRAIN]:
        raise UserError("`dataset`: no transcript passed, so there is no data set. Set `dataset: false`.")
    if not rows[HELD_OUT]:
        files.pop(f"data/{HELD_OUT}.jsonl").unlink()
    return files, _counts(inputs, verdicts, rows, exchanges, generated)


def dataset_card(params: PublisherParams, facts: Facts, counts: Counts) -> str:
    """Return the card of the data set; its `configs` are what `datasets` loads."""
    splits: list[Json] = [
        {"split": name, "path": f"data/{name}.jsonl"} for name in (TRAIN, HELD_OUT) if counts.rows[name]
    ]
    front: dict[str, Json] = {"license": params.dataset_licence} if params.dataset_licence else {}
    front |= {
        "task_categories": ["text-generation"], "tags": ["tuneline", "conversational"],
        "configs": [{"config_name": "default", "data_files": splits}],
    }  # fmt: skip
    rows = [["judged", f"{counts.judged:,}"], ["passed, and so here", f"{counts.rows.total():,}"]]
    rows += [[f"of them in {name}", f"{counts.rows[name]:,}"] for name in (TRAIN, HELD_OUT) if counts.rows[name]]
    rows += [[f"written by a model ({plain(how)})", f"{count:,}"] for how, count in counts.generated.most_common()]
    rows += [["exchanges", f"{counts.exchanges:,}"]]
    rows += [[f"status {plain(name)}", f"{count:,}"] for name, count in sorted(counts.by_status.items())]
    rows += [[f"failed gate {plain(name)}", f"{count:,}"] for name, count in sorted(counts.gates.items())]
    makers = {name: maker for name, maker in facts.makers.items() if name in ("assessor", "slicer")}
    return card(front, [
        "# Conversations that passed a rubric", "",
        "One row per transcript: `id`, `score` (0 to 1), `messages` with `role`, `content` and `learn`: whether a "
        "model is to learn to say this.", "",
        "## Counts", "", *table(["transcripts", ""], rows),
        "## Personal data", "", _personal_data(facts), "",
        "## Filters and repairs", "", *_mended(facts, counts),
        "## Judge", "", *judge_lines(facts.judges),
        "## How it was made", "", *made_lines(makers),
        *_licence(params),
    ])  # fmt: skip


def _row(transcript: Transcript, verdict: Verdict) -> dict[str, Json]:
    return {"id": transcript.id, "score": verdict.score, "messages": list(_messages(transcript))}


def _messages(transcript: Transcript) -> Iterator[Json]:
    """Every message has all keys: whoever reads JSON Lines as a table wants one form."""
    if transcript.system is not None:
        yield {"role": "system", "content": transcript.system, "learn": False}
    if transcript.greeting is not None:
        yield {"role": "assistant", "content": transcript.greeting, "learn": False}
    for place, said in enumerate(transcript.exchanges):
        yield {"role": "user", "content": said.user, "learn": False}
        yield {"role": "assistant", "content": said.assistant, "learn": place not in transcript.unlearnt}


def _counts(
    inputs: PublisherInputs, verdicts: dict[str, Verdict], rows: Counter[str], exchanges: int, generated: Counter[str]
) -> Counts:
    repairs = Counter[str]()
    for row in read_lines(inputs.repairs, Repaired) if inputs.repairs else ():
        repairs.update({str(kind): count for kind, count in row.repairs.items()})
    status = Counter(str(verdict.status) for verdict in verdicts.values())
    gates = Counter(gate for verdict in verdicts.values() for gate in verdict.failed_gates)
    return Counts(len(verdicts), status, rows, exchanges, repairs, gates, generated)


def _personal_data(facts: Facts) -> str:
    """Say what was done about personal data; the assessor's parameters and counts know it."""
    maker = facts.makers.get("assessor")
    action = maker.params.get("pii") if maker else None
    found = maker.counts.get("pii") if maker else None
    kinds = ", ".join(f"{count} {plain(kind)}" for kind, count in found.items()) if isinstance(found, dict) else ""
    names = " Names of people were not looked for." if maker and not maker.params.get("pii_model") else ""
    if action == "redact":
        return (
            f"Replaced where it was recognised ({kinds or 'none was'}); what was not recognised is still there.{names}"
        )
    if action in ("report", "refuse"):
        return f"Looked for and left as it was: {kinds or 'none was recognised'}.{names}"
    return "**Nobody looked for it.** Expect names, addresses and whatever else people write."


def _mended(facts: Facts, counts: Counts) -> list[str]:
    lines = [f"- {plain(kind)}: {count:,} repairs on the way in" for kind, count in sorted(counts.repairs.items())]
    if facts.audit:
        lines += [
            f"- {plain(f.check)} ({plain(f.meaning)}): in {f.passing:,} of those here; action {code(f.action)}"
            for f in facts.audit.found
        ]
    return [*(lines or ["- Nothing was mended, and no check of the set found anything."]), ""]


def _licence(params: PublisherParams) -> list[str]:
    if params.dataset_licence:
        return ["## Licence", "", plain(params.dataset_licence), ""]
    return ["## Licence", "", "None is granted: ask whoever published this.", ""]
