"""Reads what a client sends with a transcription: its form and its headers."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile

from deployments.ingress.form import TranscriptionForm
from deployments.ingress.http.fields import field_name, read_fields
from deployments.ingress.request import Priority
from deployments.ingress.voice_references import REFERENCES, data_url
from deployments.shared.errors import InvalidRequestError
from deployments.shared.headers import PRIORITY_HEADER, TIMEOUT_HEADER

# It describes each malformed body, and what nobody configures a logger for ends on stderr: lines that strangers write.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL + 1)

UTF_8 = frozenset({b"utf-8", b"utf8", b"us-ascii"})


def require_multipart(headers: Headers) -> None:
    """Reject a body that is no form, before it is read.

    Raises:
        InvalidRequestError: it is no multipart form, or not in UTF-8.
    """
    content_type, options = parse_options_header(headers.get("content-type"))
    if content_type != b"multipart/form-data":
        raise InvalidRequestError("Send the audio as multipart/form-data, in a field named `file`", param="file")
    # Python's other codecs include some that fail in their own ways, take quadratic time, or make lone surrogates.
    if options.get(b"charset", b"utf-8").lower() not in UTF_8:
        raise InvalidRequestError("The form must be encoded in UTF-8; leave the charset out", param="file")


class ReceivedForm(NamedTuple):
    """What a multipart form holds.

    Attributes:
        unknown: names of the fields that mean nothing here.
    """

    form: TranscriptionForm
    upload: UploadFile
    unknown: tuple[str, ...]


def parse_form(form: FormData) -> ReceivedForm:
    """Return the fields and the file of a multipart form.

    Raises:
        InvalidRequestError: a field is missing, repeated or out of range; names it.
    """
    fields: list[tuple[str, str]] = []
    upload: UploadFile | None = None
    for key, value in form.multi_items():
        name = field_name(key)
        if name == "file":
            upload = _only_file(upload, value)
        elif isinstance(value, UploadFile) and name == REFERENCES:
            fields.append((name, data_url(value.file.read(), value.content_type or "application/octet-stream")))
        elif isinstance(value, UploadFile):
            raise InvalidRequestError(f"{name} must be a plain field, not a file", param=name)
        else:
            fields.append((name, value))
    if upload is None:
        raise InvalidRequestError("The form has no file; send the audio as multipart field `file`", param="file")
    values, unknown = read_fields(fields, TranscriptionForm.model_fields)
    return ReceivedForm(_validate(values), upload, unknown)


def priority_of(form: TranscriptionForm | None, headers: Headers) -> Priority:
    """Return the priority from the form, once it is read, else from the header, else normal."""
    header = headers.get(PRIORITY_HEADER, "normal").upper()
    if header not in Priority.__members__:
        raise InvalidRequestError(f"{PRIORITY_HEADER} must be high, normal or low", param=PRIORITY_HEADER)
    return Priority[form.priority.upper() if form and form.priority else header]


def job_priority_of(form: TranscriptionForm, headers: Headers) -> Priority:
    """Return the priority of a job: low, unless the form or the header names another one."""
    is_named = form.priority is not None or PRIORITY_HEADER in headers
    return priority_of(form, headers) if is_named else Priority.LOW


def timeout_of(headers: Headers, longest_s: float) -> float | None:
    """Return the seconds that the client gives this request; None where it leaves that to the service.

    Raises:
        InvalidRequestError: the header is no positive number, or more than ``longest_s``.
    """
    asked = headers.get(TIMEOUT_HEADER)
    if asked is None:
        return None
    try:
        seconds = float(asked)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise InvalidRequestError(f"{TIMEOUT_HEADER} must be a positive number of seconds", param=TIMEOUT_HEADER)
    if seconds > longest_s:
        raise InvalidRequestError(
            f"{TIMEOUT_HEADER} is {seconds:g}; send at most {longest_s:g} (max_request_timeout_s of this service)",
            param=TIMEOUT_HEADER,
        )
    return seconds


def _only_file(known: UploadFile | None, value: UploadFile | str) -> UploadFile:
    if known is not None:
        raise InvalidRequestError("The form has two files; send one per request", param="file")
    if not isinstance(value, UploadFile):
        raise InvalidRequestError("file must be an uploaded file with a filename, not a plain field", param="file")
    return value


def _validate(values: dict[str, Any]) -> TranscriptionForm:
    try:
        return TranscriptionForm.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else None
        message = first["msg"].removeprefix("Value error, ")
        path = ".".join(part for part in first["loc"] if isinstance(part, str))
        raise InvalidRequestError(f"{path}: {message}" if path else message, param=name) from None
