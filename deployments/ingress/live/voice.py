"""The voice model for live sessions: a few threads hear all of them, less than a tenth of a second at a time.

A speaker costs about 0.2% of a core, so that two threads are enough for hundreds, and the event loop waits for none.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from deployments.shared.voice_chunks import CHUNK

if TYPE_CHECKING:
    from deployments.shared.voice_model import StreamState, VoiceModel

THREADS: Final = 2
BATCH: Final = 2  # chunks per inference: 64 ms
STEP: Final = BATCH * CHUNK  # samples of a batch


class VoiceThreads:
    """Threads with a voice model each. They and OpenVINO are loaded when the first session needs them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="voice")
        self._local = threading.local()

    def close(self) -> None:
        """End the threads, as soon as each has heard what it hears now."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def hear(self, samples: NDArray[np.int16], state: StreamState | None) -> tuple[list[float], StreamState]:
        """Return the probability of speech in each chunk, and what to remember of the stream.

        Args:
            samples: ``[n_batches * STEP]``, 16 kHz mono.
            state: as the call before returned it; None at the start of a stream.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._hear, samples, state)

    def _hear(self, samples: NDArray[np.int16], state: StreamState | None) -> tuple[list[float], StreamState]:
        model = self._model()
        if state is None:
            model.forget()
        else:
            model.resume(state)
        batches = (model.hear(samples[first : first + STEP]).tolist() for first in range(0, len(samples), STEP))
        probabilities = [probability for batch in batches for probability in batch]
        return probabilities, model.leave()

    def _model(self) -> VoiceModel:
        """Return this thread's model."""
        if not hasattr(self._local, "model"):
            # Where nobody speaks live, the ingress does without OpenVINO: 30 MB, and as much per compiled model.
            from deployments.shared.voice_model import VoiceModel  # noqa: PLC0415

            self._local.model = VoiceModel(BATCH)
        model: VoiceModel = self._local.model
        return model
