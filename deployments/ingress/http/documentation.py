"""``/openapi.json``, made from the very form that requests are checked with and the types that answers are built as."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any, Literal, get_args

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from deployments.ingress.form import PriorityName, TranscriptionForm
from deployments.ingress.http import answers, operator_answers
from deployments.ingress.http.door_documents import door_paths
from deployments.ingress.http.failures import AUDIO_TYPE, DEFAULT_PAGE, MAX_PAGE
from deployments.ingress.http.openapi_parts import (
    ERRORS,
    EVENTS,
    INTEGER,
    REF,
    REQUEST_ID_PARAMETER,
    STRING,
    TEXTS,
    Answer,
    Json,
    answers_with,
    as_json,
    as_text,
    error_answers,
    header,
    headers,
    path,
    query,
    ref,
)
from deployments.shared.headers import (
    DEVICE_HEADER,
    LIMIT_HEADER,
    LOCATION_HEADER,
    PRIORITY_HEADER,
    REMAINING_HEADER,
    REPLAY_HEADER,
    REQUEST_ID_HEADER,
    RESET_HEADER,
    TIMEOUT_HEADER,
    WARNINGS_HEADER,
)

ANSWERS: tuple[Answer, ...] = (
    answers.ERROR,
    answers.TRANSCRIPTION,
    answers.VERBOSE_TRANSCRIPTION,
    answers.DIARIZED_TRANSCRIPTION,
    answers.DIARIZED_SEGMENT,
    answers.TEXT_DELTA,
    answers.TEXT_DONE,
    answers.VERBOSE_TEXT_DONE,
    answers.STREAM_ERROR,
    answers.DETECTED_LANGUAGE,
    answers.JOB,
    answers.JOB_LIST,
    answers.JOB_DELETED,
    answers.MODEL,
    answers.MODEL_LIST,
    operator_answers.FAILURE,
    operator_answers.FAILURE_LIST,
    operator_answers.FAILURE_DELETED,
    operator_answers.LIVENESS,
    operator_answers.READINESS,
    operator_answers.HEALTH,
    operator_answers.PIPELINE_HEALTH,
    operator_answers.STATISTICS,
    operator_answers.PIPELINE_STATISTICS,
    operator_answers.STAGES_STATISTICS,
    answers.OPENAPI,
)

QUOTA: dict[str, str] = {
    LIMIT_HEADER: "requests a client may send in a minute; these headers are there where the service limits them",
    REMAINING_HEADER: "requests it may send at once now",
    RESET_HEADER: "time until it may send the full burst at once, such as `7s`",
}
SPECIAL_HEADERS = {WARNINGS_HEADER: "what changed nothing or could not be read, where there is such a thing", **QUOTA}
SPELLINGS = (
    "A field that is not named below changes nothing, which the answer says. One without a value, or with `None`, "
    "`null` or `undefined`, counts as absent. A list may be sent as repeated fields, with or without `[]` or a number "
    "behind their name, as a JSON list, and but for `keywords` with commas between its items; an object as JSON, or as "
    "one field per member, such as `chunking_strategy[threshold]`."
)
FILE: Json = {
    "type": "string",
    "format": "binary",
    "contentMediaType": "application/octet-stream",
    "description": "the audio, with a file name",
}
PRIORITY: Json = {"type": "string", "enum": list(get_args(PriorityName))}
TIMEOUT: Json = {"type": "number", "exclusiveMinimum": 0}
TIMEOUT_MEANING = (
    "the time for this request, up to `max_request_timeout_s` of the service; without it `request_timeout_s`, or "
    "`timeout_per_audio_s` per second of audio where that is more"
)


async def openapi_json(_: Request) -> Response:
    """Answer with the document."""
    return answers.OPENAPI.response(openapi())


@cache
def openapi() -> answers.OpenApiDocument:
    """Return the OpenAPI 3.1 document of everything this service answers."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Amanuensis",
            "version": version("amanuensis"),
            "description": "Speech to text with OpenAI's audio API. Every response carries "
            f"`{REQUEST_ID_HEADER}` and `{DEVICE_HEADER}`. Where the service has API keys, send yours as "
            "`Authorization: Bearer KEY`. Where it has none, every route answers a web page of another origin, or a "
            "host that is not allowed, with 403.",
        },
        "security": [{"apiKey": []}, {}],
        "paths": {
            "/v1/audio/transcriptions": {"post": _audio_operation("transcribe", "Audio to text in its own language")},
            "/v1/audio/translations": {"post": _audio_operation("translate", "Audio to English text")},
            **door_paths(),
            "/v1/jobs": {"get": answers_with("listJobs", "Your jobs, newest first", as_json(answers.JOB_LIST))},
            "/v1/jobs/{job}": {
                "get": _one_job("retrieveJob", "One job: how far it is", as_json(answers.JOB)),
                "delete": _one_job(
                    "deleteJob",
                    "Cancels a job that waits or runs, forgets one that has ended",
                    as_json(answers.JOB, answers.JOB_DELETED),
                ),
            },
            "/v1/jobs/{job}/result": {"get": _job_result()},
            "/v1/models": {
                "get": answers_with("listModels", "The models that are served", as_json(answers.MODEL_LIST))
            },
            "/v1/models/{model}": {
                "get": answers_with(
                    "retrieveModel", "One model", as_json(answers.MODEL), "404", parameters=[path("model")]
                )
            },
            "/health": {
                "get": _health("health", "Status at a glance; 503 until the encoder answers", operator_answers.HEALTH)
            },
            "/health/live": {
                "get": _public(answers_with("live", "The process answers", as_json(operator_answers.LIVENESS)))
            },
            "/health/ready": {
                "get": _public(_health("ready", "Requests will be served; 503 until then", operator_answers.READINESS))
            },
            "/health/pipeline": {
                "get": _operator(_health("healthPipeline", "Status of each stage", operator_answers.PIPELINE_HEALTH))
            },
            "/stats": {"get": _operator(answers_with("stats", "All statistics", as_json(operator_answers.STATISTICS)))},
            "/stats/pipeline": {
                "get": _operator(
                    answers_with(
                        "statsPipeline",
                        "Queue, stages, slots, encoder",
                        as_json(operator_answers.PIPELINE_STATISTICS),
                    )
                )
            },
            "/stats/stages": {
                "get": _operator(
                    answers_with("statsStages", "The three stages", as_json(operator_answers.STAGES_STATISTICS))
                )
            },
            "/metrics": {
                "get": _operator(
                    answers_with("metrics", "All statistics as Prometheus series", as_text(CONTENT_TYPE_PLAIN_0_0_4))
                )
            },
            "/failures": {"get": _operator(_list_failures())},
            "/failures/{failure}": {
                "get": _operator(
                    _one_failure("retrieveFailure", "One record of the failure log", as_json(operator_answers.FAILURE))
                ),
                "delete": _operator(
                    _one_failure(
                        "deleteFailure",
                        "Deletes one record, with its audio",
                        as_json(operator_answers.FAILURE_DELETED),
                    )
                ),
            },
            "/failures/{failure}/audio": {
                "get": _operator(
                    _one_failure(
                        "retrieveFailureAudio",
                        "The upload of a request that failed, if it was kept",
                        {AUDIO_TYPE: {"schema": {"type": "string", "format": "binary"}}},
                    )
                )
            },
            "/openapi.json": {"get": _public(answers_with("openapi", "This document", as_json(answers.OPENAPI)))},
            "/docs": {"get": _public(answers_with("docs", "This document for people", as_text("text/html")))},
            "/": {"get": _public(answers_with("page", "A page to transcribe with", as_text("text/html")))},
            "/page/{file}": {"get": _public(_page_file())},
        },
        "components": {"schemas": _schemas(), "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}}},
    }


