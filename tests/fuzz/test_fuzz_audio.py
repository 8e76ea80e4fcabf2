"""A short, repeatable run of the audio fuzzer, and proof that it would see what it looks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.decoder_process import DecoderProcess
from tests.fuzz.fuzz_audio import fuzz

INPUTS = 1000
CHILD = """
import io, os, signal
import deployments.mel.decoding
from tests.fuzz import decoder_process
decoder_process.CPU_SECONDS = 0.3
deployments.mel.decoding.decode = lambda *_: {decoder}
decoder_process.serve()
"""


def test_damaged_files_are_decoded_or_refused() -> None:
    report = fuzz(1, inputs=INPUTS)
    assert not report.findings, str(report)
    assert set(report.kinds) == {"samples", "InvalidAudioError", "AudioTooLongError"}
    assert report.kinds["samples"] > INPUTS / 20
    assert report.kinds["InvalidAudioError"] > INPUTS / 20
    assert report.max_cpu_s < 2
    assert report.max_rise < 100e6
    assert report.growth < 30e6


@pytest.mark.parametrize(
    ("decoder", "kind"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("[None for _ in iter(int, 1)]", "more than 5 s of CPU"),
        ("bytearray(2**31)", "builtins.MemoryError: "),
        ("os._exit(3)", "exit 3"),
    ],
)
def test_what_should_never_happen_is_noticed_and_survived(decoder: str, kind: str, tmp_path: Path) -> None:
    program = tmp_path / "child.py"
    program.write_text(CHILD.format(decoder=decoder))
    with DecoderProcess(program) as decoder_process:
        for _ in range(2):
            outcome = decoder_process.decode(b"an upload")
            assert (outcome.kind, outcome.is_fine) == (kind, False)
