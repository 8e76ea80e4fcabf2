"""``docs/configuration.md``, written from ``Settings``: ``python -m tests.support.configuration_page --update``.

Without ``--update`` the exit status says whether the page is up to date.
"""

from __future__ import annotations

import sys
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from deployments.shared.cores import CoreDefaults, defaults_for
from deployments.shared.settings import LIVE, Settings, environment_variable
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "configuration.md"
LINE_LENGTH = 120
BY_CORES = frozenset(field.name for field in fields(CoreDefaults))
SHOWN_CORES = (8, 16)
"""Machines whose defaults the page names, beside those with few cores."""

COMMAND = "python -m tests.support.configuration_page --update"

INTRODUCTION = f"""# Configuration

<!-- Written by `{COMMAND}`; do not edit. -->

A setting is read from the environment, else from `args` in the configuration file (`serve_config.yaml` for
`make serve`, or the file that `amanuensis serve FILE` names), else it has its default. The environment is that of the
shell that starts Ray.

```sh
AMANUENSIS_SLOTS=32 make serve          # from the environment
```
```yaml
# in serve_config.yaml
applications:
  - name: amanuensis
    args:
      slots: 32
```

A bad value or an unknown name stops the start, in `args` and among the variables that begin with `AMANUENSIS_`; the
message names it, and what was probably meant. Five further variables are no settings: `AMANUENSIS_URL` and
`AMANUENSIS_API_KEY` are for the commands that call a service; `AMANUENSIS_DASHBOARD_PORT`,
`AMANUENSIS_HAPROXY_STATISTICS_HOST` and `AMANUENSIS_HAPROXY_HOST` are in [security](security.md#ports).

Every setting is also read from `AMANUENSIS_` and its name in capitals; where the tables name another variable, that
one wins. A list has commas between its items, `AMANUENSIS_MODEL_ALIASES=whisper-1,speech`, or is written as JSON. A
variable that is set but empty counts as not set. A relative path is seen from where the service is started. Times are
in seconds, sizes in bytes. A setting marked *live* can change while the service runs:
[operations](operations.md#live-settings). Ready configurations for several machines are in
[scaling](scaling.md#which-configuration). Some defaults depend on the number of cores: the page has those for fewer
than 8, for 8 and for 16; [scaling](scaling.md#what-the-cores-decide) has the rule.
"""


class Theme(NamedTuple):
    """A section of the page.

    Attributes:
        title: heading of the section.
        sentence: what the settings of the section decide.
        fields: names of the settings, in the order of the page.
    """

    title: str
    sentence: str
    fields: tuple[str, ...]


