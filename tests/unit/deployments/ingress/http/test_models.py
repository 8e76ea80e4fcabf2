"""The names that a model answers to, and the list of them."""

from pathlib import Path

import openai
import pytest
from starlette.testclient import TestClient

from deployments.ingress.http.routes import create_app
from deployments.shared.headers import WARNINGS_HEADER
from deployments.shared.settings import Settings
from tests.support.http_service import post, service
from tests.support.scripted_stages import ScriptedStages

OWN = "demo-en"
ALIASES = Settings.model_fields["model_aliases"].default


def client_of(directory: Path, *, accept_any_model: bool = False) -> TestClient:
    return TestClient(create_app(service(ScriptedStages(), directory, accept_any_model=accept_any_model)))


@pytest.mark.parametrize("name", [OWN, *ALIASES, "gpt-4o-mini-transcribe-2025-12-15"])
def test_openais_names_are_those_of_the_served_model(tmp_path: Path, name: str) -> None:
    with client_of(tmp_path) as client:
        answer = post(client, model=name)
        assert answer.status_code == 200
        assert WARNINGS_HEADER not in answer.headers
        assert client.get(f"/v1/models/{name}").json()["serves"] == OWN


@pytest.mark.parametrize("name", ["whisper-2", "base", "whisper-1-turbo", "whisper-1-2025", "-2025-12-15"])
def test_another_name_is_rejected(tmp_path: Path, name: str) -> None:
    with client_of(tmp_path) as client:
        for answer in (post(client, model=name), client.get(f"/v1/models/{name}")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("name", ["", "None"])
def test_no_name_is_that_of_the_served_model(tmp_path: Path, name: str) -> None:
    with client_of(tmp_path) as client:
        assert post(client, model=name).status_code == 200


def test_any_name_is_accepted_where_the_operator_says_so_and_the_answer_names_the_model(tmp_path: Path) -> None:
    with client_of(tmp_path, accept_any_model=True) as client:
        answer = post(client, model="Systran/faster-whisper-base")
        assert answer.status_code == 200
        expected = f"The model Systran/faster-whisper-base is not served here; {OWN} answered."
        assert answer.headers[WARNINGS_HEADER] == expected
        assert client.get("/v1/models/Systran/faster-whisper-base").json()["serves"] == OWN
        assert WARNINGS_HEADER not in post(client, model="whisper-1").headers


def test_openais_client_reads_the_list(tmp_path: Path) -> None:
    with client_of(tmp_path) as http:
        asked = openai.OpenAI(base_url="http://testserver/v1", api_key="unused", http_client=http, max_retries=0)
        assert [model.id for model in asked.models.list()] == [OWN, *ALIASES]
        assert asked.models.retrieve("gpt-4o-mini-transcribe").id == "gpt-4o-mini-transcribe"
