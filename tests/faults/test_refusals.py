"""What no retry can mend: one clear line in seconds, after three calls at most, and nothing left behind."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kit.fault_parts import Place
from kit.s3_proxy import Kind, Proxy

CREDENTIALS = (
    r"Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY \(or the role\), and what they may do in this bucket\."
)
SERVER = r", (3 times|once)\. Check AWS_ENDPOINT_URL and the network, then run the same command again\."


def commands(place: Place, uri: str) -> dict[str, tuple[str | Path, ...]]:
    """Each command that opens a store; the walker reads its words from a folder or from the store."""
    (place.folder / "words.txt").write_text("some words")
    local = place.run_file("local", inputs={"words": "words.txt"})
    stored = place.run_file("stored", inputs={"words": f"{uri}/given/words.txt"})
    return {
        "stage": ("walker", local, uri, place.scratch),
        "stage with stored input": ("walker", stored, uri, place.scratch),
        "show": ("tuneline", "show", "demo", "--store", uri),
        "gc": ("tuneline", "gc", "--store", uri),
    }


COMMANDS = ("stage", "stage with stored input", "show", "gc")


def refused(place: Place, network: Proxy, name: str, code: int, message: str, uri: str = "") -> None:
    ended = place.start(*commands(place, uri or place.uri)[name], pace={}).end()
    assert ended.code == code, ended.said
    assert len(ended.said.splitlines()) == 1, ended.said
    assert re.search(message, ended.said), ended.said
    assert ended.seconds < 40, "ten on an idle machine; a minute for each time that nothing answers would be too long"
    assert len(network.seen) <= 3
    assert place.all_keys() == set()
    assert not list(place.scratch.glob("*"))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("403 AccessDenied", rf"access denied \((AccessDenied|403)\)\. {CREDENTIALS}"),
        ("403 ExpiredToken", rf"(the credentials have expired \(ExpiredToken\)\. Renew them|\(403\)\. {CREDENTIALS})"),
        ("400 ExpiredToken", rf"(the credentials have expired \(ExpiredToken\)\. Renew them|\(400\)\. {CREDENTIALS})"),
    ],
)
def test_a_server_that_lets_nobody_in(place: Place, network: Proxy, name: str, kind: Kind, message: str) -> None:
    network.storm(1, kind)
    refused(place, network, name, 2, message)
    assert network.hits[kind] == len(network.seen) >= 1


@pytest.mark.parametrize(
    ("name", "kind", "code", "message"),
    [
        ("stage", "404 web page", 2, r"this is not an S3 server \(404\)\. Check AWS_ENDPOINT_URL\."),
        ("gc", "404 web page", 2, r"this is not an S3 server \(404\)\. Check AWS_ENDPOINT_URL\."),
        ("gc", "200 web page", 75, f"the answer is not one of an S3 server{SERVER}"),
    ],
)
def test_a_web_server_in_the_place_of_an_s3_server(
    place: Place, network: Proxy, name: str, kind: Kind, code: int, message: str
) -> None:
    network.storm(1, kind)
    refused(place, network, name, code, message)


@pytest.mark.parametrize("name", ["stage", "stage with stored input"])
@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("AWS_SECRET_ACCESS_KEY", rf"access denied \((SignatureDoesNotMatch|403)\)\. {CREDENTIALS}"),
        ("AWS_ACCESS_KEY_ID", rf"access denied \((InvalidAccessKeyId|403)\)\. {CREDENTIALS}"),
    ],
)
def test_a_key_that_the_server_does_not_know(
    place: Place, watched: Proxy, monkeypatch: pytest.MonkeyPatch, name: str, variable: str, message: str
) -> None:
    monkeypatch.setenv(variable, "wrong")
    refused(place, watched, name, 2, message)
    assert watched.seen


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bucket_that_does_not_exist(place: Place, watched: Proxy, name: str) -> None:
    refused(place, watched, name, 2, r"there is no such bucket\. Create it, or correct the address\.", "s3://nobody/x")
    assert watched.seen


def test_a_bucket_that_cannot_be_one(place: Place, watched: Proxy) -> None:
    refused(place, watched, "gc", 2, "Invalid bucket name", "s3://no bucket/x")


@pytest.fixture
def full() -> Iterator[str]:
    """The address of a port that takes no connection and does not refuse it either, like a firewall."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(2):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def free() -> str:
    """The address of a port that nobody listens to."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{server.getsockname()[1]}"


ABSENT: dict[str, tuple[Callable[[pytest.FixtureRequest], str], int, str]] = {
    "refused": (lambda it: str(it.getfixturevalue("free")), 75, f"Could not connect to the endpoint URL: .*{SERVER}"),
    "dropped": (lambda it: str(it.getfixturevalue("full")), 75, f"Connect timeout on endpoint URL: .*{SERVER}"),
    "no name": (lambda _: "http://no-such-host.invalid:8333", 75, f"Could not connect to .*no-such-host.*{SERVER}"),
    "no scheme": (lambda _: "127.0.0.1:8333", 2, r"Invalid endpoint: 127\.0\.0\.1:8333\."),
    "no TLS": (
        lambda it: str(it.getfixturevalue("watched").endpoint).replace("http:", "https:"), 75,
        f"SSL validation failed for https://127.*{SERVER}",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("absent", "name"),
    [*((absent, "stage") for absent in ABSENT), ("refused", "stage with stored input"), ("refused", "gc")],
)
def test_a_server_that_is_not_there(
    place: Place,
    watched: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    name: str,
    absent: str,
) -> None:
    address, code, message = ABSENT[absent]
    monkeypatch.setenv("AWS_ENDPOINT_URL", address(request))
    refused(place, watched, name, code, message)
