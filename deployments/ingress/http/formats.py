"""The finished transcription in OpenAI's JSON formats; subtitles are in `deployments.shared.subtitles`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from deployments.ingress.form import TranscriptionForm
from deployments.ingress.http import answers
from deployments.ingress.transcript.segments import Segment
from deployments.ingress.transcription import Transcription
from deployments.shared.contracts import TokenLogprob, Word
from deployments.shared.languages import LANGUAGES

FIRST_SPEAKER: Final = "A"
"""Who speaks where speech was transcribed and no voice was found in it."""


def as_json(transcription: Transcription, form: TranscriptionForm) -> answers.TranscriptionJson:
    """OpenAI's ``Transcription``, with what the form asks for beside the text."""
    document: answers.TranscriptionJson = {"text": transcription.text, "usage": usage(transcription.duration_s)}
    if form.asks_for_languages:
        document["languages"] = languages(transcription)
    if form.wants_logprobs:
        document["logprobs"] = logprobs(transcription.logprobs)
    return document


def languages(transcription: Transcription) -> list[answers.TranscriptionLanguage]:
    return [{"code": code} for code in transcription.languages]


def logprobs(tokens: Iterable[TokenLogprob]) -> list[answers.TokenLogprob]:
    return [{"token": token.text, "bytes": list(token.text.encode()), "logprob": token.logprob} for token in tokens]


def usage(duration_s: float) -> answers.Usage:
    """OpenAI counts whole seconds, rounded up."""
    return {"type": "duration", "seconds": int(-(-duration_s // 1))}


def as_diarized_json(transcription: Transcription, form: TranscriptionForm) -> answers.TranscriptionDiarizedJson:
    """OpenAI's ``TranscriptionDiarized``: each segment is by one speaker."""
    document: answers.TranscriptionDiarizedJson = {
        "task": transcription.task,
        "duration": round(transcription.duration_s, 3),
        "text": transcription.text,
        "segments": [diarized_segment(segment) for segment in transcription.segments],
        "usage": usage(transcription.duration_s),
        "warnings": list(transcription.warnings),
    }
    if form.wants_embeddings and transcription.speakers is not None:
        document["speaker_embeddings"] = transcription.speakers.embeddings
    return document


def diarized_segment(segment: Segment) -> answers.DiarizedSegment:
    """OpenAI's ``TranscriptionDiarizedSegment``; a voice that nobody told apart has the first letter."""
    document: answers.DiarizedSegment = {
        "type": "transcript.text.segment",
        "id": f"seg_{segment.id}",
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": segment.text,
        "speaker": segment.speaker or FIRST_SPEAKER,
    }
    if segment.also_speaking:
        document["also_speaking"] = list(segment.also_speaking)
    return document


def as_verbose_json(transcription: Transcription, form: TranscriptionForm) -> answers.TranscriptionVerboseJson:
    """OpenAI's ``TranscriptionVerbose``, and the device that encoded. Segments nobody asked for are an empty list."""
    document: answers.TranscriptionVerboseJson = {
        "task": transcription.task,
        "language": LANGUAGES[transcription.language],
        "languages": languages(transcription),
        "duration": round(transcription.duration_s, 3),
        "text": transcription.text,
        "segments": [],
        "usage": usage(transcription.duration_s),
        "device": transcription.device,
        "warnings": list(transcription.warnings),
    }
    if transcription.speakers is not None:
        document["speakers"] = list(transcription.speakers.labels)
    if form.wants_embeddings and transcription.speakers is not None:
        document["speaker_embeddings"] = transcription.speakers.embeddings
    if "segment" in form.granularities:
        document["segments"] = [_segment(segment) for segment in transcription.segments]
    if "word" in form.granularities:
        document["words"] = [_word(word, speaker) for word, speaker in transcription.words]
    return document


def _word(word: Word, speaker: str | None) -> answers.TranscriptionWord:
    document: answers.TranscriptionWord = {
        "word": word.text.strip(),
        "start": round(word.start_s, 3),
        "end": round(word.end_s, 3),
        "probability": round(word.probability, 4),
    }
    if speaker:
        document["speaker"] = speaker
    return document


def _segment(segment: Segment) -> answers.TranscriptionSegment:
    document: answers.TranscriptionSegment = {
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
    if segment.speaker:
        document["speaker"] = segment.speaker
    if segment.also_speaking:
        document["also_speaking"] = list(segment.also_speaking)
    return document
