from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kit.gguf_models import write_smallest
from tuneline.errors import Temporary, UserError
from tuneline.model import llama_server
from tuneline.model.llama_cpp import program


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


@pytest.fixture
def server(tiny_gguf: Path, log: Path) -> Iterator[llama_server.Server]:
    with llama_server.serve(tiny_gguf, context_tokens=256, slots=2, threads=1, log=log) as server:
        yield server


def start(log: Path, start_timeout_s: float = 20.0, model: Path | None = None) -> None:
    model = model or write_smallest(log.with_name("model.gguf"))
    with llama_server.serve(
        model, context_tokens=256, slots=1, threads=1, log=log, start_timeout_s=start_timeout_s
    ) as server:
        assert server.pid is not None


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_server_that_refuses_the_model_is_quoted(pretend: Callable[[str], Path], log: Path) -> None:
    pretend("echo tensor 7 is strange; exit 3")
    with pytest.raises(UserError, match=r"ended with status 3 while it loaded model\.gguf: tensor 7 is strange$"):
        start(log)


def test_a_server_that_is_killed_while_loading_is_temporary(pretend: Callable[[str], Path], log: Path) -> None:
    pretend("kill -9 $$")
    with pytest.raises(Temporary, match=r"ended with SIGKILL while it loaded model\.gguf"):
        start(log)


@pytest.mark.parametrize("crash", ["ABRT", "SEGV", "FPE"])
def test_a_server_that_crashes_on_the_model_twice_is_not_tried_for_ever(
    pretend: Callable[[str], Path], log: Path, crash: str
) -> None:
    pretend(f"ulimit -c 0; echo started; kill -{crash} $$")
    with pytest.raises(
        UserError, match=rf"ended with SIG{crash} while it loaded model\.gguf, each time: .* Make it again"
    ):
        start(log)
    assert log.read_text() == "started\n" * 2


