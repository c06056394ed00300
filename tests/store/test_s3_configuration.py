"""Where the S3 server is and who we are: what every AWS tool reads, and nothing of our own."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from kit.s3_server import S3Server
from tuneline.errors import UserError
from tuneline.store.base import open_store

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture(autouse=True)
def nobody(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An environment that names the server and no credentials; the address of a store."""
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    return s3


def works(uri: str) -> bool:
    store = open_store(uri)
    store.put("key", b"value")
    return store.get("key") == b"value"


def test_without_credentials_the_error_names_the_ways_to_give_them(nobody: str) -> None:
    with pytest.raises(UserError, match=r"no credentials were found.*AWS_ACCESS_KEY_ID"):
        works(nobody)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_a_server_of_this_machine_is_asked_without_the_proxy_of_the_environment(
    nobody: str, name: str, monkeypatch: pytest.MonkeyPatch, s3_server: S3Server
) -> None:
    for variable in KEYS:
        monkeypatch.setenv(variable, s3_server.env[variable])
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert works(nobody)


def test_credentials_come_from_a_file_such_as_a_mounted_secret(
    nobody: str, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    key, secret = (s3_server.env[name] for name in KEYS)
    file.write_text(f"[team]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert works(nobody)


def test_credentials_come_from_the_agent_of_a_pod(
    nobody: str, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = (s3_server.env[name] for name in KEYS)
    (tmp_path / "token").write_text("pod-token")
    asked: list[str | None] = []

    class Agent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            body = {"AccessKeyId": key, "SecretAccessKey": secret, "Token": "", "Expiration": "2999-01-01T00:00:00Z"}
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Agent) as agent:
        threading.Thread(target=agent.serve_forever, kwargs={"poll_interval": 0.02}).start()
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{agent.server_address[1]}/")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        try:
            assert works(nobody)
        finally:
            agent.shutdown()
    assert asked == ["pod-token"]


def test_a_server_with_a_certificate_of_ones_own_is_trusted_through_a_ca_bundle_only(
    nobody: str, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, s3_server.env[name])
    authority, bundle = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    with tls_in_front_of(s3_server.endpoint, authority) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
        with pytest.raises(UserError, match=r"certificate.*AWS_CA_BUNDLE"):
            works(nobody)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
        assert works(nobody)


@contextmanager
def tls_in_front_of(endpoint: str, authority: trustme.CA) -> Iterator[str]:
    """Offer a plain server under TLS at another port of 127.0.0.1."""
    backend = urlsplit(endpoint)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    class Terminator(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                suppress(OSError),  # the client may hang up, because it does not trust us
                context.wrap_socket(self.request, server_side=True) as client,
                socket.create_connection((str(backend.hostname), int(backend.port or 80))) as server,
            ):
                back = threading.Thread(target=copy, args=(server, client))
                back.start()
                copy(client, server)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Terminator) as front:
        threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.02}).start()
        try:
            yield f"https://127.0.0.1:{front.server_address[1]}"
        finally:
            front.shutdown()


def copy(source: socket.socket, dest: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            dest.sendall(data)
        dest.shutdown(socket.SHUT_WR)