def _audio_operation(operation: str, summary: str) -> Json:
    return {
        "operationId": operation,
        "summary": summary,
        "description": SPELLINGS,
        "parameters": [
            query(
                "async",
                "true: answer with a job at once; `/v1/jobs` has its progress and result. Without `stream` and "
                f"`{TIMEOUT_HEADER}`; the priority is low unless one is named",
                {"type": "boolean", "default": False},
            ),
            header(PRIORITY_HEADER, "who gets the next free slot", PRIORITY),
            header(TIMEOUT_HEADER, TIMEOUT_MEANING, TIMEOUT),
            header(
                REPLAY_HEADER, "id of the failure that is repeated: one more is not recorded while that one is", STRING
            ),
            REQUEST_ID_PARAMETER,
        ],
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": ref(TranscriptionForm.__name__)}},
        },
        "responses": {
            "200": {
                "description": "the text, in the format asked for",
                "headers": headers(SPECIAL_HEADERS),
                "content": {**TEXTS, **as_text("text/event-stream", EVENTS)},
            },
            "202": {
                "description": "the job, with `async=true`",
                "headers": headers({**QUOTA, LOCATION_HEADER: "path of the job"}),
                "content": as_json(answers.JOB),
            },
            **error_answers("400", "401", "404", "408", "413", "429", "500", "503", "504"),
        },
    }


