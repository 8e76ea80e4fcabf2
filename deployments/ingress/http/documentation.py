"""``/openapi.json``, made from the very form that requests are checked with, and ``/docs``, a page of plain HTML."""

from __future__ import annotations

import html
from functools import cache
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from deployments.ingress.failures.record import Failure
from deployments.ingress.form import PriorityName, TranscriptionForm
from deployments.ingress.http.context import REQUEST_ID
from deployments.ingress.http.failures import AUDIO_TYPE, DEFAULT_PAGE, MAX_PAGE
from deployments.ingress.http.forms import REJECTED
from deployments.shared.headers import (
    DEVICE_HEADER,
    LIMIT_HEADER,
    PRIORITY_HEADER,
    REMAINING_HEADER,
    REPLAY_HEADER,
    REQUEST_ID_HEADER,
    RESET_HEADER,
    TIMEOUT_HEADER,
)

Json = dict[str, Any]

ERRORS: dict[str, str] = {
    "400": "a parameter or the audio is at fault",
    "401": "no API key, or one that is not known here",
    "403": "the key is not an operator's",
    "404": "no such model, record or route",
    "405": "another method is needed",
    "408": "the upload took too long",
    "413": "the upload is larger than the limit",
    "429": "more requests in a minute, or at a time, than one client may send (with `Retry-After`)",
    "500": "an error nobody foresaw",
    "503": "overloaded (with `Retry-After`), starting, stopping or broken",
    "504": "the deadline passed after the work had begun (with `x-should-retry: false`)",
}
QUOTA: dict[str, str] = {
    LIMIT_HEADER: "requests a client may send in a minute; these headers are there where the service limits them",
    REMAINING_HEADER: "requests it may send at once now",
    RESET_HEADER: "time until it may send the full burst at once, such as `7s`",
}
NUMBER: Json = {"type": "number"}
STRING: Json = {"type": "string"}
INTEGER: Json = {"type": "integer"}
PRIORITY: Json = {"type": "string", "enum": list(get_args(PriorityName))}
TIMEOUT: Json = {"type": "number", "exclusiveMinimum": 0}
TIMEOUT_MEANING = (
    "the time for this request, up to `max_request_timeout_s` of the service; without it `request_timeout_s`, or "
    "`timeout_per_audio_s` per second of audio where that is more"
)
REQUEST_ID_PARAMETER: Json = {
    "name": REQUEST_ID_HEADER,
    "in": "header",
    "required": False,
    "description": "your name for this request, to find it in the log; sent back",
    "schema": {"type": "string", "pattern": REQUEST_ID},
}


async def openapi_json(_: Request) -> Response:
    return JSONResponse(openapi())


async def docs(_: Request) -> Response:
    return HTMLResponse(_page(openapi()))


