"""What OpenAPI documents of the routes are built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deployments.ingress.http import answers
from deployments.ingress.http.context import REQUEST_ID
from deployments.shared.headers import REQUEST_ID_HEADER

Json = dict[str, Any]
Answer = answers.JsonAnswer[Any]

REF = "#/components/schemas/{model}"
STRING: Json = {"type": "string"}
INTEGER: Json = {"type": "integer"}
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
REQUEST_ID_PARAMETER: Json = {
    "name": REQUEST_ID_HEADER,
    "in": "header",
    "required": False,
    "description": "your name for this request, to find it in the log; sent back",
    "schema": {"type": "string", "pattern": REQUEST_ID},
}


def headers(meanings: Mapping[str, str]) -> Json:
    return {name: {"description": text, "schema": STRING} for name, text in meanings.items()}


def error_answers(*statuses: str) -> Json:
    return {status: {"description": ERRORS[status], "content": as_json(answers.ERROR)} for status in statuses}


def header(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def query(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": STRING}


def as_json(*alternatives: Answer) -> Json:
    schemas = [ref(answer.name) for answer in alternatives]
    return {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}


def as_text(media_type: str, schema: Json = STRING) -> Json:
    return {media_type: {"schema": schema}}


def ref(name: str) -> Json:
    return {"$ref": REF.format(model=name)}


def answers_with(operation: str, summary: str, content: Json, *errors: str, parameters: Sequence[Json] = ()) -> Json:
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [*parameters, REQUEST_ID_PARAMETER],
        "responses": {"200": {"description": "as asked", "content": content}, **error_answers("400", "401", *errors)},
    }


TEXTS: Json = {
    **as_json(answers.TRANSCRIPTION, answers.VERBOSE_TRANSCRIPTION, answers.DIARIZED_TRANSCRIPTION),
    **as_text("text/plain"),
    **as_text("application/x-subrip"),
    **as_text("text/vtt"),
}
"""An answer that comes as a whole, in each format."""

EVENTS: Json = {
    "description": f"server-sent events: `{answers.TEXT_DELTA.name}` for each part of the text, with "
    f"`response_format=diarized_json` a `{answers.DIARIZED_SEGMENT.name}` for each segment, then "
    f"`{answers.TEXT_DONE.name}` (or `{answers.VERBOSE_TEXT_DONE.name}`) and `[DONE]`, or "
    f"`{answers.STREAM_ERROR.name}`; the comment `: waiting` wherever nothing has happened for 10 s",
}
"""An answer that is streamed."""