THEMES = (
    Theme(
        "Model",
        "Which model is served, under which names, and how much of each window it sees.",
        (
            *("whisper_model", "model_aliases", "accept_any_model", "hf_token", "audio_context"),
            *("align_model", "align_language", "diarization_model"),
        ),
    ),
    Theme(
        "Text",
        "How the decoder looks for the text of a window: see [decisions](decisions.md#deterministic-text).",
        ("compute_type", "ctranslate2_device", "beam_size", "fallback_temperatures"),
    ),
    Theme(
        "Encoder and device",
        "What runs the encoder; the settings of the NPU are explained in"
        " [npu_encoder/README.md](../npu_encoder/README.md) and [NPU](npu.md).",
        (
            *("device", "encoder_backend", "onnx_provider", "encoder_precision", "encoder_threads"),
            "encoder_replicas",
            *("encoder_batch_size", "npu_kernels", "npu_precision", "npu_contexts", "npu_simulator"),
            *("npu_scenario", "on_device_failure"),
        ),
    ),
    Theme(
        "Replicas and threads",
        "How many processes and threads the other two stages have: see [scaling](scaling.md).",
        (
            *("mel_replicas", "max_mel_replicas", "mel_threads"),
            *("decoder_replicas", "max_decoder_replicas", "decoder_threads", "decoder_batch_size"),
            *("max_diarizer_replicas", "diarizer_threads"),
        ),
    ),
    Theme(
        "Queue and slots",
        "How much work is in flight, how much may wait, and in which order:"
        " see [architecture](architecture.md#admission-who-gets-a-slot).",
        (
            *("enable_pipeline", "slots", "max_queue_size", "priority_ageing_s", "max_windows_in_flight"),
            *("handoff", "shared_memory_dir"),
        ),
    ),
    Theme(
        "Time",
        "How long a request may take, and after which silence a stage counts as hung.",
        (
            *("request_timeout_s", "timeout_per_audio_s", "max_request_timeout_s"),
            *("mel_budget_s", "encoder_budget_s", "decoder_budget_s", "diarizer_budget_s"),
            "drain_timeout_s",
        ),
    ),
    Theme(
        "Limits of an upload",
        "What is refused before or while it is read: see [security](security.md).",
        ("max_upload_bytes", "upload_timeout_s", "min_upload_bytes_per_s", "max_audio_s", "max_channels"),
    ),
    Theme(
        "Clients",
        "Who may call, and how often: see [clients](clients.md#keys-and-limits) and [security](security.md#web-pages).",
        ("api_keys_file", "requests_per_minute", "max_concurrent_requests", "allowed_hosts", "cors_origins"),
    ),
    Theme(
        "Live transcription",
        "How many may speak at the same time, and how much one of them may send: see [live](live.md#limits).",
        (
            *("max_live_sessions", "max_live_session_s", "live_idle_timeout_s"),
            *("max_live_ahead_s", "max_live_buffer_s"),
        ),
    ),
    Theme(
        "Jobs",
        "Where long recordings wait, how many may, and who is told of their end:"
        " see [clients](clients.md#long-recordings).",
        (
            *("jobs_dir", "jobs_at_once", "max_jobs", "max_jobs_bytes", "jobs_kept_s"),
            *("callback_hosts", "callback_secret"),
        ),
    ),
    Theme(
        "Traces and failures",
        "Where traces go and what is kept of failed requests: see [operations](operations.md).",
        (
            *("otlp_endpoint", "failure_log_dir", "failure_log_max_records", "failure_log_max_bytes"),
            "failure_log_audio",
        ),
    ),
)


def page() -> str:
    """Return the page as it should be.

    Raises:
        ValueError: a setting belongs to no theme, or to two.
    """
    named = sorted(field for theme in THEMES for field in theme.fields)
    if named != sorted(Settings.model_fields):
        raise ValueError(f"name each setting in one theme: {set(named) ^ set(Settings.model_fields)}")
    return "\n".join([INTRODUCTION, *map(_section, THEMES)])


def _section(theme: Theme) -> str:
    rows = map(_row, theme.fields)
    head = ("| setting | environment | default | meaning |", "| --- | --- | --- | --- |")
    sentence = textwrap.fill(theme.sentence, LINE_LENGTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join([f"## {theme.title}", "", sentence, "", *head, *rows, ""])


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    meaning = f"{field.description} (*live*)" if name in LIVE else field.description
    default = _shown_by_cores(name) if name in BY_CORES else _shown(field.default)
    return f"| `{name}` | `{environment_variable(name)}` | {default} | {meaning} |"


def _shown_by_cores(name: str) -> str:
    more = (f"{cores} cores: `{getattr(defaults_for(cores), name)}`" for cores in SHOWN_CORES)
    return "; ".join([f"`{getattr(defaults_for(1), name)}`", *more])


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`" if value else "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def main(arguments: list[str]) -> int:
    """Write the page where that is asked for; return the exit status."""
    if arguments == ["--update"]:
        PAGE.write_text(page(), encoding="utf-8")
    return int(not is_up_to_date(PAGE))


def is_up_to_date(path: Path) -> bool:
    """Return whether the file holds the page as it should be."""
    return path.is_file() and path.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
