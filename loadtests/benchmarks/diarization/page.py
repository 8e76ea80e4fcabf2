"""The page ``docs/diarization.md``: every figure of it comes from the results, so it can be written again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtests.benchmarks.accuracy.bootstrap import RESAMPLES, SEED, Compared, error_rate
from loadtests.benchmarks.diarization.contenders import OURS
from loadtests.benchmarks.diarization.dialogues import GAP_S
from loadtests.benchmarks.diarization.error_rate import COLLAR_S, SpeakerErrors
from loadtests.benchmarks.diarization.plot import write_plot
from loadtests.benchmarks.diarization.recordings import Recording
from loadtests.benchmarks.diarization.results import Results
from loadtests.benchmarks.diarization.service import Answer
from loadtests.benchmarks.parts.tables import percent, table

ALL = "all"
HOUR_S = 3600.0
MS = 1000


def write_page(results: Results, page: Path) -> None:
    """Write the page and, beside it, its picture."""
    picture = page.with_suffix(".png")
    write_plot(results, OURS, picture)
    page.write_text(render(results, picture.name), encoding="utf-8")


def render(results: Results, picture: str) -> str:
    """Return the page's Markdown."""
    parts = [
        "# Who speaks when",
        _introduction(results),
        "## By group",
        _groups(results),
        f"![Who speaks when, and who was found: three recordings]({picture})",
        "## Words",
        _words(results),
        "## Cost",
        _costs(results),
        "## Every recording",
        _recordings(results),
        "## How it is measured",
        _method(results),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(results: Results) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    changed = f" with {machine['changed_files']} changed files" if machine["changed_files"] else ""
    minutes = sum(recording.seconds for recording in results.recordings) / 60
    others = [name for name in results.runs if name != OURS]
    return "\n".join(
        [
            "How well the service tells speakers apart, and what it costs"
            + (f", beside {', '.join(others)} on the same recordings in the same run." if others else "."),
            f"{len(results.recordings)} recordings ({minutes:.0f} minutes). All of this page is written by",
            "",
            f"    {results.command}",
            "",
            f"on {machine['made']}: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; commit "
            f"{machine['commit']}{changed}; {versions}. Nothing is simulated: all models run on the CPU. Read figures "
            "within this page only.",
            "",
            "The thresholds of this service were chosen on dialogues of LibriSpeech readers and a few others:"
            " groups with such voices flatter it. AMI's meetings were not among them.",
        ]
    )


def _groups(results: Results) -> str:
    head = (
        "group",
        "recordings",
        "minutes",
        "contender",
        "error rate %",
        f"with a collar of {COLLAR_S} s",
        "missed %",
        "false %",
        "confused %",
        "number of voices right",
    )
    groups = {**results.groups(), ALL: list(results.recordings)}
    rows = [_group_row(results, name, group, who) for name, group in groups.items() for who in results.runs]
    return "\n".join(table(head, rows))


def _group_row(results: Results, name: str, group: Sequence[Recording], who: str) -> list[str]:
    errors = [results.errors(who, recording) for recording in group]
    forgiven = [results.errors(who, recording, COLLAR_S) for recording in group]
    spoken_s = sum(each.spoken_s for each in errors)
    right = sum(results.run(who, recording).speakers == recording.speakers for recording in group)
    return [
        name,
        str(len(group)),
        f"{sum(recording.seconds for recording in group) / 60:.1f}",
        who,
        percent(error_rate(_compared(group, errors))),
        percent(error_rate(_compared(group, forgiven))),
        _share(sum(each.missed_s for each in errors), spoken_s),
        _share(sum(each.false_s for each in errors), spoken_s),
        _share(sum(each.confused_s for each in errors), spoken_s),
        f"{right} of {len(group)}",
    ]


def _compared(group: Sequence[Recording], errors: Sequence[SpeakerErrors]) -> list[Compared]:
    """Return milliseconds as units: what the bootstrap counts is whole."""
    return [
        Compared(recording.name, round(MS * each.spoken_s), round(MS * each.wrong_s))
        for recording, each in zip(group, errors, strict=True)
    ]


def _words(results: Results) -> str:
    if results.answers is None:
        return "Words were not asked for in this run (`--library-only`)."
    head = ("group", "recordings", "words", "WER %", "cpWER %", "heard", "to the wrong speaker %", "x real time")
    known = [recording for recording in results.recordings if recording.name in results.answers]
    groups: dict[str, list[Recording]] = {}
    for recording in known:
        groups.setdefault(recording.group, []).append(recording)
    rows = [_word_row(name, group, results.answers) for name, group in {**groups, ALL: known}.items()]
    note = (
        "What the service answers to `diarize=true` and `response_format=verbose_json`, with the model"
        f" `{results.model}`. WER: errors of the text, whoever speaks. cpWER: the same, where the words of each speaker"
        " are compared with those of the one that was found for it. To the wrong speaker: of the words that were heard"
        " right. x real time: seconds of audio per second until the answer is there, transcription included, one"
        " recording after the other."
    )
    if results.diarizer_mib is not None:
        note += (
            f" The service's Diarizer held {results.diarizer_mib:.0f} MiB at most, with Python, Ray and the pages of"
            " the decoded audio, which it maps: 110 MiB per hour."
        )
    return "\n".join([note, "", *table(head, rows)])


def _word_row(name: str, group: Sequence[Recording], answers: Mapping[str, Answer]) -> list[str]:
    found = [answers[recording.name].errors for recording in group]
    answered_s = sum(answers[recording.name].seconds for recording in group)
    spoken, heard = sum(each.words for each in found), sum(each.heard for each in found)
    return [
        name,
        str(len(group)),
        str(spoken),
        _share(sum(each.errors for each in found), spoken),
        _share(sum(each.errors_by_speaker for each in found), spoken),
        str(heard),
        _share(sum(each.misattributed for each in found), heard),
        f"{sum(recording.seconds for recording in group) / answered_s:.1f}",
    ]


def _costs(results: Results) -> str:
    head = (
        "contender",
        "seconds of audio per second of CPU",
        "CPU seconds per hour of audio",
        "memory of its process, MiB",
        "most growth in a recording, MiB",
    )
    audio_s = sum(recording.seconds for recording in results.recordings)
    rows = []
    for who, runs in results.runs.items():
        cpu_s = sum(run.cpu_s for run in runs.by_recording.values())
        growth_mib = max(run.growth_mib for run in runs.by_recording.values())
        rows.append(
            (
                who,
                f"{audio_s / cpu_s:.1f}",
                f"{HOUR_S * cpu_s / audio_s:.0f}",
                f"{runs.memory_mib:.0f}",
                f"{growth_mib:.0f}",
            )
        )
    return "\n".join(table(head, rows))


def _recordings(results: Results) -> str:
    head = ["recording", "minutes", "voices", *(f"{who}: voices, error rate %" for who in results.runs)]
    return "\n".join(table(head, (_recording_row(results, recording) for recording in results.recordings)))


def _recording_row(results: Results, recording: Recording) -> list[str]:
    found = [
        f"{results.run(who, recording).speakers}, {100 * results.errors(who, recording).rate:.1f}"
        for who in results.runs
    ]
    return [recording.name, f"{recording.seconds / 60:.1f}", str(recording.speakers), *found]


def _method(results: Results) -> str:
    return "\n".join(
        [
            f"The corpus: `{results.corpus}`, all recordings with an RTTM file. The contenders, none of which is told"
            " how many speak:",
            "",
            *(f"- {who}: {setup}." for who, setup in results.setups.items()),
            *_not_run(results),
            "",
            "How the figures are made:",
            "",
            "- Error rate: seconds that are missed, false or given to the wrong speaker, over seconds that are spoken;"
            " two voices at once count twice. There is no collar, unless it says so. A test compares the figures with"
            " pyannote.metrics.",
            f"- Collar: {COLLAR_S} s on both sides of each edge of the reference are not judged. In the references of"
            " read sentences a turn is the whole file of a sentence, with the silence at its ends: that is most of what"
            " is missed without a collar.",
            f"- Intervals: 95%, bootstrap over recordings, {RESAMPLES} resamples, seed {SEED}; one recording has none.",
            f"- Constructed: whole sentences of two or four LibriSpeech readers with gaps of {GAP_S[0]} to {GAP_S[1]}"
            " s, nobody twice in a row, the same every time. The meeting is an hour of six readers, whose sentences"
            " come again and again.",
            "- Cost: each contender in a process of its own on one core, after it heard one recording unmeasured. The"
            " memory of the process includes Python and all libraries.",
        ]
    )


def _not_run(results: Results) -> list[str]:
    if any("pyannote" in who for who in results.runs):
        return []
    return [
        "- pyannote.audio's own pipeline was not run: the embedding and the PLDA model that it needs are only given to"
        " those who accept their conditions. `--pyannote MODEL` runs it where `HF_TOKEN` opens them."
    ]


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"
