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

from kit.gguf_models import convert_tiny
from kit.places import ROOT
from tuneline.errors import Temporary, UserError
from tuneline.model import llama_cpp

REAL = llama_cpp.program("llama-server")


@pytest.fixture(scope="session")
def tiny_gguf(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert_tiny(tiny_base, tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Install a script as the only llama-server that can be found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)

    def install(script: str) -> Path:
        file = folder / "llama-server"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(folder / "python"))
        return file

    return install


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


@pytest.fixture
def server(tiny_gguf: Path, log: Path) -> Iterator[llama_cpp.Server]:
    with llama_cpp.serve(tiny_gguf, context_tokens=256, slots=2, threads=1, log=log) as server:
        yield server


def start(log: Path, start_timeout_s: float = 20.0, model: Path = Path("model.gguf")) -> None:
    with llama_cpp.serve(
        model, context_tokens=256, slots=1, threads=1, log=log, start_timeout_s=start_timeout_s
    ) as server:
        assert server.pid is not None


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_missing_program_is_named_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"`llama-quantize` is neither beside .* nor on PATH.*make setup"):
        llama_cpp.program("llama-quantize")


def test_the_program_beside_python_goes_before_path(
    pretend: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = pretend("exit 0")
    other = tmp_path / "other"
    other.mkdir()
    (other / "llama-server").symlink_to(REAL)
    monkeypatch.setenv("PATH", str(other))
    assert llama_cpp.program("llama-server") == beside
    beside.unlink()
    assert llama_cpp.program("llama-server") == other / "llama-server"


def test_a_missing_converter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(UserError, match=r"convert_hf_to_gguf\.py does not exist.*make setup"):
        llama_cpp.converter()


def test_the_version_is_the_pinned_one() -> None:
    pins = (ROOT / "requirements" / "llama-cpp.txt").read_text()
    assert pins.split()[0].replace("==", "-") in llama_cpp.version(REAL)


def test_a_program_without_a_version_is_refused(pretend: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match="names no version"):
        llama_cpp.version(pretend("echo hello"))


def test_a_program_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"llama-quantize ended with status 1: .*missing\.gguf"):
        llama_cpp.run_program([llama_cpp.program("llama-quantize"), tmp_path / "missing.gguf", tmp_path / "x", "Q4_0"])


def test_a_program_that_is_killed_is_temporary(pretend: Callable[[str], Path]) -> None:
    with pytest.raises(Temporary, match="llama-server was ended by SIGKILL"):
        llama_cpp.run_program([pretend("kill -9 $$")])


def test_a_program_ignores_settings_in_the_environment(
    pretend: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_ARG_CTX_SIZE", "17")
    monkeypatch.setenv("TUNELINE_OTHER", "kept")
    with pytest.raises(UserError, match=r"status 3: size  other kept$"):
        llama_cpp.run_program([pretend('echo "size $LLAMA_ARG_CTX_SIZE other $TUNELINE_OTHER"; exit 3')])


def test_a_server_that_refuses_the_model_is_quoted(pretend: Callable[[str], Path], log: Path) -> None:
    pretend("echo tensor 7 is strange; exit 3")
    with pytest.raises(UserError, match=r"ended with status 3 while it loaded model\.gguf: tensor 7 is strange$"):
        start(log)


def test_a_server_that_is_killed_while_loading_is_temporary(pretend: Callable[[str], Path], log: Path) -> None:
    pretend("kill -9 $$")
    with pytest.raises(Temporary, match=r"ended with SIGKILL while it loaded model\.gguf"):
        start(log)


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
    with pytest.raises(Temporary, match="not healthy"):
        start(log, start_timeout_s=1.5)
    assert "/health" in log.read_text()


@pytest.mark.slow
def test_a_lost_port_costs_a_second_try(pretend: Callable[[str], Path], log: Path, tiny_gguf: Path) -> None:
    ports = log.with_name("ports")
    pretend(f'echo "$@" >> {ports}; test $(wc -l < {ports}) -gt 1 || exit 1; exec {REAL} "$@"')
    start(log, model=tiny_gguf)
    used = [line.split("--port ")[1].split()[0] for line in ports.read_text().splitlines()]
    assert len(set(used)) == 2


@pytest.mark.slow
def test_a_damaged_model_is_refused_with_a_reason(log: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(tiny_gguf.read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"while it loaded damaged\.gguf: .*load"):
        start(log, model=damaged)


@pytest.mark.slow
def test_a_server_answers_only_at_its_own_address(server: llama_cpp.Server) -> None:
    assert server.post("/tokenize", {"content": "<end_of_turn>", "add_special": True}) == {"tokens": [2, 6]}
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection("127.0.0.1", address.port)
    connection.request("GET", "/health")
    assert connection.getresponse().status == 404
    connection.close()


@pytest.mark.slow
def test_each_slot_has_the_whole_context(server: llama_cpp.Server) -> None:
    for slot in (0, 1):
        answer = server.post("/completion", {"prompt": [2] + [9] * 240, "n_predict": 1, "id_slot": slot})
        assert answer["tokens_evaluated"] == 241
    with pytest.raises(UserError, match="refused POST /completion"):
        server.post("/completion", {"prompt": [2] + [9] * 256, "n_predict": 1})


@pytest.mark.slow
def test_a_server_is_gone_after_the_block(tiny_gguf: Path, log: Path) -> None:
    with llama_cpp.serve(tiny_gguf, context_tokens=256, slots=1, threads=1, log=log) as server:
        pid = server.pid
        assert pid is not None and alive(pid)
    assert not alive(pid)
    with pytest.raises(Temporary, match="did not answer"):
        server.post("/tokenize", {"content": "x"})


@pytest.mark.slow
def test_a_dead_server_is_started_again_at_the_same_address_three_times(server: llama_cpp.Server) -> None:
    url = server.url
    for _ in range(llama_cpp.RESTARTS):
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
def test_a_server_outlives_the_thread_that_restarted_it(server: llama_cpp.Server) -> None:
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
def test_no_text_of_a_request_reaches_the_log_or_an_error(server: llama_cpp.Server, log: Path) -> None:
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
        from tuneline import llama_cpp
        log = Path({str(log)!r})
        with llama_cpp.serve(Path({str(tiny_gguf)!r}), context_tokens=256, slots=1, threads=1, log=log) as server:
            print(server.pid, flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    assert wait_until(lambda: not alive(pid))


def kill(server: llama_cpp.Server) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not alive(pid))