@cache
def openapi() -> Json:
    """The OpenAPI 3.1 document of everything this service answers."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Amanuensis",
            "version": "0.1.0",
            "description": "Speech to text with OpenAI's audio API. Every response carries "
            f"`{REQUEST_ID_HEADER}` and `{DEVICE_HEADER}`. Where the service has API keys, send yours as "
            "`Authorization: Bearer KEY`.",
        },
        "security": [{"apiKey": []}, {}],
        "paths": {
            "/v1/audio/transcriptions": {"post": _audio_operation("transcribe", "Audio to text in its own language")},
            "/v1/audio/translations": {"post": _audio_operation("translate", "Audio to English text")},
            "/v1/models": {"get": _read("listModels", "The models that are served", "ModelList")},
            "/v1/models/{model}": {
                "get": {
                    **_read("retrieveModel", "One model", "Model", "404"),
                    "parameters": [
                        {"name": "model", "in": "path", "required": True, "schema": STRING},
                        REQUEST_ID_PARAMETER,
                    ],
                }
            },
            "/health": {"get": _read("health", "Status at a glance; 503 until the encoder answers", "Status", "503")},
            "/health/live": {"get": _public(_read("live", "The process answers", "Status"))},
            "/health/ready": {
                "get": _public(_read("ready", "Requests will be served; 503 until then", "Status", "503"))
            },
            "/health/pipeline": {"get": _operator(_read("healthPipeline", "Status of each stage", "Status", "503"))},
            "/stats": {"get": _operator(_read("stats", "All statistics", "Statistics"))},
            "/stats/pipeline": {
                "get": _operator(_read("statsPipeline", "Queue, stages, slots, encoder", "Statistics"))
            },
            "/stats/stages": {"get": _operator(_read("statsStages", "The three stages", "Statistics"))},
            "/metrics": {"get": _operator(_metrics())},
            "/failures": {"get": _operator(_list_failures())},
            "/failures/{failure}": {
                "get": _operator(_one_failure("retrieveFailure", "One record of the failure log", "Failure")),
                "delete": _operator(
                    _one_failure("deleteFailure", "Deletes one record, with its audio", "FailureDeleted")
                ),
            },
            "/failures/{failure}/audio": {"get": _operator(_failure_audio())},
            "/openapi.json": {"get": _public(_read("openapi", "This document", "Statistics"))},
            "/docs": {"get": _public({"operationId": "docs", "summary": "This document for people", **_docs()})},
        },
        "components": {"schemas": _schemas(), "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}}},
    }


def _audio_operation(operation: str, summary: str) -> Json:
    refused = "; ".join(f"`{name}` ({reason})" for name, reason in REJECTED.items())
    return {
        "operationId": operation,
        "summary": summary,
        "description": f"Known parameters of OpenAI's API that are refused with 400: {refused}.",
        "parameters": [
            _header(PRIORITY_HEADER, "who gets the next free slot", PRIORITY),
            _header(TIMEOUT_HEADER, TIMEOUT_MEANING, TIMEOUT),
            _header(
                REPLAY_HEADER, "id of the failure that is repeated: one more is not recorded while that one is", STRING
            ),
            REQUEST_ID_PARAMETER,
        ],
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/TranscriptionForm"}}},
        },
        "responses": {
            "200": {
                "description": "the text, in the format asked for",
                "headers": {name: {"description": text, "schema": STRING} for name, text in QUOTA.items()},
                "content": {
                    "application/json": {
                        "schema": {"anyOf": [_ref("Transcription"), _ref("VerboseTranscription")]},
                    },
                    "text/plain": {"schema": STRING},
                    "application/x-subrip": {"schema": STRING},
                    "text/vtt": {"schema": STRING},
                    "text/event-stream": {"schema": STRING},
                },
            },
            **_errors("400", "401", "404", "408", "413", "429", "500", "503", "504"),
        },
    }


def _read(operation: str, summary: str, schema: str, *errors: str) -> Json:
    answer = {"application/json": {"schema": _ref(schema)}}
    unavailable = {"503": {"description": ERRORS["503"], "content": answer}} if "503" in errors else {}
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [REQUEST_ID_PARAMETER],
        "responses": {
            "200": {"description": "as asked", "content": answer},
            **_errors("400", "401", *(status for status in errors if status != "503")),
            **unavailable,
        },
    }


def _public(operation: Json) -> Json:
    """An operation that needs no key."""
    responses = {status: answer for status, answer in operation["responses"].items() if status != "401"}
    return {**operation, "responses": responses, "security": []}


def _operator(operation: Json) -> Json:
    """An operation that needs an operator's key."""
    return {**operation, "responses": {**operation["responses"], **_errors("403")}}


def _list_failures() -> Json:
    return {
        **_read(
            "listFailures", "Requests that were accepted and could not be answered, newest first", "FailureList", "400"
        ),
        "parameters": [
            REQUEST_ID_PARAMETER,
            _query("limit", f"how many, 1 to {MAX_PAGE}; default {DEFAULT_PAGE}", INTEGER),
            _query("before", "an id: only what failed before it, for the next page", STRING),
        ],
    }


def _one_failure(operation: str, summary: str, schema: str) -> Json:
    return {
        **_read(operation, summary, schema, "404"),
        "parameters": [{"name": "failure", "in": "path", "required": True, "schema": STRING}, REQUEST_ID_PARAMETER],
    }


def _failure_audio() -> Json:
    operation = _one_failure("retrieveFailureAudio", "The upload of a request that failed, if it was kept", "Failure")
    operation["responses"]["200"]["content"] = {AUDIO_TYPE: {"schema": {"type": "string", "format": "binary"}}}
    return operation


