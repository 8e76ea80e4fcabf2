"""What a client is told of its form where the answer may not be what it expects, in whole sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from deployments.ingress.form import MAX_NAME, TranscriptionForm
from deployments.ingress.service import TranscriptionService
from deployments.ingress.work import unknown_hints
from deployments.shared.languages import WIDER, language_code
from deployments.shared.spelling import unknown

USE_VERBOSE_JSON: Final = "times of words come with response_format=verbose_json and timestamp_granularities[]=word"
FOREIGN: Final[dict[str, str]] = {
    "user": "clients are told apart by their API keys",
    "word_timestamps": USE_VERBOSE_JSON,
    "without_timestamps": USE_VERBOSE_JSON,
    "task": "post to /v1/audio/translations for English text",
    "translate": "post to /v1/audio/translations for English text",
}
"""Parameters of other services, with what serves their purpose here."""


def advice(form: TranscriptionForm, unknown_fields: Iterable[str], service: TranscriptionService) -> Iterator[str]:
    """Yield the warnings for a request."""
    yield from map(_unknown_field, unknown_fields)
    if form.model is not None and not service.is_own_name(form.model):
        yield f"The model {form.model} is not served here; {service.model.name} answered."
    if form.timestamp_granularities and form.response_format != "verbose_json":
        yield (
            f"timestamp_granularities changes nothing in response_format={form.response_format}; "
            "send response_format=verbose_json."
        )
    if "speaker_embeddings" in form.include and not form.wants_embeddings:
        yield (
            "include[]=speaker_embeddings changes nothing here; send diarize=true and response_format=verbose_json, or "
            "response_format=diarized_json."
        )
    if (form.min_speakers or form.max_speakers or form.known_speaker_names) and not form.needs_diarizer:
        yield "min_speakers, max_speakers and known_speaker_names change nothing without diarize=true."
    if "logprobs" in form.include and not form.wants_logprobs:
        yield (
            f"include[]=logprobs changes nothing in response_format={form.response_format}; send response_format=json, "
            "or response_format=verbose_json with timestamp_granularities[]=word for the probability of each word."
        )
    if form.stream and not form.streams:
        yield f"stream=true changes nothing in response_format={form.response_format}: subtitles come as a whole."
    yield from _language(form, service)


def _unknown_field(name: str) -> str:
    if name in FOREIGN:
        return f"{name} changes nothing here: {FOREIGN[name]}."
    return f"{unknown(name[:MAX_NAME], 'a parameter', TranscriptionForm.model_fields)}, so it changes nothing."


def _language(form: TranscriptionForm, service: TranscriptionService) -> Iterator[str]:
    model = service.model
    codes = map(language_code, [form.language] if form.language else form.languages)
    for code in dict.fromkeys(codes):
        if code in WIDER and code not in model.languages:
            yield f"{model.name} does not know the language {code}; {WIDER[code]} was taken for it."
    for code in unknown_hints(form, model):
        yield f"{model.name} does not know the language {code}, so it was not looked for."
