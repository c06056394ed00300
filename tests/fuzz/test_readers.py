"""Whatever a file holds, who reads it succeeds or says where the fault is: see `kit.fuzz`."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from kit.exports import AS_TEXTS, INTERCOM, ZENDESK
from kit.fuzz import Reader, fuzz
from kit.judge_parts import RUBRIC
from kit.mixed_logs import SHAPES
from kit.office import docx, epub, odt, pptx, slide
from kit.places import EXAMPLES
from kit.programs import PROGRAMS
from kit.slicing import talk, verdict
from kit.sounds import RATE, SAMPLES, id3, riff, tone
from kit.speech import pdf
from kit.transcript_files import FILES
from tuneline.commands.labels import read_labels
from tuneline.data.io import read_lines
from tuneline.data.personas import load_personas
from tuneline.data.reading.prompts import read_prompts
from tuneline.data.rubric import load_rubric
from tuneline.data.slices import Slice
from tuneline.data.transcripts import read_transcripts
from tuneline.data.verdicts import Verdict
from tuneline.engine.runfile import read_run_file
from tuneline.errors import Unreadable, UserError
from tuneline.judge.judging import load_judge
from tuneline.judge.recorded.judge import RecordedJudge
from tuneline.stage import installed_stages
from tuneline_calibrator.models.judge import load_judge as load_talk_judge
from tuneline_calibrator.models.writer import load_writer as load_script_writer
from tuneline_calibrator.talks.given import read_prompt, read_references
from tuneline_generator.critic.critic_client import load_critic
from tuneline_generator.recipes.ideas import read_ideas
from tuneline_generator.recipes.scripts import read_sources, with_prompt
from tuneline_generator.writing.recipe import ScriptsRecipe, load_recipe
from tuneline_generator.writing.writer import load_writer
from tuneline_transcriber.hearing.decoding import decoded, seconds_of
from tuneline_transcriber.hearing.recogniser import load_recogniser
from tuneline_transcriber.reading.documents import Unusable, read_document
from tuneline_transcriber.transcripts.given_transcripts import read_given


def no_secret(name: str) -> str:
    raise UserError(f"judge.yaml: {name} is not set")


TALK = {"id": "a", "exchanges": [{"user": "Hello", "assistant": "Hi."}, {"user": "Bye", "assistant": "Bye."}]}
CHAT = {
    "id": "b",
    "persona": "p",
    "messages": [{"role": "user", "content": "é"}, {"role": "assistant", "content": "!"}],
}
LINES = "".join(json.dumps(row) + "\n" for row in (TALK, CHAT)).encode()
TURNS = [("user", "Hello"), ("assistant", "Hi."), ("user", "Bye"), ("assistant", "Bye.")]
FUZZED = ("Grok", "LM Studio", "Help Scout", "Rasa", "OpenInference, flat")
WRITTEN = {"id": 1, "text": "[10:01] User: p\nBot: r\nUser: q"}
STREAMED = {
    "request": {"messages": [{"role": "user", "content": "p"}]},
    "response": 'event: x\ndata: {"choices": [{"index": 0, "delta": {"content": "r"}}]}\n\ndata: [DONE]\n',
}
NAMED = {"id": 1, "messages": [{"from": "a", "text": "p"}, {"author": {"name": "b"}, "text": "r"}]}
TABLE = b'conversation_id,role,content\na,user,"Hello, you"\na,bot,Hi.\n'


def columns() -> bytes:
    """A table as Parquet."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([CHAT, CHAT | {"id": "c"}]), file)
    return file.getvalue()


