"""What OpenAPI says of the doors of other services: ``doors.py``."""

from __future__ import annotations

from typing import Any, Final

from deployments.ingress.form import TranscriptionForm
from deployments.ingress.http import answers
from deployments.ingress.http.doors import OUTPUTS
from deployments.ingress.http.openapi_parts import (
    EVENTS,
    REQUEST_ID_PARAMETER,
    STRING,
    TEXTS,
    Json,
    as_json,
    as_text,
    error_answers,
    query,
    ref,
)

BOOLEAN: Final[Json] = {"type": "boolean"}
FILE: Final[Json] = {"type": "string", "format": "binary"}
ASR_FORM: Final[Json] = {"type": "object", "properties": {"audio_file": FILE}, "required": ["audio_file"]}
LANGUAGE: Final = query("language", "as the form field of `/v1/audio/transcriptions`", STRING)
ENCODE: Final = query("encode", "false: the file is 16 kHz mono int16 without a header; default: true", BOOLEAN)


def door_paths() -> Json:
    """Return the paths, with what each takes and answers."""
    return {
        "/inference": {
            "post": _door(
                "whisperCpp",
                "As whisper.cpp's server: the form of `/v1/audio/transcriptions`, and `translate`",
                ref(TranscriptionForm.__name__),
                {**TEXTS, **as_text("text/event-stream", EVENTS)},
            )
        },
        "/asr": {
            "post": _door(
                "asrWebservice",
                "As whisper-asr-webservice, which Bazarr asks for subtitles",
                ASR_FORM,
                TEXTS,
                query("task", "transcribe or translate", {"type": "string", "enum": ["transcribe", "translate"]}),
                query("output", "default: txt", {"type": "string", "enum": list(OUTPUTS)}),
                LANGUAGE,
                query("initial_prompt", "as `prompt`", STRING),
                query("vad_filter", "as the form field of `/v1/audio/transcriptions`", BOOLEAN),
                ENCODE,
            )
        },
        "/detect-language": {
            "post": _door(
                "detectLanguage",
                "The language of the first window of speech, as whisper-asr-webservice answers",
                ASR_FORM,
                as_json(answers.DETECTED_LANGUAGE),
                ENCODE,
            )
        },
    }


def _door(operation: str, summary: str, form: Json, content: Json, *parameters: Json) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [*parameters, REQUEST_ID_PARAMETER],
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}},
        "responses": {
            "200": {"description": "as asked", "content": content},
            **error_answers("400", "401", "404", "408", "413", "429", "500", "503", "504"),
        },
    }
