"""Averages of what the encoder makes of the silence behind speech, taken over recordings: ``TrailingSilence``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from npu_encoder.graphs.audio_encoder import build_encoder
from npu_encoder.graphs.compile import compile_graph, resolve_precision
from npu_encoder.silence import LAYER_STRIDE, STATE_STRIDE, TrailingSilence, sampled_positions
from npu_encoder.weights import read_weights

GAP: Final = 25
"""Positions behind the audio of a window that are not averaged: half a second, in which the speech still shows."""


class SilenceAverages:
    """Encodes full windows and averages what lies behind their audio. Several threads may add windows.

    Args:
        model_dir: CTranslate2 Whisper directory.
        precision: ``auto``, ``bf16`` or ``f32``, as for OpenVINO's backend.
        threads: windows that are encoded at the same time.

    Raises:
        ModelFormatError: if the directory holds no readable Whisper model.
        UnsupportedPrecisionError: if this CPU cannot compute in ``precision``.
    """

    def __init__(self, model_dir: Path, *, precision: str = "auto", threads: int = 1) -> None:
        core = ov.Core()
        weights = read_weights(model_dir)
        dimensions = weights.dimensions
        graph = build_encoder(weights, dimensions.max_frames, attention_inputs=True)
        self._compiled = compile_graph(core, graph, precision=resolve_precision(core, precision), threads=threads)
        self._n_audio_ctx = dimensions.n_audio_ctx
        self._layer_positions = sampled_positions(dimensions.n_audio_ctx, LAYER_STRIDE)
        self._state_positions = sampled_positions(dimensions.n_audio_ctx, STATE_STRIDE)
        self._layers = np.zeros((dimensions.n_layers, len(self._layer_positions), dimensions.d_model))
        self._states = np.zeros((len(self._state_positions), dimensions.d_model))
        self._layer_counts = np.zeros(len(self._layer_positions), np.int64)
        self._state_counts = np.zeros(len(self._state_positions), np.int64)
        self._lock = threading.Lock()

    def add(self, log_mel: NDArray[np.float32], audio_frames: int) -> NDArray[np.float32]:
        """Take in one window, and return its states ``[n_audio_ctx, d_model]``.

        Args:
            log_mel: ``[n_mels, 2 * n_audio_ctx]``.
            audio_frames: frames of it that hold audio; silence follows.
        """
        states, inputs = self._encode(log_mel)
        first = audio_frames // 2 + GAP
        of_layers, of_states = self._layer_positions >= first, self._state_positions >= first
        with self._lock:
            self._layers[:, of_layers] += inputs[:, self._layer_positions[of_layers]]
            self._layer_counts += of_layers
            self._states[of_states] += states[self._state_positions[of_states]]
            self._state_counts += of_states
        return states

    def encode(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the states of a window that is no part of the averages."""
        states, _ = self._encode(log_mel)
        return states

    def result(self, silent: NDArray[np.float32]) -> TrailingSilence:
        """Return the averages.

        Args:
            silent: the log-mel of a window in which there is no sound at all; it stands in at the positions before the
                end of every window.
        """
        states, inputs = self._encode(silent)
        with self._lock:
            layers = _averages(self._layers, self._layer_counts, inputs[:, self._layer_positions])
            rows = _averages(self._states, self._state_counts, states[self._state_positions])
        return TrailingSilence(layers, rows, self._n_audio_ctx)

    def _encode(self, log_mel: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the states ``[ctx, d_model]`` and the inputs of the attentions, ``[n_layers, ctx, d_model]``."""
        request = self._compiled.create_infer_request()
        outputs = request.infer([np.ascontiguousarray(log_mel)])
        states, *inputs = (np.array(outputs[port]) for port in self._compiled.outputs)
        return states, np.concatenate(inputs)


def _averages(
    sums: NDArray[np.float64], counts: NDArray[np.int64], otherwise: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Divide the sums ``[..., rows, d_model]`` by the counts of the rows; rows without any are taken from elsewhere."""
    averages = sums / np.maximum(counts, 1)[:, np.newaxis]
    return np.where(counts[:, np.newaxis] > 0, averages, otherwise).astype(np.float32)