ANSWERS = {"id": "a", "answers": {"POLITE": "YES", "ASKS": "NA", "SAFE": "YES"}, "reasons": {"POLITE": "so"}}
FOREIGN = {
    "results": [
        {"data": {"id": "b"}, "annotations": [{"result": [{"from_name": "ASKS", "value": {"choices": ["Yes"]}}]}]},
        {"vars": {"id": "c"}, "gradingResult": {"componentResults": [{"pass": True, "assertion": {"metric": "ASKS"}}]}},
        {"id": "d", "answers": [{"criterion": "ASKS", "answer": 1, "reason": "so"}, {"name": "SAFE"}]},
    ]
}
BY_ID = {
    "name": "n",
    "categories": {"all": {"weight": "100%", "criteria": {"A": {"question": "?", "YES": "y", "no": "n"}}}},
    "gates": [{"id": "G", "question": "?", "yes": "y", "no": "n", "from_exchange": 2, "rule": {"rule": "language"}}],
}
FOREIGN_PERSONAS = b"""\
count: 1
personas:
  kim:
    name: Kim
    age: [36, 45]
    personality_traits: patient, terse
    communicationStyle: terse
    topics: [{category: fence, subtopic: post, complexity: easy}]
    trajectory: volatile
    writing_style: casual
"""
ASKED: list[dict[str, object]] = [
    {"id": "a", "prompt": "Why?", "category": "c", "reference": "so"},
    {"instruction": "Do", "input": "this", "output": "done"},
    {"question_id": 81, "turns": ["How?"], "reference": ["thus"]},
    {"messages": [{"role": "user", "content": "é"}, {"role": "assistant", "content": "!"}]},
]
PROMPTS = "".join(json.dumps(row) + "\n" for row in ASKED)
SLICE = {
    "id": "a#3", "transcript": "a", "point": 3, "dropped": 0, "split": "train", "tokens": 9, "planning_tokens": 7,
    "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}],
}  # fmt: skip

JUDGES = b"judges:\n  a: {provider: heuristic}\n  b: {provider: openai, model: m, base_url: 'http://127.0.0.1:1/v1'}\n"

DOCUMENTS = (
    b"kind: documents\ncategories:\n- {name: health, about: Wards.}\nforms: [memo]\nidea: {prompt: 'On {category}'}\n"
)
SCRIPTS = b"kind: scripts\nrequest: 'On {source}'\nresponse: {prompt: 'Say {source}', max_tokens: 9}\ntest_prompts: 2\n"
WRITER = b"{provider: openai, model: m, base_url: 'http://127.0.0.1:1/v1', dialect: vllm, slots: 2, usd_per_hour: 3}\n"
CRITIC = b"provider: logprob\nyes: [' yes']\nmin_mass: 0.1\nserver: " + WRITER
IDEAS = '{"ideas": [{"title": "a", "stakeholders": ["b"], "dilemma": "c", "request": "d"}]}'


TALKS = (
    b'{"pair": "a", "segments": [{"start": 0, "end": 1.5, "text": "Why?"}, {"start": 2, "end": 3e0, "text": "So."}]}\n'
)
PAIRS = b'{"pair": "a", "status": "ready", "engine": "given"}\n'


def talks(path: Path) -> None:
    (path.parent / "sources").mkdir(exist_ok=True)
    (path.parent / "sources" / "a.txt").write_text("Thus.")
    (path.parent / "other.jsonl").write_bytes(TALKS if path.name.startswith("pairs") else PAIRS)
    both = (path, path.parent / "other.jsonl") if path.name.startswith("pairs") else (path.parent / "other.jsonl", path)
    read_references(both[0], path.parent / "sources", both[1])


def ideas(path: Path) -> None:
    with suppress(Unreadable):
        assert read_ideas(path.read_text("utf-8", "surrogateescape"))


