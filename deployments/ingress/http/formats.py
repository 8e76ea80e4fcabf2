"""The finished transcription in each of OpenAI's response formats."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from deployments.ingress.form import Granularity
from deployments.ingress.transcript.segments import Segment
from deployments.ingress.transcription import Transcription
from deployments.shared.languages import LANGUAGES

Json = dict[str, Any]


def as_json(transcription: Transcription) -> Json:
    return {"text": transcription.text, "usage": usage(transcription.duration_s)}


def usage(duration_s: float) -> Json:
    """OpenAI counts whole seconds, rounded up."""
    return {"type": "duration", "seconds": int(-(-duration_s // 1))}


def as_verbose_json(transcription: Transcription, granularities: frozenset[Granularity]) -> Json:
    """OpenAI's ``TranscriptionVerbose``, and the device that encoded. Segments nobody asked for are an empty list."""
    document: Json = {
        "task": transcription.task,
        "language": LANGUAGES[transcription.language],
        "duration": round(transcription.duration_s, 3),
        "text": transcription.text,
        "segments": [],
        "usage": usage(transcription.duration_s),
        "device": transcription.device,
    }
    if "segment" in granularities:
        document["segments"] = [_segment(segment) for segment in transcription.segments]
    if "word" in granularities:
        document["words"] = [
            {"word": word.text.strip(), "start": round(word.start_s, 3), "end": round(word.end_s, 3)}
            for window in transcription.windows
            for word in window.transcript.words
        ]
    return document


def _segment(segment: Segment) -> Json:
    return {
        "id": segment.id,
        "seek": 0,
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
    }


def as_srt(segments: Sequence[Segment]) -> str:
    """SubRip: numbered cues, comma before the milliseconds."""
    cues = (
        # "-->" inside a cue's text would be read as the next cue's times.
        f"{number}\n{_clock(segment.start_s, ',')} --> {_clock(segment.end_s, ',')}\n"
        f"{_one_line(segment.text).replace('-->', '->')}\n"
        for number, segment in enumerate(segments, 1)
    )
    return "\n".join(cues)


def as_vtt(segments: Sequence[Segment]) -> str:
    """WebVTT: a header, point before the milliseconds, markup escaped."""
    cues = (
        f"{_clock(segment.start_s, '.')} --> {_clock(segment.end_s, '.')}\n"
        f"{html.escape(_one_line(segment.text), quote=False)}\n"
        for segment in segments
    )
    return "\n".join(("WEBVTT\n", *cues))


def _one_line(text: str) -> str:
    # An empty line would end the cue.
    return " ".join(text.split())


def _clock(seconds: float, decimal_mark: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, milliseconds = divmod(milliseconds, 3_600_000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    whole, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}{decimal_mark}{milliseconds:03d}"
