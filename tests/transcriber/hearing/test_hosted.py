"""Transcription endpoints as they answer: OpenAI, Groq, vLLM, LocalAI, Mistral and servers of something else."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from kit.scripted_openai import Answer, Call, serve_openai
from tuneline.errors import LlmRejected, Temporary, UserError
from tuneline_transcriber.hearing.audio import Chunk
from tuneline_transcriber.hearing.decoding import RATE
from tuneline_transcriber.hearing.hosted import Hosted
from tuneline_transcriber.hearing.recogniser import Heard, HostedConfig

JSON = {"content-type": "application/json"}


def chunk(number: int = 0, seconds: float = 5.0) -> Chunk:
    return Chunk(0, number, 0.0, np.full(int(seconds * RATE), number, dtype=np.int16))


def said(body: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode(), JSON)


def refused(message: str, status: int = 400, **error: object) -> Answer:
    return said({"error": {"message": message, "type": "invalid_request_error", **error}}, status)


def hear(script: Callable[[Call], Answer], heard_in: str | None = None, **settings: object) -> list[Heard]:
    """Hear two chunks; the second one shows what was learnt of the server."""
    with serve_openai(script) as server:
        config = HostedConfig.model_validate(
            {"provider": "openai", "model": "m", "base_url": server.url, "minute_usd": 0.6, **settings}
        )
        with Hosted(config, lambda name: name, 60, 1, None) as hosted:
            return [hosted.hear(chunk(number), heard_in) for number in range(2)]


def times(heard: Heard) -> list[tuple[float, float, str]]:
    return [(segment.start, segment.end, segment.text) for segment in heard.segments]


FORMS: dict[str, tuple[bytes, Answer]] = {
    "OpenAI, newer models": (b"verbose_json", refused(
        "response_format 'verbose_json' is not compatible with model 'm'. Use 'json' or 'text' instead.",
        param="response_format", code="unsupported_value")),
    "vLLM": (b"verbose_json", said({"object": "error", "message": "Currently only support response_format `text` or "
                                    "`json`", "type": "BadRequestError", "param": None, "code": 400}, 400)),
    "vLLM, a model": (b"verbose_json", refused("Currently do not support verbose_json for Qwen/Qwen3-ASR")),
    "Mistral": (b"timestamp_granularities", said(
        {"detail": "timestamp_granularities is currently not compatible with language, please use either one"}, 400)),
    "FastAPI": (b"timestamp_granularities", said({"detail": [{"type": "extra_forbidden", "loc": [
        "body", "timestamp_granularities[]"], "msg": "Extra inputs are not permitted"}]}, 422)),
    "a language it has heard": (b'name="language"', refused("Unsupported language: 'cy'.", type="BadRequestError")),
}  # fmt: skip


@pytest.mark.parametrize("server", FORMS)
def test_what_a_server_does_not_take_is_left_out_from_then_on(server: str) -> None:
    unwanted, refusal = FORMS[server]
    calls: list[bytes] = []

    def script(call: Call) -> Answer:
        calls.append(call.raw)
        return refusal if unwanted in call.raw else said({"text": "hello"})

    first, second = hear(script, heard_in="cy")
    assert times(first) == times(second) == [(0.0, 5.0, "hello")]
    assert (len(calls), sum(unwanted in raw for raw in calls)) == (3, 1)


def test_a_model_that_tells_speakers_apart_is_told_to_cut_the_sound_itself() -> None:
    def script(call: Call) -> Answer:
        if b"chunking_strategy" not in call.raw:
            return refused("chunking_strategy is required for diarization models", param="chunking_strategy")
        assert b"diarized_json" in call.raw
        return said({"text": "hello", "segments": [{"speaker": "A", "start": 0.5, "end": 1.5, "text": "hello"}]})

    assert times(hear(script)[1]) == [(0.5, 1.5, "hello")]


@pytest.mark.parametrize(
    "segments",
    [
        [{"start": 0, "end": 2_500_000_000, "text": "hello"}, {"start": 2_500_000_000, "end": 4e9, "text": "there"}],
        [{"start": 0, "end": 2500, "text": "hello"}, {"start": 2500, "end": 4000, "text": "there"}],
        [{"start": "0.0", "end": "2.5", "text": "hello"}, {"start": "2.5", "end": "4", "text": "there"}],
        [{"start": 0, "end": 2.5, "text": "hello"}, {"start": 2.5, "end": 4.0, "text": "there"}, {"text": None}],
    ],
    ids=["LocalAI's nanoseconds", "milliseconds", "texts", "seconds"],
)
def test_times_are_read_in_the_unit_that_a_server_has(segments: object) -> None:
    heard = hear(lambda _: said({"text": "hello there", "language": "English", "segments": segments}))[0]
    assert times(heard) == [(0.0, 2.5, "hello"), (2.5, 4.0, "there")] and heard.language == "english"


@pytest.mark.parametrize("segments", [None, [], [{"start": 0, "end": 1, "text": ""}], [{"text": "hello there"}]])
def test_text_without_times_is_never_lost(segments: object) -> None:
    heard = hear(lambda _: said({"text": "hello there", "segments": segments}))[0]
    assert times(heard) == [(0.0, 5.0, "hello there")]


def test_segments_that_are_no_list_are_no_transcription() -> None:
    with pytest.raises(Temporary, match="an object with other fields"):
        hear(lambda _: said({"text": "hello there", "segments": 5}))


def test_tokens_and_price_of_what_was_heard_are_counted() -> None:
    usage = {"type": "tokens", "input_tokens": 50, "output_tokens": 9, "total_tokens": 59}
    used = hear(lambda _: said({"text": "hello", "usage": usage}))[0].usage
    assert (used.calls, used.input_tokens, used.output_tokens, used.cost_usd) == (1, 50, 9, 0.05)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(413, b"<html>Request Entity Too Large</html>"), "lower `chunk_seconds`"),
        (refused("Maximum content size limit (26214400) exceeded", 413), "lower `chunk_seconds`"),
        (refused("audio duration 780.1 seconds is longer than 600 seconds which is the maximum"), "`chunk_seconds`"),
        (refused("Maximum file size exceeded", param="audio_filesize_mb"), "lower `chunk_seconds`"),
        (refused("The model does not support Transcriptions API"), "check `model`"),
        (said({"detail": "Model 'm' is not installed locally."}, 404), "check `model`"),
        (said({"error": {"message": "model not found", "code": 404}}), "check `model`"),
        (refused("temperature must be between 0 and 1", param="temperature"), "`temperature`"),
        (refused("You exceeded your current quota", 429, code="insufficient_quota"), "no money"),
    ],
)
def test_what_every_recording_would_meet_is_said_at_once_with_the_way_out(answer: Answer, words: str) -> None:
    with pytest.raises(UserError, match=words):
        hear(lambda _: answer)


def test_a_language_that_is_set_and_not_taken_is_said_at_once() -> None:
    answer = refused("Invalid language 'xyz'. It must be in ISO-639-1 format.", param="language")
    with pytest.raises(UserError, match="does not take `language`"):
        hear(lambda _: answer, language="xyz")


@pytest.mark.parametrize("body", [b"hello there", b"<html></html>", b'"hello"', b'{"error": "no"}', b'{"choices": []}'])
def test_an_answer_of_something_else_is_no_silence(body: bytes) -> None:
    with pytest.raises(Temporary, match=r"the answer is not a transcription but .*, after 3 attempts"):
        hear(lambda _: Answer(200, body))


def test_a_server_of_something_else_is_the_settings_fault() -> None:
    with serve_openai(lambda _: Answer(200, b"<html></html>")) as server:
        config = HostedConfig(provider="openai", model="m", base_url=server.url)
        with Hosted(config, lambda name: name, 60, 1, None) as hosted:
            for number in range(2):
                with pytest.raises(Temporary):
                    hosted.hear(chunk(number), None)
            with pytest.raises(UserError, match="no server of OpenAI's transcriptions"):
                hosted.hear(chunk(2), None)


def test_a_recording_that_cannot_be_decoded_is_a_status_of_its_own() -> None:
    with pytest.raises(LlmRejected, match="HTTP 400 invalid_request_error"):
        hear(lambda _: refused("could not process file - is it a valid media file?"))


def test_a_moment_of_sound_is_sent_to_nobody_and_silence_is_an_answer() -> None:
    with serve_openai(lambda _: said({"text": ""})) as server:
        config = HostedConfig(provider="openai", model="m", base_url=server.url)
        with Hosted(config, lambda name: name, 60, 1, None) as hosted:
            assert hosted.hear(chunk(seconds=0.05), None).segments == [] == hosted.hear(chunk(), None).segments
    assert len(server.calls) == 1