HOSTED = b"{provider: openai, model: whisper-1, base_url: 'http://127.0.0.1:1/v1', minute_usd: 0.006}\n"
TRANSCRIPTS = (
    "zoom.vtt", "youtube.en.vtt", "whisper.tsv", "otter.txt", "trint.txt", "wrapped.txt", "whisper.json", "google.json",
    "aws-labels.json", "speechmatics.json", "rev.json", "aegisub.ass", "karaoke.lrc", "ttml.ttml", "youtube.en.srv3",
    "whisper-cpp-speakers.csv", "gong.json", "recall.json", "word.transcript.docx", "recap.txt",
)  # fmt: skip
DOCUMENT = {
    "a.docx": docx(["One two.", "Three."]), "a.odt": odt("<text:p>One two.</text:p>"),
    "a.epub": epub({"one.xhtml": "<p>One two.</p>"}, ["one.xhtml"]),
    "a.pptx": pptx([slide("One."), slide("Two.")], [1, 2]),
    "a.pdf": pdf(["One two.", "Three."]),
    "a.html": b"<meta charset=utf-8><nav>x</nav><main><h1>A</h1><p>b &amp; c</p></main><script>d</script>",
    "a.md": b"---\na: b\n---\n# C ![d](data:x) <!-- e -->\n", "a.txt": b"One.\x0cTwo.\n",
}  # fmt: skip


def data_of(name: str) -> bytes:
    content = FILES[name].content
    return content.encode() if isinstance(content, str) else content


def document(path: Path) -> None:
    with told_of(path):
        assert read_document(path).text.strip()


def transcript(path: Path) -> None:
    with told_of(path):
        given = read_given(path)
        assert all(one.text and 0 <= one.start <= one.end for one in given.segments)
        assert len(given.spread(60)) == len(given.segments)


def recording(path: Path) -> None:
    with told_of(path):
        seconds_of(path)
        assert all(len(block) for block in decoded(path, 1))


def tagged() -> bytes:
    """A short MP3 with a title and a cover."""
    with TemporaryDirectory() as folder:
        return id3(40) + tone(Path(folder, "a.mp3"), "libmp3lame", RATE, samples=SAMPLES[:RATE]).read_bytes()


