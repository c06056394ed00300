from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneline.errors import UserError
from tuneline.llm.config import MODELS, OpenAiConfig, read_provider


def read(folder: Path, **settings: Any) -> OpenAiConfig:
    path = folder / "judge.yaml"
    path.write_text(json.dumps({"provider": "openai", "model": "m", **settings}, indent=1))
    return read_provider(path, {"openai": OpenAiConfig})


def refused(folder: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as error:
        read(folder, **settings)
    return str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "AZURE_OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY", "OPENAI_API_KEY",
        "JUDGE_API_KEY", "MY_JUDGE_KEY", "SIMULATOR_TOKEN", "LLM_API_TOKEN", "TEAM_2_LLM_API_KEY", "JUDGE_KEY",
        "MISTRAL_API_KEY", "TEAM_FIREWORKS_API_KEY", "NVIDIA_API_KEY", "GENERATOR_API_KEY",
        "WRITER_API_KEY", "CRITIC_TOKEN", "RECOGNISER_API_KEY",
    ],
)  # fmt: skip
def test_a_run_file_may_name_the_key_of_a_model(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, base_url="http://127.0.0.1:1/v1", api_key_env=name).key(lambda n: f"of {n}") == f"of {name}"


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_API_KEY", "S3_API_KEY", "MINIO_API_KEY",
        "CLOUDFLARE_API_TOKEN", "HUGGINGFACEHUB_API_KEY", "WANDB_API_KEY", "STRIPE_API_KEY", "DD_API_KEY",
        "TEAM_2_API_KEY", "DATADOG_API_KEY",
        "SENDGRID_API_KEY", "ELEVENLABS_API_KEY", "PINECONE_API_KEY", "GITHUB_OPENAI_API_KEY",
        "MY_API_KEY", "SLACK_TOKEN", "NOTOPENAI_API_KEY",
        "HF_TOKEN", "HF_API_KEY", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_API_KEY", "GITHUB_TOKEN", "GH_API_TOKEN",
        "GITLAB_API_TOKEN", "CI_JOB_TOKEN", "KUBERNETES_API_TOKEN", "KUBE_API_KEY", "ARGO_API_TOKEN", "DOCKER_API_KEY",
        "TUNELINE_API_KEY", "MY_AWS_MODEL_KEY", "TUNELINE_MODEL_KEY", "PATH", "HOME", "RUN_FILE", "DATABASE_PASSWORD",
        "SSH_PRIVATE_KEY", "JUDGE_API_KEY_FILE", "JUDGE_SECRET", "judge_api_key", "API_KEY\n", "É_API_KEY", "", 7,
        ["A"], "sk-proj-0123456789", "AKIAIOSFODNN7EXAMPLE",
    ],
)  # fmt: skip
def test_a_run_file_may_name_no_other_secret_and_what_it_names_is_not_repeated(tmp_path: Path, name: object) -> None:
    problem = refused(tmp_path, base_url="http://127.0.0.1:1/v1", api_key_env=name)
    assert "judge.yaml:5: api_key_env: the NAME of a variable with the key of a model, like" in problem
    assert name in ("", 7) or str(name) not in problem


@pytest.mark.parametrize(
    ("name", "host", "fine"),
    [
        ("OPENAI_API_KEY", "api.openai.com", True),
        ("OPENAI_API_KEY", "eu.api.openai.com", True),
        ("OPENAI_API_KEY", "evil.example", False),
        ("OPENAI_API_KEY", "openai.com.evil.example", False),
        ("OPENAI_API_KEY", "evilopenai.com", False),
        ("AZURE_OPENAI_API_KEY", "team.openai.azure.com", True),
        ("ANTHROPIC_API_KEY", "evil.example", False),
        ("OPENAI_TEAM_API_KEY", "evil.example", False),
        ("OPENAI_MODEL_KEY", "evil.example", False),
        ("TEAM_AZURE_OPENAI_API_KEY", "team.openai.azure.com", True),
        ("GEMINI_API_KEY", "generativelanguage.googleapis.com", True),
        ("JUDGE_API_KEY", "judge.example", True),
        ("TOGETHER_API_KEY", "api.together.ai", True),
        ("TOGETHER_API_KEY", "api.together.xyz", True),
        ("FIREWORKS_API_KEY", "api.openai.com", False),
        ("NVIDIA_API_KEY", "integrate.api.nvidia.com", True),
    ],
)
def test_a_vendors_key_goes_to_the_vendor_alone(tmp_path: Path, name: str, host: str, fine: bool) -> None:
    settings = {"base_url": f"https://{host}/v1", "api_key_env": name}
    if fine:
        assert read(tmp_path, **settings).key_name == name
    else:
        assert f"api_key_env: {name} is sent to " in refused(tmp_path, **settings)


@pytest.mark.parametrize(
    ("settings", "fine"),
    [
        ({"base_url": "http://judge.internal:8000/v1"}, True),
        ({"base_url": "http://judge.internal:8000/v1", "api_key_env": "JUDGE_API_KEY"}, False),
        ({"base_url": "HTTP://judge.internal/v1", "api_key_env": "JUDGE_API_KEY"}, False),
        ({"base_url": "http://127.evil.example/v1", "api_key_env": "JUDGE_API_KEY"}, False),
        ({"base_url": "http://localhost.evil.example/v1", "api_key_env": "JUDGE_API_KEY"}, False),
        ({"base_url": "http://judge.internal/v1", "api_key_env": "JUDGE_API_KEY", "insecure_http": True}, True),
        ({"base_url": "https://judge.internal/v1", "api_key_env": "JUDGE_API_KEY"}, True),
        ({"base_url": "http://localhost:8000/v1", "api_key_env": "JUDGE_API_KEY"}, True),
        ({"base_url": "http://127.0.0.9:8000/v1", "api_key_env": "JUDGE_API_KEY"}, True),
        ({"base_url": "http://[::1]:8000/v1", "api_key_env": "JUDGE_API_KEY"}, True),
    ],
)
def test_a_key_goes_over_plain_http_to_another_machine_only_when_allowed(
    tmp_path: Path, settings: dict[str, Any], fine: bool
) -> None:
    if fine:
        read(tmp_path, **settings)
    else:
        assert "over http:// others can read the key" in refused(tmp_path, **settings)


