"""Keys and values of the silence behind a window, for the attention of each layer of the encoder."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from npu_encoder.weights import EncoderWeights, LinearWeights


class SilentKeys(NamedTuple):
    """What stands for the positions behind a window, in one layer.

    Attributes:
        key: ``[rows, d_model]``.
        value: ``[rows, d_model]``.
        log_counts: logarithm of the number of positions that each row stands for: ``[rows]``.
    """

    key: NDArray[np.float32]
    value: NDArray[np.float32]
    log_counts: NDArray[np.float32]


def silent_keys(weights: EncoderWeights, layer: int, ctx: int) -> SilentKeys | None:
    """Return the keys and values that follow the ``ctx`` positions of a window.

    None where nothing stands for them, and behind a full window.
    """
    silence = weights.silence
    if silence is None or ctx >= silence.n_audio_ctx:
        return None
    hidden = silence.layers[layer, silence.layer_rows(ctx)]
    own = weights.layers[layer]
    return SilentKeys(_product(hidden, own.key), _product(hidden, own.value), silence.log_counts(ctx))


def _product(x: NDArray[np.float32], linear: LinearWeights) -> NDArray[np.float32]:
    return np.ascontiguousarray(x @ linear.weight.T + linear.bias, np.float32)
