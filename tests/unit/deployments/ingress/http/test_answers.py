"""What is answered is what is documented, and is written as before."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from deployments.ingress.http import answers, operator_answers
from deployments.ingress.http.answers import JsonAnswer
from deployments.ingress.http.documentation import ANSWERS, openapi
from deployments.ingress.http.routes import ROUTES, create_app
from tests.support.http_service import FILE, BrokenStages, events_of, service
from tests.support.paths import ROOT
from tests.support.scripted_stages import ScriptedStages

Json = dict[str, Any]

JSON = "application/json"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    made = service(ScriptedStages(3), tmp_path, jobs_dir=str(tmp_path / "jobs"))
    with TestClient(create_app(made)) as running:
        yield running


def schema_of(path: str, status: str = "200") -> Json:
    content: Json = openapi()["paths"][path]["get"]["responses"][status]["content"]
    return resolved(content[JSON]["schema"])


def resolved(schema: Json) -> Json:
    if "$ref" not in schema:
        return schema
    found: Json = openapi()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def differences(document: Any, schema: Json, where: str = "") -> Iterator[str]:
    """What a document has and its schema does not name, or the other way round."""
    schema = resolved(schema)
    if isinstance(document, dict) and "properties" in schema:
        yield from (f"{where}.{name} is not documented" for name in document.keys() - schema["properties"].keys())
        yield from (f"{where}.{name} is missing" for name in set(schema["required"]) - document.keys())
        for name, value in document.items():
            yield from differences(value, schema["properties"].get(name, {}), f"{where}.{name}")
    if isinstance(document, list):
        for value in document:
            yield from differences(value, schema.get("items", {}), f"{where}[]")


GETS = [route.path for route in ROUTES if "GET" in (route.methods or ()) and "{" not in route.path]


@pytest.mark.parametrize("path", [path for path in GETS if path not in {"/", "/docs", "/metrics"}])
def test_a_document_has_the_fields_that_are_documented(client: TestClient, path: str) -> None:
    client.post("/v1/audio/transcriptions", files=FILE)
    client.post("/v1/audio/transcriptions?async=true", files=FILE)
    assert not list(differences(client.get(path).json(), schema_of(path)))


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/pipeline"])
def test_so_has_that_of_a_service_that_is_not_well(tmp_path: Path, path: str) -> None:
    with TestClient(create_app(service(BrokenStages(), tmp_path))) as client:
        answer = client.get(path)
    assert answer.status_code == 503
    assert not list(differences(answer.json(), schema_of(path, "503")))


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({}, answers.TRANSCRIPTION),
        ({"response_format": "verbose_json"}, answers.VERBOSE_TRANSCRIPTION),
        (
            {"response_format": "verbose_json", "timestamp_granularities": ["word", "segment"]},
            answers.VERBOSE_TRANSCRIPTION,
        ),
    ],
    ids=["json", "segments", "words"],
)
def test_so_has_a_transcription(client: TestClient, fields: Json, answer: JsonAnswer[Any]) -> None:
    document = client.post("/v1/audio/transcriptions", files=FILE, data=fields).json()
    assert not list(differences(document, {"$ref": f"#/{answer.name}"}))


def test_so_has_a_job(client: TestClient) -> None:
    document = client.post("/v1/audio/transcriptions?async=true", files=FILE).json()
    cancelled = client.delete(f"/v1/jobs/{document['id']}").json()
    assert not list(differences(document, {"$ref": f"#/{answers.JOB.name}"}))
    assert cancelled.keys() in ({"id", "deleted"}, document.keys()), "it may have ended by then"


def test_so_has_an_error(client: TestClient) -> None:
    answer = client.get("/nowhere")
    assert not list(differences(answer.json(), {"$ref": f"#/{answers.ERROR.name}"}))


@pytest.mark.parametrize(("form", "last"), [("json", answers.TEXT_DONE), ("verbose_json", answers.VERBOSE_TEXT_DONE)])
def test_so_has_each_event_of_a_stream(client: TestClient, form: str, last: JsonAnswer[Any]) -> None:
    fields = {"stream": "true", "response_format": form}
    answer = client.post("/v1/audio/transcriptions", files=FILE, data=fields)
    events = events_of(answer.text)
    names = {"transcript.text.delta": answers.TEXT_DELTA.name, "transcript.text.done": last.name}
    assert [names[event["type"]] for event in events] == ["TextDelta"] * 3 + [last.name]
    for event in events:
        assert not list(differences(event, {"$ref": f"#/{names[event['type']]}"}))


def test_the_media_types_are_those_of_the_answers(client: TestClient) -> None:
    for path in GETS:
        documented = openapi()["paths"][path]["get"]["responses"]["200"]["content"]
        answered = client.get(path).headers["content-type"]
        assert {answered, answered.partition(";")[0]} & documented.keys(), path


def test_every_answer_is_documented() -> None:
    made = [value for module in (answers, operator_answers) for value in vars(module).values()]
    assert {value.name for value in made if isinstance(value, JsonAnswer)} == {answer.name for answer in ANSWERS}


def test_the_version_is_the_package_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert openapi()["info"]["version"] == project["version"]


def test_what_is_no_answer_of_its_type_is_noticed() -> None:
    with pytest.warns(UserWarning, match="Expected `str`"):
        answers.TRANSCRIPTION.response({"text": 1, "usage": {"type": "duration", "seconds": 1}})  # type: ignore[typeddict-item]


def test_documents_are_written_as_starlette_writes_json() -> None:
    document: answers.TranscriptionJson = {
        "text": 'Grüße, "散歩" \t\u2028<b>',
        "usage": {"type": "duration", "seconds": 1},
    }
    answer, plain = answers.TRANSCRIPTION.response(document), JSONResponse(document)
    assert answer.body == plain.body
    assert answer.headers == plain.headers
