"""The recogniser `openai`: a server that speaks OpenAI's transcription endpoint."""

from __future__ import annotations

import io
import logging
import wave
from typing import Annotated

import openai
from pydantic import BaseModel, BeforeValidator, ValidationError

from tuneline.errors import Fault, LlmRejected, UserError
from tuneline.llm.calls import Calls
from tuneline.llm.config import Secret
from tuneline.llm.providers.provider import BareHttp
from tuneline.llm.providers.refusals import Refused, meaning, read_refusal, unwanted
from tuneline.stage import Account, Usage
from tuneline_transcriber.audio import RATE, Chunk
from tuneline_transcriber.recogniser import Heard, HostedConfig
from tuneline_transcriber.rows import Segment


def _number(value: object) -> object:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9 else None


_Number = Annotated[float | None, BeforeValidator(_number)]


class _Part(BaseModel):
    start: _Number = None
    end: _Number = None
    text: str = ""
    avg_logprob: _Number = None
    no_speech_prob: _Number = None


class _Answer(BaseModel):
    text: str
    language: str | None = None
    segments: list[_Part] | None = None


class _Paid(BaseModel):
    heard: Heard

    @property
    def usage(self) -> Usage:
        return self.heard.usage


class Hosted:
    """Sends chunks to a server, as WAV; a context manager."""

    def __init__(
        self, config: HostedConfig, secret: Secret, timeout_s: float, workers: int, account: Account | None
    ) -> None:
        logging.getLogger("openai").setLevel(logging.WARNING)
        self._config, self._plain = config, False
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
        sound, usd = _wave(chunk), self._usd(chunk)
        asked = self._config.language or (language if language and len(language) == 2 else None)
        return self._calls.make(lambda: self._send(sound, chunk, asked, usd), usd).heard

    def _usd(self, chunk: Chunk) -> float | None:
        if self._config.minute_usd is None:
            return 0.0 if self._config.is_local else None
        return self._config.minute_usd * chunk.seconds / 60

    async def _send(self, sound: bytes, chunk: Chunk, language: str | None, usd: float | None) -> _Paid:
        try:
            body = await self._post(sound, language)
        except Refused as refused:
            if self._plain or unwanted(refused.refusal, ("response_format", "timestamp_granularities")) is None:
                raise meaning(self._config, refused.refusal) from None
            self._plain = True  # newer models give text alone
            try:
                body = await self._post(sound, language)
            except Refused as again:
                raise meaning(self._config, again.refusal) from None
        usage = Usage(calls=1, cost_usd=usd or 0.0, unpriced=int(usd is None))
        return _Paid(heard=_read(body, chunk.seconds).model_copy(update={"usage": usage}))

    async def _post(self, sound: bytes, language: str | None) -> bytes:
        create, temperature = self._sdk.audio.transcriptions.with_raw_response.create, self._config.temperature
        try:
            answer = await create(
                file=("chunk.wav", sound, "audio/wav"), model=self._config.model,
                response_format="json" if self._plain else "verbose_json",
                timestamp_granularities=openai.omit if self._plain else ["segment"],
                language=language or openai.omit,
                temperature=openai.omit if temperature is None else temperature,
            )  # fmt: skip
        except openai.APIError as e:
            if isinstance(e.__cause__, Refused | Fault | UserError | LlmRejected):
                raise e.__cause__ from None
            raise Fault(f"no connection ({type(e.__cause__).__name__})") from None
        return answer.http_response.content


def _read(body: bytes, seconds: float) -> Heard:
    """Read an answer; text without times lasts from the first to the last second. Raises Fault."""
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError:
        raise Fault("an answer that is no transcription", paid=True) from None
    parts = answer.segments
    if not parts:
        parts = [_Part(start=0, end=seconds, text=answer.text)]
    segments, last = [], 0.0
    for part in parts:
        start = min(max(part.start or 0.0, last), seconds)
        last = min(max(part.end or start, start), seconds)
        if part.text.strip():
            segments.append(
                Segment(start=round(start, 3), end=round(last, 3), text=part.text.strip(),
                        avg_logprob=part.avg_logprob, no_speech=part.no_speech_prob)
            )  # fmt: skip
    language = answer.language.strip().lower()[:40] if answer.language else None
    return Heard(segments=segments, language=language or None)


def _wave(chunk: Chunk) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(chunk.samples.tobytes())
    return out.getvalue()
