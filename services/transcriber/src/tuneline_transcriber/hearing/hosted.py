"""The recogniser `openai`: a server that speaks OpenAI's transcription endpoint."""

from __future__ import annotations

import hashlib
import io
import logging
import math
import re
import wave
from typing import Annotated, Literal, NamedTuple

import openai
from pydantic import BaseModel, BeforeValidator, ValidationError

from tuneline.data.text.recordings import Segment
from tuneline.errors import Fault, LlmRejected, UserError
from tuneline.llm.calls import Calls
from tuneline.llm.config import Secret
from tuneline.llm.providers.openai_reply import object_in, object_of, read_tokens
from tuneline.llm.providers.provider import SETTING, BareHttp, not_taken
from tuneline.llm.providers.refusals import Refusal, Refused, meaning, read_refusal, unwanted
from tuneline.llm.providers.strangers import OnlyObjects, Stranger, Strangers
from tuneline.stage import Account, Usage
from tuneline_transcriber.hearing.audio import Chunk
from tuneline_transcriber.hearing.decoding import RATE
from tuneline_transcriber.hearing.recogniser import Heard, HostedConfig

KIND = "transcription"
LEAST_SECONDS = 0.1
"""Of sound that a server takes; in less nothing is said."""
MOST_FORMS = 4
"""Forms in which one request is made before a refusal is believed."""
PADDING_S = 30.0
"""How far behind the end of a chunk Whisper's last segment may end."""
TOO_LONG = re.compile(r"maximum file size|longer than [0-9.]+ seconds|maximum (?:audio )?duration", re.I)
"""How servers say that there is too much sound."""
UNITS = (1.0, 1e-3, 1e-9)
"""Seconds of the units in which servers count: LocalAI has nanoseconds."""


def _number(value: object) -> object:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 1e15 else None


_Number = Annotated[float | None, BeforeValidator(_number)]
_Words = Annotated[str, BeforeValidator(lambda value: value if isinstance(value, str) else "")]


class _Part(BaseModel):
    start: _Number = None
    end: _Number = None
    text: _Words = ""
    avg_logprob: _Number = None
    no_speech_prob: _Number = None


class _Answer(BaseModel):
    text: _Words = ""
    language: _Words = ""
    segments: Annotated[list[_Part] | None, OnlyObjects] = None


class _Paid(BaseModel):
    heard: Heard

    @property
    def usage(self) -> Usage:
        return self.heard.usage


class Form(NamedTuple):
    """How a request is written."""

    response: Literal["verbose_json", "diarized_json", "json"] = "verbose_json"
    granular: bool = True
    chunking: bool = False
    """A model that tells speakers apart is told to cut the sound itself."""
    language: bool = True
    """The language of the chunk before is told."""

    def changed(self, refusal: Refusal) -> Form | None:
        """Return what a server may take instead, None if nothing is known."""
        if not self.chunking and "chunking_strategy" in (*refusal.fields, *refusal.said.split()):
            return self._replace(response="diarized_json", granular=False, chunking=True)
        sent = ["language", *(["timestamp_granularities"] if self.granular else []), "response_format"]
        field = unwanted(refusal, sent)
        if field == "timestamp_granularities":
            return self._replace(granular=False)
        if field == "response_format" and self.response != "json":
            return self._replace(response="json", granular=False)  # newer models give text alone
        return self._replace(language=False) if field == "language" and self.language else None


