"""Whisper's text decoder as an OpenVINO graph with a state, as OpenVINO GenAI's ``WhisperPipeline`` drives it.

After ``TextDecoder`` of openai/whisper (``whisper/model.py``). Matrices are kept in int8 with one scale per row, which
OpenVINO's kernels multiply without making floats of the whole matrix first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset15 as op
from openvino.op.util import Variable, VariableInfo

from npu_encoder.graphs.layers import gelu, integers, layer_norm
from npu_encoder.model_file import ModelFile

INT8_MAX = 127
MASKED = np.float32(np.finfo(np.float32).min)


def build_decoder(model: ModelFile) -> ov.Model:
    """Build the decoder; B sequences, S new tokens each, over T encoder states of width d.

    Inputs: ``input_ids`` ``[B, S]``, ``encoder_hidden_states`` ``[B, T, d]``, ``beam_idx`` ``[B]`` (which sequence of
    the step before each one goes on from) and ``cache_position`` ``[S]``. Output: ``logits`` ``[B, S, vocabulary]``.
    The keys and values of earlier tokens are its state. So are those of the encoder's states, which are computed in
    the first step after a reset and never again.
    """
    return _Decoder(model).build()


@dataclass
class _Decoder:
    """One graph under construction."""

    model: ModelFile
    assigned: list[ov.Node] = field(default_factory=list)
    input_ids: ov.Node = field(init=False)
    states: ov.Node = field(init=False)
    beam_idx: ov.Node = field(init=False)
    cache_position: ov.Node = field(init=False)
    mask: ov.Node = field(init=False)

    @property
    def n_heads(self) -> int:
        return self.model.integer("decoder/num_heads")

    @property
    def d_model(self) -> int:
        return self.model.shape("decoder/embeddings/weight")[1]

    def build(self) -> ov.Model:
        self.input_ids = _parameter("input_ids", [-1, -1], ov.Type.i64)
        self.states = _parameter("encoder_hidden_states", [-1, -1, self.d_model], ov.Type.f32)
        self.beam_idx = _parameter("beam_idx", [-1], ov.Type.i32)
        self.cache_position = _parameter("cache_position", [-1], ov.Type.i64)
        self.mask = self._causal_mask()

        embeddings = _compressed(self.model.tensor("decoder/embeddings/weight"))
        positions = op.constant(self.model.tensor("decoder/position_encodings/encodings"))
        x = op.gather(embeddings, self.input_ids, integers(0))
        x = op.add(x, op.gather(positions, self.cache_position, integers(0)))
        layer = 0
        while f"decoder/layer_{layer}/self_attention/linear_0/weight" in self.model:
            x = self._layer(x, f"decoder/layer_{layer}")
            layer += 1
        x = self._norm(x, "decoder/layer_norm")

        projection = _compressed(self.model.tensor("decoder/projection/weight"))
        logits = op.result(op.matmul(x, projection, transpose_a=False, transpose_b=True))
        logits.get_output_tensor(0).set_names({"logits"})
        parameters = [self.input_ids, self.states, self.beam_idx, self.cache_position]
        return ov.Model([logits], self.assigned, parameters, "whisper_decoder")

    def _causal_mask(self) -> ov.Node:
        """Build ``[1, 1, S, L]`` over the L tokens there are after this step: 0, or minus infinity for later ones."""
        last = op.reduce_max(self.cache_position, integers(0), keep_dims=False)
        length = op.add(last, op.constant(np.int64(1)))
        keys = op.range(op.constant(np.int64(0)), length, op.constant(np.int64(1)), ov.Type.i64)
        seen = op.less_equal(op.unsqueeze(keys, integers(0)), op.unsqueeze(self.cache_position, integers(1)))
        mask = op.select(seen, op.constant(np.float32(0)), op.constant(MASKED))
        return op.unsqueeze(mask, integers(0, 1))

    def _layer(self, x: ov.Node, name: str) -> ov.Node:
        x = op.add(x, self._self_attention(x, f"{name}/self_attention"))
        x = op.add(x, self._cross_attention(x, f"{name}/attention"))
        hidden = gelu(self._linear(self._norm(x, f"{name}/ffn/layer_norm"), f"{name}/ffn/linear_0"))
        return op.add(x, self._linear(hidden, f"{name}/ffn/linear_1"))

    def _self_attention(self, x: ov.Node, name: str) -> ov.Node:
        normed = self._norm(x, f"{name}/layer_norm")
        query, key, value = (self._projection(normed, f"{name}/linear_0", part, 3) for part in range(3))
        key, value = (self._remember(new, f"{name}/{kind}") for new, kind in ((key, "key"), (value, "value")))
        attended = op.scaled_dot_product_attention(query, key, value, self.mask)
        return self._linear(self._merge_heads(attended), f"{name}/linear_1")

    def _cross_attention(self, x: ov.Node, name: str) -> ov.Node:
        query = self._projection(self._norm(x, f"{name}/layer_norm"), f"{name}/linear_0", 0, 1)
        key, value = (
            self._once(self._projection(self.states, f"{name}/linear_1", part, 2), f"{name}/{kind}")
            for part, kind in enumerate(("key", "value"))
        )
        attended = op.scaled_dot_product_attention(query, key, value)
        return self._linear(self._merge_heads(attended), f"{name}/linear_2")

    def _projection(self, x: ov.Node, name: str, part: int, parts: int) -> ov.Node:
        """Build one of the ``parts`` products that CTranslate2 fuses: ``[B, S, d]`` to ``[B, heads, S, d / heads]``."""
        weight = np.split(self.model.tensor(f"{name}/weight"), parts)[part]
        bias = np.split(self.model.tensor(f"{name}/bias"), parts)[part]
        split = op.reshape(_product(x, weight, bias), integers(0, 0, self.n_heads, -1), special_zero=True)
        return op.transpose(split, integers(0, 2, 1, 3))

    def _merge_heads(self, x: ov.Node) -> ov.Node:
        return op.reshape(op.transpose(x, integers(0, 2, 1, 3)), integers(0, 0, self.d_model), special_zero=True)

    def _remember(self, new: ov.Node, name: str) -> ov.Node:
        """Append new keys or values to those of the tokens before, which are none after a reset."""
        d_head = self.d_model // self.n_heads
        batch = op.gather(op.shape_of(self.input_ids), integers(0), integers(0))
        none = op.broadcast(
            op.constant(np.float32(0)), op.concat([batch, integers(self.n_heads, 0, d_head)], 0), "NUMPY"
        )
        variable = _variable(name, [-1, self.n_heads, -1, d_head])
        before = op.gather(op.read_value(none, variable), self.beam_idx, integers(0))
        both = op.concat([before, new], 2)
        self.assigned.append(op.assign(both, variable))
        return both

    def _once(self, computed: ov.Node, name: str) -> ov.Node:
        """Keep what was computed in the first step after a reset."""
        variable = _variable(name, [-1, self.n_heads, -1, self.d_model // self.n_heads])
        kept = op.read_value(computed, variable)
        self.assigned.append(op.assign(kept, variable))
        return kept

    def _linear(self, x: ov.Node, name: str) -> ov.Node:
        return _product(x, self.model.tensor(f"{name}/weight"), self.model.tensor(f"{name}/bias"))

    def _norm(self, x: ov.Node, name: str) -> ov.Node:
        gamma, beta = (op.constant(self.model.tensor(f"{name}/{kind}")) for kind in ("gamma", "beta"))
        return layer_norm(x, gamma, beta)


def _parameter(name: str, shape: list[int], kind: ov.Type) -> ov.Node:
    parameter = op.parameter(ov.PartialShape(shape), kind, name=name)
    parameter.get_output_tensor(0).set_names({name})
    return parameter


def _variable(name: str, shape: list[int]) -> Any:
    info = VariableInfo()
    info.data_shape, info.data_type, info.variable_id = ov.PartialShape(shape), ov.Type.f32, name
    return Variable(info)


def _product(x: ov.Node, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> ov.Node:
    product = op.matmul(x, _compressed(weight), transpose_a=False, transpose_b=True)
    return op.add(product, op.constant(bias))


def _compressed(weight: NDArray[np.float32]) -> ov.Node:
    """Make a constant in int8 with a scale per row, ``[n_out, n_in]``, as OpenVINO's kernels recognise them."""
    scale = np.maximum(np.abs(weight).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / INT8_MAX
    stored = np.round(weight / scale).astype(np.int8)
    return op.multiply(op.convert(op.constant(stored), ov.Type.f32), op.constant(scale.astype(np.float32)))
