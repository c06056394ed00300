"""`tuneline doctor --cluster`, with the real kubectl against an API server that is scripted."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kit.manifests import rendered
from tuneline.commands.start.cluster import amount
from tuneline.commands.tuneline import app

SECRET = "Y2FuYXJ5LTQ3MTE="
NAMESPACE = "team"
VALUES = {"store": {"uri": "s3://bucket/x", "existingSecret": "s3"}, "judge": {"existingSecret": "judge"}}
IMAGE = "quay.io/argoproj/workflow-controller:v3.7.4"


class Api(ThreadingHTTPServer):
    """Answers what it is given by path, and 404 for all else; a pod is taken unless `refusal` says why not."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        templates = [one for one in rendered(VALUES) if one["kind"] == "WorkflowTemplate"]
        crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        container = {"image": IMAGE}
        deployment = {"spec": {"template": {"spec": {"containers": [container]}}}}
        self.refusal = ""
        self.asked: list[tuple[str, str]] = []
        self.pods: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {
            "/version": {"gitVersion": "v1.34.4"},
            **{f"{crd}/{kind}.argoproj.io": {} for kind in ("workflows", "workflowtemplates", "workflowtaskresults")},
            "/apis/apps/v1/deployments": {"items": [deployment]},
            f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/workflowtemplates": {"items": templates},
            f"/api/v1/namespaces/{NAMESPACE}/resourcequotas": {"items": []},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": {
                "kind": "APIResourceList", "groupVersion": "v1",
                "resources": [{"name": "secrets", "singularName": "secret", "namespaced": True, "kind": "Secret",
                               "verbs": ["get", "list"]}],
            },
            **self.secret("s3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            **self.secret("judge", "ANTHROPIC_API_KEY"),
        }  # fmt: skip

    def secret(self, name: str, *keys: str) -> dict[str, Any]:
        found = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": dict.fromkeys(keys, SECRET)}
        return {f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}": found}


class Handler(BaseHTTPRequestHandler):
    server: Api
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(("GET", path))
        self.say(200, self.server.answers[path]) if path in self.server.answers else self.refuse(404, "not found")

    def do_POST(self) -> None:
        self.server.asked.append(("POST", self.path))
        self.server.pods.append(json.loads(b"".join(self.chunks())))
        self.refuse(403, self.server.refusal) if self.server.refusal else self.say(201, self.server.pods[-1])

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in the pieces that kubectl sends it in."""
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def refuse(self, status: int, text: str) -> None:
        reason = {403: "Forbidden", 404: "NotFound"}[status]
        self.say(status, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": text, "reason": reason,
                          "code": status})  # fmt: skip

    def say(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl on PATH")
    with Api() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context],
                  "users": [{"name": "u", "user": {}}], "current-context": "c"}  # fmt: skip
        (tmp_path / "config").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.setenv("HOME", str(tmp_path))
        yield server
        server.shutdown()


def doctor(tmp_path: Path) -> tuple[int, dict[str, tuple[str, str]], str]:
    words = ["doctor", "--cluster", NAMESPACE, "--json", "--store", str(tmp_path / "none")]
    done = CliRunner().invoke(app, words)
    rows, _ = json.JSONDecoder().raw_decode(done.output)
    return done.exit_code, {row["what"]: (row["state"], row["text"]) for row in rows}, done.output


def test_a_cluster_with_everything_is_fine_and_no_value_of_a_secret_is_shown(api: Api, tmp_path: Path) -> None:
    code, found, said = doctor(tmp_path)
    assert code == 0, said
    named = ("cluster", "Argo", "Argo version", "templates", "secret judge", "secret s3", "quota", "a stage's pod")
    assert {name: found[name][0] for name in named} == dict.fromkeys(named, "fine")
    assert "3.7.4" in found["Argo version"][1] and "ANTHROPIC_API_KEY" in found["secret judge"][1]
    assert SECRET not in said and "canary" not in said
    posted = [path for verb, path in api.asked if verb == "POST"]
    assert len(posted) == 1 and posted[0].startswith(f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All")
    main = api.pods[0]["spec"]["containers"][0]
    assert main["securityContext"]["capabilities"] == {"drop": ["ALL"]} and main["resources"]["requests"]


def test_what_stops_runs_on_a_cluster_is_named(api: Api, tmp_path: Path) -> None:
    api.answers |= api.secret("s3", "AWS_ACCESS_KEY_ID")
    del api.answers[f"/api/v1/namespaces/{NAMESPACE}/secrets/judge"]
    hard, used = {"requests.memory": "2Gi", "requests.cpu": "8"}, {"requests.memory": "1536Mi", "requests.cpu": "0"}
    quota = {"status": {"hard": hard, "used": used}}
    api.answers[f"/api/v1/namespaces/{NAMESPACE}/resourcequotas"] = {"items": [quota]}
    api.refusal = 'violates PodSecurity "restricted:latest"'
    code, found, said = doctor(tmp_path)
    assert code == 2
    assert found["secret s3"] == ("wrong", "has no AWS_SECRET_ACCESS_KEY")
    assert found["secret judge"][0] == "wrong" and "not found" in found["secret judge"][1]
    assert found["quota"][0] == "wrong" and "0.5 GiB of 2 GiB are left" in found["quota"][1]
    assert "requests.cpu" not in found["quota"][1]
    assert found["a stage's pod"][0] == "wrong" and "violates PodSecurity" in found["a stage's pod"][1]
    assert "wrong: secret judge, secret s3, quota, a stage's pod" in said


OF_OTHERS = {"spec": {"templates": [{"name": "main", "dag": {"tasks": []}}]}}


@pytest.mark.parametrize(("left_out", "others"), [("Argo", []), ("templates", []), ("templates", [OF_OTHERS])])
def test_a_cluster_without_argo_or_the_chart_says_what_to_install(
    api: Api, tmp_path: Path, left_out: str, others: list[Any]
) -> None:
    if left_out == "Argo":
        api.answers = {path: answer for path, answer in api.answers.items() if "argoproj" not in path}
    else:
        api.answers[f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/workflowtemplates"] = {"items": others}
    code, found, _ = doctor(tmp_path)
    assert code == 2 and found[left_out][0] == "wrong" and "install" in found[left_out][1]


def test_no_cluster_is_said(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.answers.clear()
    code, found, _ = doctor(tmp_path)
    assert code == 2 and found["cluster"][0] == "wrong" and "no cluster answers" in found["cluster"][1]
    monkeypatch.setenv("PATH", str(tmp_path))
    code, found, _ = doctor(tmp_path)
    assert code == 2 and "kubectl is not on PATH" in found["cluster"][1]


@pytest.mark.parametrize(
    ("text", "number"), [("500m", 0.5), ("4Gi", 4 * 2**30), ("1.5", 1.5), ("2k", 2000), ("1e3", 0), ("", 0), (3, 3)]
)
def test_quantities_are_read(text: str | int, number: float) -> None:
    assert amount(text) == number