def _metrics() -> Json:
    operation = _read("metrics", "All statistics as Prometheus series", "Statistics")
    operation["responses"]["200"]["content"] = {"text/plain": {"schema": STRING}}
    return operation


def _docs() -> Json:
    page = {"description": "a page", "content": {"text/html": {"schema": STRING}}}
    return {"parameters": [REQUEST_ID_PARAMETER], "responses": {"200": page, **_errors("400")}}


def _errors(*statuses: str) -> Json:
    content = {"application/json": {"schema": _ref("Error")}}
    return {status: {"description": ERRORS[status], "content": content} for status in statuses}


def _header(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _query(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas() -> Json:
    nullable_string = {"type": ["string", "null"]}
    usage = _object(type=STRING, seconds=INTEGER)
    segment = _object(
        id=INTEGER, seek=INTEGER, start=NUMBER, end=NUMBER, text=STRING, tokens={"type": "array", "items": INTEGER},
        temperature=NUMBER, avg_logprob=NUMBER, compression_ratio=NUMBER, no_speech_prob=NUMBER,
    )  # fmt: skip
    verbose = _object(
        task=STRING, language=STRING, duration=NUMBER, text=STRING, usage=usage, device=nullable_string,
        segments={"type": "array", "items": segment},
    )  # fmt: skip
    verbose["properties"]["words"] = {
        "type": "array",
        "items": _object(word=STRING, start=NUMBER, end=NUMBER),
    }
    model = _object(
        id=STRING, object=STRING, created=INTEGER, owned_by=STRING, serves=STRING,
        languages={"type": "array", "items": STRING}, translates={"type": "boolean"}, notice=nullable_string,
    )  # fmt: skip
    return {
        "TranscriptionForm": _form(),
        "Transcription": _object(text=STRING, usage=usage),
        "VerboseTranscription": verbose,
        "Model": model,
        "ModelList": _object(object=STRING, data={"type": "array", "items": _ref("Model")}),
        "Status": {"type": "object", "properties": {"status": STRING}, "required": ["status"]},
        "Statistics": {"type": "object"},
        "Failure": Failure.model_json_schema(),
        "FailureList": _object(
            object=STRING, data={"type": "array", "items": _ref("Failure")}, has_more={"type": "boolean"}
        ),
        "FailureDeleted": _object(id=STRING, deleted={"type": "boolean"}),
        "Error": _object(error=_object(message=STRING, type=STRING, param=nullable_string, code=STRING)),
    }


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _form() -> Json:
    schema = TranscriptionForm.model_json_schema()
    file = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    file["description"] = "the audio, with a file name"
    return {**schema, "properties": {"file": file, **schema["properties"]}, "required": ["file"]}


def _page(document: Json) -> str:
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    fields = "".join(
        f"<tr><td><code>{name}</code></td><td>{_text(_kind(schema))}</td>"
        f"<td>{_text(schema.get('description', ''))}</td></tr>"
        for name, schema in document["components"]["schemas"]["TranscriptionForm"]["properties"].items()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Amanuensis API</title>"
        "<style>body{font:16px/1.5 system-ui;max-width:60em;margin:2em auto;padding:0 1em}"
        "td{padding:.2em 1em .2em 0;vertical-align:top}code{background:#f3f3f3;padding:0 .3em}</style>"
        f"<h1>Amanuensis</h1><p>{_text(document['info']['description'])} "
        "<a href=/openapi.json>openapi.json</a></p>"
        f"{operations}<h2>Fields of a transcription</h2><table>{fields}</table></html>"
    )


def _operation(path: str, method: str, operation: Json) -> str:
    answers = "".join(
        f"<tr><td>{status}</td><td>{_text(answer['description'])}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    return (
        f"<h2><code>{method.upper()} {path}</code></h2><p>{_text(operation['summary'])}. "
        f"{_text(operation.get('description', ''))}</p><table>{answers}</table>"
    )


def _kind(schema: Json) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_kind(option) for option in schema["anyOf"] if option.get("type") != "null")
    return str(schema.get("type", schema.get("const", "")))


def _text(markdown: str) -> str:
    """Escaped, with `code` shown as code."""
    parts = html.escape(markdown).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
