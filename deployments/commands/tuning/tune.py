"""Makes the averages of the silence behind speech for one model, checks them, and writes them beside the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from deployments.commands.errors import CommandError
from deployments.commands.tuning.check import FullWindow, Verdict, check
from deployments.commands.tuning.recordings import Spoken, cut
from deployments.mel.log_mel import log_mel
from deployments.shared.cores import usable_cores
from deployments.shared.frames import N_FRAMES, SAMPLE_RATE
from deployments.shared.model.files import sha256
from deployments.shared.model.silence import SilenceDescription
from npu_encoder.calibration import SilenceAverages
from npu_encoder.silence import write_silence
from npu_encoder.weights import MODEL_FILE, read_dimensions

MAX_WINDOWS: Final = 180
MIN_WINDOWS: Final = 20
"""Fewer say little about the end of the window, and less about other voices."""

HELD_OUT: Final = 3
"""One recording of so many is no part of the averages: the check is made with it."""

Taken = Iterable[FullWindow | None]
Progress = Callable[[Taken, int], Taken]
"""Shows how many windows of so many are done, while it passes them on."""


def tune(
    model_dir: Path, recordings: Sequence[Path], target: Path, *, precision: str, progress: Progress
) -> SilenceDescription:
    """Make the averages for the model in ``model_dir`` and write them to ``target``, whether they pass or not.

    Args:
        model_dir: CTranslate2 Whisper directory.
        recordings: files of speech, of several voices in several rooms.
        target: the file to be written.
        precision: of the encoder, as for OpenVINO's backend.
        progress: sees every window.

    Returns:
        What the file says about itself.

    Raises:
        CommandError: there is too little speech, or the file cannot be written.
    """
    windows = list(cut(recordings, MAX_WINDOWS))
    if len(windows) < MIN_WINDOWS:
        raise CommandError(
            f"These files hold {len(windows)} windows of speech, and {MIN_WINDOWS} are needed: name a folder with more"
        )
    threads = usable_cores()
    averages = SilenceAverages(model_dir, precision=precision, threads=threads)
    n_mels = read_dimensions(model_dir).n_mels

    def take(spoken: Spoken) -> FullWindow | None:
        if spoken.recording % HELD_OUT:
            averages.add(spoken.log_mel(n_mels), spoken.audio_frames)
            return None
        return FullWindow(spoken, averages.encode(spoken.log_mel(n_mels)))

    with ThreadPoolExecutor(threads) as pool:
        held_out = [window for window in progress(pool.map(take, windows), len(windows)) if window is not None]
    silent = np.empty((n_mels, N_FRAMES), np.float32)
    log_mel(np.zeros(SAMPLE_RATE, np.int16), silent)
    partial = target.with_name(f".{target.name}.partial")
    try:
        silence = averages.result(silent)
        write_silence(partial, silence, {})  # what it says about itself is only known after the check
        description = _description(model_dir, windows, check(model_dir, partial, held_out, precision))
        write_silence(partial, silence, description.model_dump())
        partial.rename(target)
    except OSError as error:
        raise CommandError(f"The file {target} cannot be written ({error.strerror}); name another one") from error
    finally:
        partial.unlink(missing_ok=True)
    return description


def _description(model_dir: Path, windows: Sequence[Spoken], verdict: Verdict) -> SilenceDescription:
    model = model_dir / MODEL_FILE
    averaged = [spoken.recording for spoken in windows if spoken.recording % HELD_OUT]
    return SilenceDescription(
        model_sha256=sha256(model),
        model_bytes=model.stat().st_size,
        recordings=len(set(averaged)),
        windows=len(averaged),
        checked_windows=verdict.windows,
        lost_nats=round(verdict.lost_nats, 4),
        not_good=round(verdict.not_good, 4),
        passed=verdict.passed,
    )
