"""The finished transcription as the response that the client asked for."""

from __future__ import annotations

from starlette.responses import PlainTextResponse, Response

from deployments.ingress.form import TranscriptionForm
from deployments.ingress.http import answers
from deployments.ingress.http.formats import as_diarized_json, as_json, as_verbose_json
from deployments.ingress.transcription import Transcription
from deployments.shared.headers import DEVICE_HEADER, WARNINGS_HEADER
from deployments.shared.languages import LANGUAGES
from deployments.shared.subtitles import as_srt, as_vtt

MAX_WARNINGS = 2000
"""Characters of a header: proxies refuse long ones."""


def language_response(language: str) -> Response:
    """Return which language is spoken, an ISO code."""
    document: answers.DetectedLanguage = {"detected_language": LANGUAGES[language], "language_code": language}
    return answers.DETECTED_LANGUAGE.response(document)


def transcription_response(transcription: Transcription, form: TranscriptionForm) -> Response:
    """Return the response in the format that the form names."""
    headers = _headers(transcription)
    match form.response_format:
        case "json":
            return answers.TRANSCRIPTION.response(as_json(transcription, form), headers=headers)
        case "verbose_json":
            document = as_verbose_json(transcription, form)
            return answers.VERBOSE_TRANSCRIPTION.response(document, headers=headers)
        case "diarized_json":
            return answers.DIARIZED_TRANSCRIPTION.response(as_diarized_json(transcription, form), headers=headers)
        case "text":
            return PlainTextResponse(transcription.lines + "\n", headers=headers)
        case "srt":
            return PlainTextResponse(as_srt(transcription.segments), headers=headers, media_type="application/x-subrip")
        case "vtt":
            return PlainTextResponse(as_vtt(transcription.segments), headers=headers, media_type="text/vtt")


def _headers(transcription: Transcription) -> dict[str, str]:
    headers = {DEVICE_HEADER: transcription.device} if transcription.device else {}
    if transcription.warnings:
        headers[WARNINGS_HEADER] = _in_ascii(" ".join(transcription.warnings))[:MAX_WARNINGS]
    return headers


def _in_ascii(words: str) -> str:
    """Return a text as a header can carry it: warnings repeat what clients wrote."""
    printable = "".join(character if character.isprintable() else " " for character in words)
    return " ".join(printable.encode("ascii", "backslashreplace").decode("ascii").split())
