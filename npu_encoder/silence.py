"""What Whisper's encoder makes of the silence behind the speech, so that it need not be computed for every window.

Whisper is trained on windows of 30 s. If only the speech of a window is encoded, both halves of the model miss the
silence that used to follow: each layer of the encoder spreads its attention over the speech alone, and the decoder does
not find the end of the text and begins again. Silence always looks nearly the same, so averages over recordings stand
in for it: as further keys and values of the encoder's attention, and as rows behind the encoder's states.

One row of ``layers`` stands for ``LAYER_STRIDE`` positions: the logarithm of their number, added to its attention
score, gives it the weight that they had together. The decoder has no such addition, so ``states`` is denser, and of its
rows there are never fewer than one in ``SPARSEST``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from npu_encoder.errors import ModelFormatError

SILENCE_FILE: Final = "silence.npz"
"""The name of the file beside a model's other files."""

LAYER_STRIDE: Final = 16
STATE_STRIDE: Final = 2

SPARSEST: Final = 6
"""Positions of the decoder's input that one row stands for at most."""

LENGTHS: Final = (544, 800, 1104)
"""Numbers of states, speech and silence, that the decoder is given for less than a full window.

Few, because windows of one length decode together; a row more costs less than a smaller batch.
"""


@dataclass(frozen=True, slots=True)
class TrailingSilence:
    """Averages over the silence behind the speech, in a 30-s window.

    Attributes:
        layers: input of each layer's attention, behind its LayerNorm: ``[n_layers, ceil(n_audio_ctx / 16), d_model]``;
            row ``j`` stands for positions ``16 j`` to ``16 j + 15``.
        states: the encoder's states: ``[ceil(n_audio_ctx / 2), d_model]``; row ``j`` stands for positions ``2 j`` and
            ``2 j + 1``.
        n_audio_ctx: positions of the full window.
    """

    layers: NDArray[np.float32]
    states: NDArray[np.float32]
    n_audio_ctx: int

    def tail(self, ctx: int) -> NDArray[np.float32]:
        """Return the rows that follow ``ctx`` encoder states: ``[rows, d_model]``; none behind a full window.

        They are spread evenly over the positions behind ``ctx``, and with the states there are as many as ``LENGTHS``
        has.
        """
        missing = self.n_audio_ctx - ctx
        fewest = ctx + -(-missing // SPARSEST)
        length = next((length for length in LENGTHS if fewest <= length < self.n_audio_ctx), self.n_audio_ctx)
        rows = length - ctx
        positions = ctx + (np.arange(rows) + 0.5) * missing / max(1, rows)
        return self.states[positions.astype(np.int64) // STATE_STRIDE]

    def layer_rows(self, ctx: int) -> slice:
        """Return which rows of ``layers`` follow ``ctx`` positions."""
        return slice(-(-ctx // LAYER_STRIDE), self.layers.shape[1])

    def log_counts(self, ctx: int) -> NDArray[np.float32]:
        """Return the logarithm of the number of positions that each row of ``layer_rows(ctx)`` stands for."""
        rows = self.layer_rows(ctx)
        starts = LAYER_STRIDE * np.arange(rows.start, rows.stop)
        counts = np.minimum(LAYER_STRIDE, self.n_audio_ctx - starts).astype(np.float32)
        logarithms: NDArray[np.float32] = np.log(counts)
        return logarithms


def sampled_positions(n_audio_ctx: int, stride: int) -> NDArray[np.int64]:
    """Return the position in the middle of each block of ``stride`` positions, the last block cut at the end."""
    starts = np.arange(0, n_audio_ctx, stride)
    return (starts + np.minimum(starts + stride, n_audio_ctx)) // 2


def write_silence(path: Path, silence: TrailingSilence, description: dict[str, Any]) -> None:
    """Write the averages, in half precision, with a description that ``read_description`` gives back."""
    with path.open("wb") as file:
        np.savez(
            file,
            layers=silence.layers.astype(np.float16),
            states=silence.states.astype(np.float16),
            n_audio_ctx=np.int64(silence.n_audio_ctx),
            description=np.array(json.dumps(description)),
        )


def read_silence(path: Path) -> TrailingSilence:
    """Read what ``write_silence`` wrote.

    Raises:
        ModelFormatError: the file cannot be read, or is none of that kind.
    """
    arrays = _read(path)
    return TrailingSilence(
        arrays["layers"].astype(np.float32), arrays["states"].astype(np.float32), int(arrays["n_audio_ctx"])
    )


def read_description(path: Path) -> dict[str, Any]:
    """Return the description that the averages were written with.

    Raises:
        ModelFormatError: as ``read_silence``.
    """
    description: dict[str, Any] = json.loads(str(_read(path)["description"]))
    return description


def _read(path: Path) -> dict[str, NDArray[Any]]:
    names = ("layers", "states", "n_audio_ctx", "description")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise ModelFormatError(
            f"The file {path} cannot be read ({error}); delete it, and make it again with: amanuensis model tune"
        ) from error