MP3 = tagged()


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Name the file, as the stage does with the reference that it belongs to."""
    try:
        yield
    except Unusable as e:
        raise UserError(f"{path.name}: {e}") from None


STAGES = installed_stages()
READERS = [
    Reader(
        "run file", "demo.yaml", lambda p: read_run_file(p, installed_stages()), (EXAMPLES / "demo.yaml").read_bytes()
    ),
    Reader("rubric", "rubric.yaml", load_rubric, yaml.safe_dump(RUBRIC, sort_keys=False).encode()),
    Reader("personas", "personas.yaml", load_personas, (EXAMPLES / "personas.yaml").read_bytes()),
    Reader("recipe", "recipe.yaml", load_recipe, (EXAMPLES / "instructions.yaml").read_bytes()),
    Reader("recipe of documents", "recipe.yaml", load_recipe, DOCUMENTS),
    Reader("recipe of scripts", "recipe.yaml", load_recipe, SCRIPTS),
    Reader("prompt of a recipe", "prompt.txt", lambda p: with_prompt(ScriptsRecipe(kind="scripts"), p), b"{source}"),
    Reader("sources of scripts", "a.txt", lambda p: read_sources(p.parent), b"The ash grows."),
    Reader("critic", "critic.yaml", load_critic, CRITIC),
    Reader("talks", "talks.jsonl", talks, TALKS),
    Reader("pairs of talks", "pairs.jsonl", talks, PAIRS),
    Reader("recogniser", "recogniser.yaml", load_recogniser, b"{provider: faster-whisper, language: en, beam: 5}"),
    Reader("hosted recogniser", "recogniser.yaml", load_recogniser, HOSTED),
    *(Reader(f"document {name}", name, document, content) for name, content in DOCUMENT.items()),
    *(Reader(f"transcript {name}", name, transcript, data_of(name)) for name in TRANSCRIPTS),
    Reader("recording", "a.wav", recording, riff(0, 0)[:4000]),
    Reader("tagged recording", "a.mp3", recording, MP3),
    Reader("prompt of scripts", "prompt.txt", read_prompt, b"Write {source} like {profile}."),
    Reader("writer of scripts", "writer.yaml", load_script_writer, b"{provider: extractive}"),
    Reader("judge of scripts", "judge.yaml", load_talk_judge, b"{provider: heuristic}"),
    Reader("writer", "writer.yaml", lambda p: load_writer(p, "completion", None), WRITER),
    Reader("ideas", "ideas.json", ideas, IDEAS.encode()),
    Reader("prompts", "prompts.jsonl", read_prompts, PROMPTS.encode()),
    Reader("prompts in a list", "prompts.json", read_prompts, json.dumps({"data": ASKED}, indent=1).encode()),
    Reader("prompts in a table", "prompts.csv", read_prompts, b'id,question,answer\n1,"Why, then?",so\n2,How?,thus\n'),
    Reader("rubric by id", "rubric.json", load_rubric, json.dumps(BY_ID, indent=1).encode()),
    Reader("foreign personas", "personas.yaml", load_personas, FOREIGN_PERSONAS),
    Reader("judge", "judge.yaml", lambda p: load_judge(p, no_secret), b"provider: heuristic\n"),
    Reader("labels", "labels.csv", read_labels, b"id,POLITE,SAFE\na,YES,NO\nb,n/a,\n"),
    Reader("labels, long", "labels.csv", read_labels, b"id;criterion;answer\na;POLITE;YES\nb;SAFE;No\n"),
    Reader("judges", "judge.yaml", lambda p: load_judge(p, no_secret), JUDGES),
    Reader("answers", "answers.jsonl", RecordedJudge, f"{json.dumps(ANSWERS)}\n".encode()),
    Reader("answers as JSON", "answers.json", RecordedJudge, json.dumps(FOREIGN, indent=1).encode()),
    Reader("answers as CSV", "answers.csv", RecordedJudge, b'id,criterion,answer\na,POLITE,yes\na,"ASKS",no\n'),
    Reader("transcript", "a.json", read_transcripts, json.dumps(TALK, indent=1).encode()),
    Reader("transcripts", "a.jsonl", read_transcripts, LINES),
    Reader("gzip", "a.jsonl.gz", read_transcripts, gzip.compress(LINES, mtime=0)),
    Reader("list", "a.json", read_transcripts, json.dumps([TALK, CHAT], indent=1).encode()),
    Reader("table", "a.csv", read_transcripts, TABLE),
    Reader("columns", "a.parquet", read_transcripts, columns()),
    Reader("zst", "a.jsonl.zst", read_transcripts, pa.compress(LINES, codec="zstd", asbytes=True)),
    Reader("tree", "a.json", read_transcripts, json.dumps(SHAPES["chatgpt"]("a", TURNS)).encode()),
    Reader("desk", "a.json", read_transcripts, json.dumps([INTERCOM, ZENDESK]).encode()),
    *(Reader(f"export of {name}", "a.json", read_transcripts, json.dumps(PROGRAMS[name]).encode()) for name in FUZZED),
    Reader("one text", "a.jsonl", read_transcripts, json.dumps(WRITTEN).encode()),
    Reader("stream", "a.json", read_transcripts, json.dumps(STREAMED).encode()),
    Reader("names", "a.json", lambda path: read_transcripts(path, answering=["b"]), json.dumps(NAMED).encode()),
    Reader("span", "a.json", read_transcripts, json.dumps({"spanId": "s", "attributes": AS_TEXTS}).encode()),
    Reader("log", "a.json", read_transcripts, json.dumps(SHAPES["langsmith"]("a", TURNS)).encode()),
    Reader("folder", "t/a.jsonl", lambda path: read_transcripts(path.parent), LINES),
    Reader(
        "verdicts",
        "verdicts.jsonl",
        lambda path: list(read_lines(path, Verdict)),
        f"{verdict(talk('a', 3)).model_dump_json()}\n".encode(),
    ),
    Reader("slices", "slices.jsonl", lambda path: list(read_lines(path, Slice)), f"{json.dumps(SLICE)}\n".encode()),
]


@pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
def test_any_file_is_read_or_refused_with_its_name(reader: Reader) -> None:
    fuzz(reader)