def _health(operation: str, summary: str, answer: Answer) -> Json:
    """Return an operation that answers with the same document where the service is not well."""
    described = answers_with(operation, summary, as_json(answer))
    described["responses"]["503"] = {"description": ERRORS["503"], "content": as_json(answer)}
    return described


def _public(operation: Json) -> Json:
    """Return the operation as one that needs no key."""
    responses = {status: answer for status, answer in operation["responses"].items() if status != "401"}
    return {**operation, "responses": responses, "security": []}


def _operator(operation: Json) -> Json:
    """Return the operation as one that needs an operator's key."""
    return {**operation, "responses": {**operation["responses"], **error_answers("403")}}


def _page_file() -> Json:
    content = as_text("text/html") | as_text("text/css") | as_text("text/javascript") | as_text("image/svg+xml")
    return answers_with("pageFile", "What the page is made of", content, "404", parameters=[path("file")])


def _list_failures() -> Json:
    return answers_with(
        "listFailures",
        "Requests that were accepted and could not be answered, newest first",
        as_json(operator_answers.FAILURE_LIST),
        parameters=[
            query("limit", f"how many, 1 to {MAX_PAGE}; default {DEFAULT_PAGE}", INTEGER),
            query("before", "an id: only what failed before it, for the next page", STRING),
        ],
    )


def _one_failure(operation: str, summary: str, content: Json) -> Json:
    return answers_with(operation, summary, content, "404", parameters=[path("failure")])


def _one_job(operation: str, summary: str, content: Json) -> Json:
    return answers_with(operation, summary, content, "404", parameters=[path("job")])


def _job_result() -> Json:
    summary = "The answer that the request would have got at once, an error too"
    described = _one_job("retrieveJobResult", summary, TEXTS)
    described["responses"] |= error_answers("409", "500", "503", "504")
    return described


def _schemas() -> Json:
    """Return the schema of the form, of every answer, and of what these are made of."""
    written: list[tuple[str, Literal["validation", "serialization"], TypeAdapter[Any]]] = [
        (answer.name, "serialization", answer.adapter) for answer in ANSWERS
    ]
    form: TypeAdapter[Any] = TypeAdapter(TranscriptionForm)
    _, document = TypeAdapter.json_schemas([*written, ("form", "validation", form)], ref_template=REF)
    schemas: Json = document["$defs"]
    fields = schemas[TranscriptionForm.__name__]
    fields["properties"] = {"file": FILE, **{name: _nullable(field) for name, field in fields["properties"].items()}}
    fields["required"] = ["file"]
    return schemas


def _nullable(field: Json) -> Json:
    """Return the schema of a field that counts as absent where it is null."""
    if {"type": "null"} in field.get("anyOf", ()):
        return field
    about: Json = {name: field[name] for name in ("description", "default", "title") if name in field}
    return {"anyOf": [{name: field[name] for name in field.keys() - about.keys()}, {"type": "null"}], **about}
