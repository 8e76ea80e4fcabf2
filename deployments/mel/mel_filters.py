"""The mel filter bank that Whisper was trained with: librosa's slaney filters, kept in a file beside this one.

Importing ``librosa.filters`` costs 2 s of CPU and 120 MB, which every replica would pay at every start. So the filters
are computed once, by ``python -m deployments.mel.mel_filters``, and a test computes them again.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from deployments.shared.frames import MEL_BINS, N_FFT, SAMPLE_RATE

FILE = Path(__file__).with_suffix(".npz")


@lru_cache
def mel_filters(n_mels: int) -> csr_array:
    """Return the filter bank ``[n_mels, N_FFT // 2 + 1]``, float32.

    It is sparse, because all but 2% of it is zero, and because a dense product would wake the threads of the BLAS.

    Raises:
        KeyError: no Whisper model has this many bins.
    """
    with np.load(FILE) as banks:
        return csr_array(banks[str(n_mels)])


def compute(n_mels: int) -> NDArray[np.float32]:
    """Compute the same filter bank, dense, with librosa itself."""
    from librosa.filters import mel  # noqa: PLC0415  (see the top of this file)

    bank: NDArray[np.float32] = mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=n_mels)
    return bank


if __name__ == "__main__":
    np.savez_compressed(FILE, allow_pickle=False, **{str(n_mels): compute(n_mels) for n_mels in MEL_BINS})
