"""``/openapi.json``, made from the very form that requests are checked with and the types that answers are built as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, Literal, get_args

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from deployments.ingress.form import PriorityName, TranscriptionForm
from deployments.ingress.http import answers, operator_answers
from deployments.ingress.http.context import REQUEST_ID
from deployments.ingress.http.failures import AUDIO_TYPE, DEFAULT_PAGE, MAX_PAGE
from deployments.ingress.http.forms import REJECTED
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

Json = dict[str, Any]
Answer = answers.JsonAnswer[Any]

REF = "#/components/schemas/{model}"
ANSWERS: tuple[Answer, ...] = (
    answers.ERROR,
    answers.TRANSCRIPTION,
    answers.VERBOSE_TRANSCRIPTION,
    answers.TEXT_DELTA,
    answers.TEXT_DONE,
    answers.VERBOSE_TEXT_DONE,
    answers.STREAM_ERROR,
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

ERRORS: dict[str, str] = {
    "400": "a parameter or the audio is at fault",
    "401": "no API key, or one that is not known here",
    "403": "the key is not an operator's",
    "404": "no such model, job, record or route",
    "405": "another method is needed",
    "408": "the upload took too long",
    "409": "the job has no result, or none yet",
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
SPECIAL_HEADERS = {WARNINGS_HEADER: "what changed nothing or could not be read, where there is such a thing", **QUOTA}
SPELLINGS = (
    "A field that is not named below changes nothing, which the answer says. One without a value, or with `None`, "
    "`null` or `undefined`, counts as absent. A list may be sent as repeated fields, with or without `[]` or a number "
    "behind their name, as a JSON list, and but for `keywords` with commas between its items; an object as JSON, or as "
    "one field per member, such as `chunking_strategy[threshold]`."
)
STRING: Json = {"type": "string"}
INTEGER: Json = {"type": "integer"}
FILE: Json = {
    "type": "string",
    "format": "binary",
    "contentMediaType": "application/octet-stream",
    "description": "the audio, with a file name",
}
EVENTS: Json = {
    "description": f"server-sent events: `{answers.TEXT_DELTA.name}` for each part of the text, then "
    f"`{answers.TEXT_DONE.name}` (or `{answers.VERBOSE_TEXT_DONE.name}`) and `[DONE]`, or "
    f"`{answers.STREAM_ERROR.name}`; the comment `: waiting` wherever nothing has happened for 10 s",
}
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
            "/v1/jobs": {"get": _operation("listJobs", "Your jobs, newest first", _json(answers.JOB_LIST))},
            "/v1/jobs/{job}": {
                "get": _one_job("retrieveJob", "One job: how far it is", _json(answers.JOB)),
                "delete": _one_job(
                    "deleteJob",
                    "Cancels a job that waits or runs, forgets one that has ended",
                    _json(answers.JOB, answers.JOB_DELETED),
                ),
            },
            "/v1/jobs/{job}/result": {"get": _job_result()},
            "/v1/models": {"get": _operation("listModels", "The models that are served", _json(answers.MODEL_LIST))},
            "/v1/models/{model}": {
                "get": _operation(
                    "retrieveModel", "One model", _json(answers.MODEL), "404", parameters=[_path("model")]
                )
            },
            "/health": {
                "get": _health("health", "Status at a glance; 503 until the encoder answers", operator_answers.HEALTH)
            },
            "/health/live": {
                "get": _public(_operation("live", "The process answers", _json(operator_answers.LIVENESS)))
            },
            "/health/ready": {
                "get": _public(_health("ready", "Requests will be served; 503 until then", operator_answers.READINESS))
            },
            "/health/pipeline": {
                "get": _operator(_health("healthPipeline", "Status of each stage", operator_answers.PIPELINE_HEALTH))
            },
            "/stats": {"get": _operator(_operation("stats", "All statistics", _json(operator_answers.STATISTICS)))},
            "/stats/pipeline": {
                "get": _operator(
                    _operation(
                        "statsPipeline", "Queue, stages, slots, encoder", _json(operator_answers.PIPELINE_STATISTICS)
                    )
                )
            },
            "/stats/stages": {
                "get": _operator(
                    _operation("statsStages", "The three stages", _json(operator_answers.STAGES_STATISTICS))
                )
            },
            "/metrics": {
                "get": _operator(
                    _operation("metrics", "All statistics as Prometheus series", _text(CONTENT_TYPE_PLAIN_0_0_4))
                )
            },
            "/failures": {"get": _operator(_list_failures())},
            "/failures/{failure}": {
                "get": _operator(
                    _one_failure("retrieveFailure", "One record of the failure log", _json(operator_answers.FAILURE))
                ),
                "delete": _operator(
                    _one_failure(
                        "deleteFailure", "Deletes one record, with its audio", _json(operator_answers.FAILURE_DELETED)
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
            "/openapi.json": {"get": _public(_operation("openapi", "This document", _json(answers.OPENAPI)))},
            "/docs": {"get": _public(_operation("docs", "This document for people", _text("text/html")))},
        },
        "components": {"schemas": _schemas(), "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}}},
    }


def _audio_operation(operation: str, summary: str) -> Json:
    refused = "; ".join(f"`{name}` ({reason})" for name, reason in REJECTED.items())
    return {
        "operationId": operation,
        "summary": summary,
        "description": f"Known parameters of OpenAI's API that are refused with 400: {refused}. {SPELLINGS}",
        "parameters": [
            _query(
                "async",
                "true: answer with a job at once; `/v1/jobs` has its progress and result. Without `stream` and "
                f"`{TIMEOUT_HEADER}`; the priority is low unless one is named",
                {"type": "boolean", "default": False},
            ),
            _header(PRIORITY_HEADER, "who gets the next free slot", PRIORITY),
            _header(TIMEOUT_HEADER, TIMEOUT_MEANING, TIMEOUT),
            _header(
                REPLAY_HEADER, "id of the failure that is repeated: one more is not recorded while that one is", STRING
            ),
            REQUEST_ID_PARAMETER,
        ],
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": _ref(TranscriptionForm.__name__)}},
        },
        "responses": {
            "200": {
                "description": "the text, in the format asked for",
                "headers": _headers(SPECIAL_HEADERS),
                "content": {**_transcriptions(), **_text("text/event-stream", EVENTS)},
            },
            "202": {
                "description": "the job, with `async=true`",
                "headers": _headers({**QUOTA, LOCATION_HEADER: "path of the job"}),
                "content": _json(answers.JOB),
            },
            **_errors("400", "401", "404", "408", "413", "429", "500", "503", "504"),
        },
    }


def _operation(operation: str, summary: str, content: Json, *errors: str, parameters: Sequence[Json] = ()) -> Json:
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [*parameters, REQUEST_ID_PARAMETER],
        "responses": {"200": {"description": "as asked", "content": content}, **_errors("400", "401", *errors)},
    }


def _health(operation: str, summary: str, answer: Answer) -> Json:
    """Return an operation that answers with the same document where the service is not well."""
    described = _operation(operation, summary, _json(answer))
    described["responses"]["503"] = {"description": ERRORS["503"], "content": _json(answer)}
    return described


def _public(operation: Json) -> Json:
    """Return the operation as one that needs no key."""
    responses = {status: answer for status, answer in operation["responses"].items() if status != "401"}
    return {**operation, "responses": responses, "security": []}


def _operator(operation: Json) -> Json:
    """Return the operation as one that needs an operator's key."""
    return {**operation, "responses": {**operation["responses"], **_errors("403")}}


