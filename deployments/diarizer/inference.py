"""Small models on one CPU thread, with OpenVINO."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino.properties import hint, inference_num_threads, num_streams

MODELS: Final = Path(__file__).parent / "models"

Float32 = NDArray[np.float32]


class SmallModel:
    """A model with one input and one output, for arrays of one shape. Each thread has a request of its own.

    Args:
        name: of its files in ``models``.
        shape: of its input, the batch first.
    """

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        core = openvino.Core()
        model = core.read_model(MODELS / f"{name}.xml")
        model.reshape(list(shape))
        # Other processes share these cores: the scheduler knows better where to run. The precision is the machine's
        # own: bf16 where it computes in it, for embeddings whose cosine differs by less than 0.001 then.
        settings = {inference_num_threads: 1, num_streams: 1, hint.enable_cpu_pinning: False}
        self._shape = shape
        self._compiled: Any = core.compile_model(model, "CPU", settings)
        self._thread = threading.local()

    def __call__(self, rows: Float32) -> Float32:
        """Return the output for ``rows``, which may be any number: they are computed in batches.

        Args:
            rows: ``[n, ...]`` float32, each as long as the shape says.

        Returns:
            ``[n, ...]`` float32.
        """
        batch = self._shape[0]
        parts = [self._infer(rows[first : first + batch]) for first in range(0, len(rows), batch)]
        return np.concatenate(parts)

    def _infer(self, rows: Float32) -> Float32:
        if not hasattr(self._thread, "request"):
            self._thread.request = self._compiled.create_infer_request()
        request = self._thread.request
        array = request.get_input_tensor().data
        array[: len(rows)] = rows
        array[len(rows) :] = 0.0
        request.infer()
        output: Float32 = request.get_output_tensor().data[: len(rows)].copy()
        return output
