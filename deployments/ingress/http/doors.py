"""How other services are asked for a transcription, put as the form that this one knows.

Programs that were written for them reach this service by its address alone: whisper.cpp's server (``/inference``), and
whisper-asr-webservice (``/asr`` and ``/detect-language``), which Bazarr asks for subtitles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from starlette.datastructures import FormData, UploadFile

from deployments.shared.contracts import Task
from deployments.shared.errors import InvalidRequestError

TRUE: Final = frozenset({"true", "1", "yes", "on"})
FALSE: Final = frozenset({"false", "0", "no", "off"})

OUTPUTS: Final = {"txt": "text", "json": "verbose_json", "srt": "srt", "vtt": "vtt"}
"""Names of whisper-asr-webservice -> names of response formats."""

SAME_QUESTION: Final = {"language": "language", "initial_prompt": "prompt", "vad_filter": "vad_filter"}
"""Names in its query -> names of form fields."""

BELOW_ZERO: Final = re.compile(r"-\d+(\.\d+)?")

READ_HERE: Final = frozenset({"task", "output", "encode", "video_file", "word_timestamps"})
"""What else stands in its query. The name of the video is for its log alone; segments have times in any case."""

Items: TypeAlias = list[tuple[str, str | UploadFile]]


class Asked(NamedTuple):
    """What a client asks for.

    Attributes:
        fields: as ``/v1/audio/transcriptions`` takes them.
        is_raw: the file is 16 kHz mono int16 without a header.
    """

    task: Task
    fields: FormData
    is_raw: bool = False


Door: TypeAlias = Callable[[FormData, Mapping[str, str]], Asked]
"""Reads the form and the query of a request."""


def transcription(form: FormData, _: Mapping[str, str]) -> Asked:
    """OpenAI's ``/v1/audio/transcriptions``."""
    return Asked("transcribe", form)


def translation(form: FormData, _: Mapping[str, str]) -> Asked:
    """OpenAI's ``/v1/audio/translations``."""
    return Asked("translate", form)


def whisper_cpp(form: FormData, _: Mapping[str, str]) -> Asked:
    """whisper.cpp's ``/inference``: OpenAI's form, but for ``translate`` and numbers below zero for its defaults.

    Raises:
        InvalidRequestError: ``translate`` is neither yes nor no.
    """
    items = [(key, value) for key, value in form.multi_items() if not _is_left_out(value)]
    translates = any(_truth(key, value) for key, value in items if key == "translate")
    others: Items = [(key, value) for key, value in items if key != "translate"]
    return Asked("translate" if translates else "transcribe", FormData(others))


def asr_webservice(form: FormData, query: Mapping[str, str]) -> Asked:
    """whisper-asr-webservice's ``/asr`` and ``/detect-language``: a file in the form, the rest in the query.

    Raises:
        InvalidRequestError: ``task`` or ``output`` is not known here, or ``encode`` is neither yes nor no.
    """
    task, output = query.get("task") or "transcribe", query.get("output") or "txt"
    if task not in {"transcribe", "translate"}:
        raise InvalidRequestError("task must be transcribe or translate", param="task")
    if output not in OUTPUTS:
        raise InvalidRequestError(f"output must be one of {', '.join(OUTPUTS)}", param="output")
    items: Items = [("file" if key == "audio_file" else key, value) for key, value in form.multi_items()]
    items += [("response_format", OUTPUTS[output]), *_fields(query)]
    is_raw = not _truth("encode", query.get("encode") or "true")
    return Asked("translate" if task == "translate" else "transcribe", FormData(items), is_raw)


def _fields(query: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in query.items():
        if name not in READ_HERE:
            yield SAME_QUESTION.get(name, name), value


def _is_left_out(value: str | UploadFile) -> bool:
    return isinstance(value, str) and BELOW_ZERO.fullmatch(value.strip()) is not None


def _truth(name: str, value: str | UploadFile) -> bool:
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in TRUE | FALSE:
        raise InvalidRequestError(f"{name} must be true or false", param=name)
    return word in TRUE