def test_a_file_on_which_the_server_would_abort_is_refused_before_it_starts(
    pretend: Callable[[str], Path], log: Path
) -> None:
    pretend("echo started; exit 3")
    for field, size in (
        ("block_count", 10_000_000),
        ("block_count", 0),
        ("context_length", 0),
        ("embedding_length", 0),
    ):
        with pytest.raises(UserError, match=rf"model\.gguf is not a sound GGUF file: llama\.{field} is"):
            start(log, model=write_smallest(log.with_name("model.gguf"), **{field: size}))
    log.with_name("model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"model\.gguf is not a sound GGUF file: .*cut short"):
        start(log, model=log.with_name("model.gguf"))
    assert not log.exists()


def test_a_server_that_is_never_healthy_is_given_up_and_ended(pretend: Callable[[str], Path], log: Path) -> None:
    pretend("echo $$; exec sleep 60")
    with pytest.raises(Temporary, match=r"not healthy within 1\.5 s"):
        start(log, start_timeout_s=1.5)
    assert not alive(int(log.read_text()))


def test_a_stranger_on_the_port_is_not_taken_for_the_server(pretend: Callable[[str], Path], log: Path) -> None:
    stranger = """
        import http.server, sys
        class Healthy(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if self.path == "/health" else 404)
                self.end_headers()
        http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Healthy).serve_forever()
    """
    script = log.with_name("stranger.py")
    script.write_text(textwrap.dedent(stranger))
    pretend(f'exec {sys.executable} {script} "$@"')
    for seconds in (1.5, 20):  # the second for a machine so busy that the stranger was not there yet
        with pytest.raises(Temporary, match="not healthy"):
            start(log, start_timeout_s=seconds)
        if "/health" in log.read_text():
            break
    assert "/health" in log.read_text()


@pytest.mark.slow
def test_a_lost_port_costs_a_second_try(pretend: Callable[[str], Path], log: Path, tiny_gguf: Path) -> None:
    ports = log.with_name("ports")
    pretend(f'echo "$@" >> {ports}; test $(wc -l < {ports}) -gt 1 || exit 1; exec {program("llama-server")} "$@"')
    start(log, model=tiny_gguf)
    used = [line.split("--port ")[1].split()[0] for line in ports.read_text().splitlines()]
    assert len(set(used)) == 2


@pytest.mark.slow
def test_a_damaged_model_is_refused_with_a_reason(log: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(tiny_gguf.read_bytes()[:-100_000])
    with pytest.raises(UserError, match=r"^damaged\.gguf is not a sound GGUF file: .*tensors reach to"):
        start(log, model=damaged)


@pytest.mark.slow
def test_a_model_that_the_real_server_cannot_load_is_refused_with_its_words(log: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"while it loaded empty\.gguf: .*load"):
        start(log, model=write_smallest(tmp_path / "empty.gguf"))


@pytest.mark.slow
def test_a_server_answers_only_at_its_own_address(server: llama_server.Server) -> None:
    assert server.post("/tokenize", {"content": "<end_of_turn>", "add_special": True}) == {"tokens": [2, 6]}
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection("127.0.0.1", address.port)
    connection.request("GET", "/health")
    assert connection.getresponse().status == 404
    connection.close()


@pytest.mark.slow
def test_each_slot_has_the_whole_context(server: llama_server.Server) -> None:
    for slot in (0, 1):
        answer = server.post("/completion", {"prompt": [2] + [9] * 240, "n_predict": 1, "id_slot": slot})
        assert answer["tokens_evaluated"] == 241
    with pytest.raises(UserError, match="refused POST /completion"):
        server.post("/completion", {"prompt": [2] + [9] * 256, "n_predict": 1})


@pytest.mark.slow
def test_a_server_is_gone_after_the_block(tiny_gguf: Path, log: Path) -> None:
    with llama_server.serve(tiny_gguf, context_tokens=256, slots=1, threads=1, log=log) as server:
        pid = server.pid
        assert pid is not None and alive(pid)
    assert not alive(pid)
    with pytest.raises(Temporary, match="did not answer"):
        server.post("/tokenize", {"content": "x"})


@pytest.mark.slow
def test_a_dead_server_is_started_again_at_the_same_address_three_times(server: llama_server.Server) -> None:
    url = server.url
    for _ in range(llama_server.RESTARTS):
        kill(server)
        with pytest.raises(Temporary, match=r"did not answer POST /tokenize: \w+\."):
            server.post("/tokenize", {"content": "secret words"})
        server.ensure()
        assert server.url == url
        assert server.post("/tokenize", {"content": "<eos>"}) == {"tokens": [1]}
    kill(server)
    with pytest.raises(Temporary, match="ended 4 times, at last with SIGKILL"):
        server.ensure()


@pytest.mark.slow
def test_a_server_outlives_the_thread_that_restarted_it(server: llama_server.Server) -> None:
    kill(server)
    thread = threading.Thread(target=server.ensure)
    thread.start()
    thread.join()
    pid = server.pid
    time.sleep(0.3)
    server.ensure()
    assert server.pid == pid
    assert server.post("/tokenize", {"content": "<eos>"}) == {"tokens": [1]}


@pytest.mark.slow
def test_no_text_of_a_request_reaches_the_log_or_an_error(server: llama_server.Server, log: Path) -> None:
    canary = "CANARY-7f3a"
    server.post("/completion", {"prompt": canary, "n_predict": 4})
    server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": canary}], "max_tokens": 4})
    user = {"role": "user", "content": canary}
    for messages in ([user, user], [user | {"content": {"a": canary}}], [user | {"role": canary}], canary):
        with pytest.raises(UserError, match="refused POST") as refused:
            server.post("/v1/chat/completions", {"messages": messages})
        assert canary not in str(refused.value)
    assert canary not in log.read_text()


@pytest.mark.slow
def test_a_server_ends_with_a_parent_that_is_killed(tiny_gguf: Path, log: Path) -> None:
    script = f"""
        import time
        from pathlib import Path
        from tuneline.model import llama_server
        log = Path({str(log)!r})
        with llama_server.serve(Path({str(tiny_gguf)!r}), context_tokens=256, slots=1, threads=1, log=log) as server:
            print(server.pid, flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    assert wait_until(lambda: not alive(pid))


def kill(server: llama_server.Server) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not alive(pid))