def _list_failures() -> Json:
    return _operation(
        "listFailures",
        "Requests that were accepted and could not be answered, newest first",
        _json(operator_answers.FAILURE_LIST),
        parameters=[
            _query("limit", f"how many, 1 to {MAX_PAGE}; default {DEFAULT_PAGE}", INTEGER),
            _query("before", "an id: only what failed before it, for the next page", STRING),
        ],
    )


def _one_failure(operation: str, summary: str, content: Json) -> Json:
    return _operation(operation, summary, content, "404", parameters=[_path("failure")])


def _one_job(operation: str, summary: str, content: Json) -> Json:
    return _operation(operation, summary, content, "404", parameters=[_path("job")])


def _job_result() -> Json:
    summary = "The answer that the request would have got at once, an error too"
    described = _one_job("retrieveJobResult", summary, _transcriptions())
    described["responses"] |= _errors("409", "500", "503", "504")
    return described


def _transcriptions() -> Json:
    """Return the content of an answer that comes as a whole, in each format."""
    return {
        **_json(answers.TRANSCRIPTION, answers.VERBOSE_TRANSCRIPTION),
        **_text("text/plain"),
        **_text("application/x-subrip"),
        **_text("text/vtt"),
    }


def _headers(meanings: Mapping[str, str]) -> Json:
    return {name: {"description": text, "schema": STRING} for name, text in meanings.items()}


def _errors(*statuses: str) -> Json:
    return {status: {"description": ERRORS[status], "content": _json(answers.ERROR)} for status in statuses}


def _header(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _query(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": STRING}


def _json(*alternatives: Answer) -> Json:
    schemas = [_ref(answer.name) for answer in alternatives]
    return {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}


def _text(media_type: str, schema: Json = STRING) -> Json:
    return {media_type: {"schema": schema}}


def _ref(name: str) -> Json:
    return {"$ref": REF.format(model=name)}


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