def test_the_name_of_a_model_cannot_forge_a_line_of_a_log(tmp_path: Path) -> None:
    assert read(tmp_path, model="Qwen/Qwen3 8B: (\u00e9)").model
    for name in ("m\nlevel=error", "m\x1b[2J", "m\x9b", "m\u202e", "m\u2028", ""):
        assert "judge.yaml:3: model: string should" in refused(tmp_path, model=name)
        assert len(refused(tmp_path, model=name).splitlines()) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://openrouter.ai/api/v1", "https://our-team.openai.azure.com/openai/deployments/judge", "http://[::1]:8080",
        "https://gateway.example/abcdefghijklmnopqrstuvwxyz/ABCDEFGHIJKLMNOPQRSTUVWXYZ/0123456789-._~", "HTTP://Host/V1",
    ],
)  # fmt: skip
def test_an_address_may_have_any_plain_path(tmp_path: Path, url: str) -> None:
    assert read(tmp_path, base_url=url).address == url


SECRET = "sk-0123456789"


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}@a/v1", f"http://{SECRET}@a/v1", f"https://a/v1?key={SECRET}", f"https://a/v1?api_key={SECRET}",
        f"https://a/v1#{SECRET}", f"https://a\\@{SECRET}", f"ftp://a/{SECRET}", f"https://a/\n{SECRET}", f"http://[{SECRET}",
        f"http://a:{'9' * 20}/{SECRET}", f"http:///{SECRET}", f"http://a b/{SECRET}", f"https://a/\u202e{SECRET}",
        f"http://[::1].evil.example/{SECRET}", f"http://[:::]/{SECRET}", f"http://a:70000/{SECRET}",
        f"http://a..b/{SECRET}", f"https://\u24d0/{SECRET}", f"https://a%2f/{SECRET}", f"https://a:/{SECRET}", f"https://a..b:x/{SECRET}",
        f"https:a/{SECRET}", f"//a/{SECRET}", f"https://a\u212a/{SECRET}", f"https://a/\u017f{SECRET}",
    ],
)  # fmt: skip
def test_an_address_with_a_key_in_it_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    problem = refused(tmp_path, base_url=url)
    assert problem.endswith("judge.yaml:4: base_url: an address like http://host:port/v1, without key or query")
    assert SECRET not in problem


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"provider": "anthropic", "seed": 0}, "seed: unknown"),
        ({"provider": "anthropic", "temperature": 1.5}, "temperature: "),
        ({"provider": "anthropic", "thinking": 512}, "thinking"),
        ({"provider": "anthropic", "thinking": 8192}, "thinking: must be less than `max_tokens`"),
        ({"provider": "anthropic", "effort": "enormous"}, "effort: "),
        ({"provider": "google", "thinking": "enormous"}, "thinking"),
        ({"provider": "google", "effort": "low"}, "effort: unknown"),
        ({"provider": "openai", "thinking": "low"}, "thinking: unknown"),
        ({"provider": "mistral"}, "provider: unknown; known: "),
        ({"provider": "ollama"}, "Ollama, vLLM, LM Studio and others of its protocol are `openai` with a `base_url`"),
    ],
)
def test_each_provider_has_the_settings_of_its_protocol(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text(json.dumps({"model": "m", **settings}, indent=1))
    with pytest.raises(UserError, match=words):
        read_provider(path, MODELS)


def test_what_an_answer_depends_on_is_the_model_and_its_settings_alone(tmp_path: Path) -> None:
    assert read(tmp_path, api_key_env="JUDGE_API_KEY", input_usd=1, output_usd=1).identity == {
        "model": "m", "base_url": None, "temperature": 0.0, "max_tokens": 8192, "seed": 0,
        "response_format": "json_schema",
    }  # fmt: skip
    claude = MODELS["anthropic"].model_validate({"provider": "anthropic", "model": "m", "thinking": 2048})
    assert claude.identity["thinking"] == 2048 and "seed" not in claude.identity


def test_the_second_name_of_googles_key_is_as_good(tmp_path: Path) -> None:
    def secret(name: str) -> str:
        if name != "GOOGLE_API_KEY":
            raise UserError(f"{name} is not set")
        return "key"

    config = MODELS["google"].model_validate({"provider": "google", "model": "m"})
    assert config.key(secret) == "key"
    named = MODELS["google"].model_validate({"provider": "google", "model": "m", "api_key_env": "GEMINI_API_KEY"})
    with pytest.raises(UserError, match="GEMINI_API_KEY is not set"):
        named.key(secret)


@pytest.mark.parametrize(
    "address",
    ["https://openrouter.ai/api/v1", "https://team.openai.azure.com/openai/v1", "https://api.groq.com/openai/v1",
     "http://localhost:11434/v1/", "https://generativelanguage.googleapis.com/v1beta/openai", "http://gpu:8000/K/S/I/kis",
     "https://api.example/v1/chat/completions"],
)  # fmt: skip
def test_any_letter_may_stand_in_an_address(address: str) -> None:
    assert OpenAiConfig(provider="openai", model="m", base_url=address).address == address
