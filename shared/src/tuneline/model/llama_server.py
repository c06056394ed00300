"""llama-server as Tuneline uses it: on loopback, with flags that are said out loud, never left behind.

The converter checks a GGUF file with the same server, flags and build that the evaluator uses later. `serve` is the way
in::

    with serve(model, context_tokens=8192, slots=4, threads=None, log=scratch / "server.log") as server:
        server.post("/completion", {"prompt": ids, "n_predict": 1})
        ...
        server.ensure()  # between requests: starts it again if it has died
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import create_server
from subprocess import DEVNULL, Popen, TimeoutExpired
from threading import Lock

from tuneline.errors import Temporary, UserError
from tuneline.model.children import CRASHES, ending, environment, tied_to_us
from tuneline.model.gguf_header import refuse_unservable
from tuneline.model.llama_cpp import Placement, program
from tuneline.parsing.problems import printable
from tuneline.stage import Json

RESTARTS = 3
"""How often one server may die before the work is given back as `Temporary`."""


class Server:
    """One llama-server process. Its address stays the same when `ensure` has to start it again. Safe for threads."""

    def __init__(
        self, command: Sequence[str], model: Path, log: Path, start_timeout_s: float, port: int | None = None
    ) -> None:
        self.model, self._command, self._log, self._start_timeout_s = model, command, log, start_timeout_s
        self._told_port = port
        # An address that nobody else can have: a stranger on the same port cannot be taken for our server.
        self._prefix = f"/{secrets.token_hex(8)}" if port is None else ""
        self._process: Popen[bytes] | None = None
        self._port, self._restarts, self._lock = 0, 0, Lock()
        # The kernel ends the child with the *thread* that started it: one that lives as long as this object does so.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="llama-server")

    @property
    def url(self) -> str:
        """Base address without a slash at its end; the OpenAI-compatible API is at `url + "/v1"`."""
        return f"http://127.0.0.1:{self._port}{self._prefix}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def post(self, path: str, body: Mapping[str, object], *, timeout_s: float = 600.0) -> dict[str, Json]:
        """Return the server's JSON answer to a JSON request.

        Raises Temporary when it is gone, silent or still loading, UserError when it refuses; neither quotes any text.
        """
        status, answer = self._request("POST", path, json.dumps(body).encode(), timeout_s)
        if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            raise Temporary("llama-server is not ready.")
        if status != http.HTTPStatus.OK:
            raise UserError(f"llama-server refused POST {path} for {self.model.name} with HTTP status {status}.")
        return answer

    def ensure(self) -> None:
        """Start the server again if it has died. Raises Temporary when it has died more than `RESTARTS` times."""
        with self._lock:
            status = self._ending()
            while status is not None:
                if self._restarts == RESTARTS:
                    raise Temporary(f"llama-server ended {RESTARTS + 1} times, at last with {ending(status)}.")
                self._restarts += 1
                status = self._spawn()

    def _ending(self) -> int | None:
        """Return the exit status, None while the server runs. One that has stopped answering may be about to end."""
        if self._process and self._process.poll() is None and not self._healthy():
            with suppress(TimeoutExpired):  # it is busy then, or stuck: that is for the caller to find out
                return self._process.wait(5)  # a killed process still shows as running until its last thread is gone
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start the server and wait until it is healthy; a second try on another port if the first one is lost.

        Raises UserError when it refuses to serve the model or crashes on it twice, Temporary when it is killed or not
        healthy in time.
        """
        for _ in range(2):
            self._port = _free_port(self._told_port or 0)
            offset = self._log.stat().st_size if self._log.exists() else 0
            if (status := self._spawn()) is None:
                return
        assert status is not None
        problem = f"llama-server ended with {ending(status)} while it loaded {self.model.name}"
        if status < 0 and -status not in CRASHES:
            raise Temporary(f"{problem}.")
        if status < 0:
            raise UserError(f"{problem}, each time: the file has values that no model has. Make it again.")
        # No request has been served yet, so what the log says can only be about the model file.
        said = self._log.read_bytes()[offset:].decode(errors="replace").splitlines()
        reasons = [line for line in said if "error" in line.lower()] or said
        raise UserError(f"{problem}: {printable(' | '.join(reasons[-3:])) or 'it gave no reason.'}")

    def stop(self) -> None:
        """End the process, first politely; safe to call twice."""
        with self._lock:
            self._kill()
            self._starter.shutdown()

    def _spawn(self) -> int | None:
        """Return None once a new process is healthy, or its exit status if it ended."""
        self._process = process = self._starter.submit(self._popen).result()
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            if (status := process.poll()) is not None:
                return status
            if self._healthy():
                return None
            time.sleep(0.05)
        self._kill()
        raise Temporary(f"llama-server was not healthy within {self._start_timeout_s:g} s of starting.")

    def _popen(self) -> Popen[bytes]:
        flags = ["--host", "127.0.0.1", "--port", str(self._port), "--api-prefix", self._prefix]
        command = tied_to_us([*self._command, *flags])
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C in a terminal reaches the stage, which then stops the server.
            return Popen(command, stdin=DEVNULL, stdout=log, stderr=log, env=environment(), start_new_session=True)

    def _healthy(self) -> bool:
        try:
            return self._request("GET", "/health", None, 5.0)[0] == http.HTTPStatus.OK
        except Temporary:
            return False

    def _request(self, method: str, path: str, body: bytes | None, timeout_s: float) -> tuple[int, dict[str, Json]]:
        # http.client and not urllib: a proxy from the environment must never see these requests.
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout_s)
        try:
            connection.request(method, self._prefix + path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Temporary(f"llama-server did not answer {method} {path}: {type(error).__name__}.") from None
        finally:
            connection.close()
        return response.status, answer if isinstance(answer, dict) else {}

    def _kill(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except TimeoutExpired:
                self._process.kill()
                self._process.wait()


@contextmanager
def serve(
    model: Path,
    *,
    context_tokens: int,
    slots: int,
    threads: int | None,
    log: Path,
    start_timeout_s: float = 600.0,
    port: int | None = None,
    placed: Placement = Placement(),  # noqa: B008  (it cannot be changed)
    options: Sequence[str] = (),
) -> Iterator[Server]:
    """Serve `model` on 127.0.0.1 until the block ends, or this process does, however it ends.

    Each of the `slots` conversations at once has `context_tokens` tokens of its own. `threads` None takes what
    llama-server finds, and one thread for a small model. `log` gets errors only, and no text of a request. With a
    `port` (0 is any free one) the address is one for people, without the part that nobody can guess. `placed` says what
    a GPU computes, `options` are more of llama-server's own. Raises UserError when the file is damaged, the port taken,
    or the program is missing or refuses; Temporary when it does not get healthy.
    """
    refuse_unservable(model)
    flags = ["--model", str(model), "--ctx-size", str(context_tokens * slots), "--parallel", str(slots)]
    threads = threads or (1 if model.stat().st_size < _ONE_THREAD else None)
    flags += ["--threads", str(threads)] if threads else []
    command = [str(program("llama-server")), *flags, *placed.flags, *_FIXED_FLAGS, *options]
    server = Server(command, model, log, start_timeout_s, port)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _free_port(wanted: int) -> int:
    """Return the port, or any that is free for 0."""
    try:
        with create_server(("127.0.0.1", wanted)) as probe:
            port: int = probe.getsockname()[1]
            return port
    except OSError as error:
        raise UserError(
            f"port {wanted} cannot be used ({os.strerror(error.errno or 0)}). Choose another one."
        ) from None


_ONE_THREAD = 32 << 20
"""Bytes. A token of a smaller model takes so little that threads mostly wait for each other, in a busy loop."""

# Said out loud although some are today's defaults: they decide what is measured, stored or shown.
_FIXED_FLAGS = (
    "--jinja",  # the model's own chat template, not a built-in one that looks like it
    "--no-prefill-assistant",  # a conversation that ends with an answer is complete, not a beginning
    "--no-kv-unified",  # a slot's context is its own
    "--swa-full",  # a sliding window must not make a slot forget the start of its conversation
    *("--cache-ram", "0"),  # memory is the slots' and no more: a conversation stays on its slot
    "--no-context-shift",  # too long is an error, not a conversation with a hole
    "--offline",
    "--no-ui",
    "--no-slots",  # that endpoint shows prompts
    *("--log-verbosity", "1"),  # warnings quote requests and answers; errors do not
    *("--log-colors", "off", "--no-log-timestamps", "--no-log-prefix"),
)