class Hosted:
    """Sends chunks to a server, as WAV; a context manager."""

    def __init__(
        self, config: HostedConfig, secret: Secret, timeout_s: float, workers: int, account: Account | None
    ) -> None:
        logging.getLogger("openai").setLevel(logging.WARNING)
        self._config, self._form, self._strangers = config, Form(), Strangers(config, "OpenAI's transcriptions")
        http = BareHttp(
            config, timeout_s, config.headers(secret), frozenset(),
            lambda status, headers, body: Refused(read_refusal(status, headers, body)),
        )  # fmt: skip
        address = config.address.rstrip("/").removesuffix("/audio/transcriptions")
        self._sdk = openai.AsyncOpenAI(
            base_url=address, api_key="unused", max_retries=0, http_client=http, default_query=config.query
        )
        self._calls = Calls(config.address, timeout_s, workers, None, account)

    def __enter__(self) -> Hosted:
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.close(self._sdk.close)

    def hear(self, chunk: Chunk, language: str | None) -> Heard:
        """Return what the server hears. Raises UserError, LlmRejected or Temporary."""
        if chunk.seconds < LEAST_SECONDS:
            return Heard(segments=[])
        sound, usd = _wave(chunk), self._usd(chunk)
        told = language if language and len(language) == 2 else None
        return self._calls.make(lambda: self._send(sound, chunk, told, usd), usd).heard

    def _usd(self, chunk: Chunk) -> float | None:
        if self._config.minute_usd is None:
            return 0.0 if self._config.is_local else None
        return self._config.minute_usd * chunk.seconds / 60

    async def _send(self, sound: bytes, chunk: Chunk, language: str | None, usd: float | None) -> _Paid:
        form, asked = self._form, [{"content": hashlib.sha256(sound).hexdigest()}]
        for _ in range(MOST_FORMS):
            try:
                body = await self._post(sound, language, form)
                with self._strangers.watch(asked):
                    heard = _read(body, chunk.seconds)
            except Refused as refused:
                refusal = refused.refusal
                if (changed := form.changed(refusal)) is None:
                    break
                form = changed
            else:
                self._form = form
                used = heard.usage.model_copy(update={"calls": 1, "cost_usd": usd or 0.0, "unpriced": int(usd is None)})
                return _Paid(heard=heard.model_copy(update={"usage": used}))
        raise self._strangers.blamed(asked, self._meaning(refusal))

    def _meaning(self, refusal: Refusal) -> Exception:
        """Return what a refusal means: a chunk is never longer than we have made it."""
        error = meaning(self._config, refusal)
        if isinstance(error, LlmRejected) and self._config.language and unwanted(refusal, ("language",)):
            return not_taken(self._config, refusal.detail, SETTING.format("language"))
        if isinstance(error, LlmRejected) and (error.kind == "too_long" or TOO_LONG.search(refusal.said)):
            return not_taken(self._config, refusal.detail, "it takes less sound at once; lower `chunk_seconds`")
        return error

    async def _post(self, sound: bytes, language: str | None, form: Form) -> bytes:
        create, temperature = self._sdk.audio.transcriptions.with_raw_response.create, self._config.temperature
        told = self._config.language or (language if form.language else None)
        try:
            answer = await create(
                file=("chunk.wav", sound, "audio/wav"), model=self._config.model, response_format=form.response,
                timestamp_granularities=["segment"] if form.granular else openai.omit,
                chunking_strategy="auto" if form.chunking else openai.omit,
                language=told or openai.omit,
                temperature=openai.omit if temperature is None else temperature,
            )  # fmt: skip
        except openai.APIError as e:
            if isinstance(e.__cause__, Refused | Fault | UserError | LlmRejected):
                raise e.__cause__ from None
            raise Fault(f"no connection ({type(e.__cause__).__name__})") from None
        return answer.http_response.content


def _read(body: bytes, seconds: float) -> Heard:
    """Read an answer; text without times lasts from the first to the last second. Raises Refused or Stranger."""
    found = object_in(body, KIND, "text")
    try:
        answer = _Answer.model_validate(found)
    except ValidationError:
        raise Stranger(f"the answer is not a {KIND} but an object with other fields") from None
    parts = [part for part in answer.segments or [] if part.text.strip()]
    if all(part.end is None for part in parts):
        parts = [_Part(start=0, end=seconds, text=answer.text or " ".join(part.text for part in parts))]
    latest = max((time for part in parts for time in (part.start, part.end) if time is not None), default=0.0)
    unit = next((unit for unit in UNITS if latest * unit <= seconds + PADDING_S), 1.0)
    segments, last = [], 0.0
    for part in parts:
        start = min(max((part.start or 0.0) * unit, last), seconds)
        last = min(max((part.end or 0.0) * unit, start), seconds)
        if part.text.strip():
            segments.append(
                Segment(start=round(start, 3), end=round(last, 3), text=part.text.strip(),
                        avg_logprob=part.avg_logprob, no_speech=part.no_speech_prob)
            )  # fmt: skip
    tokens = read_tokens(object_of(found.get("usage")))
    used = Usage(input_tokens=tokens.input, output_tokens=tokens.output)
    return Heard(segments=segments, language=answer.language.strip().lower()[:40] or None, usage=used)


def _wave(chunk: Chunk) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(chunk.samples.tobytes())
    return out.getvalue()
