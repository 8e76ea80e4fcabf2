"""The encoder in ONNX Runtime: what it refuses, and the file it runs."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime as ort
import pytest

from npu_encoder.errors import ModelFormatError, ProviderError
from npu_encoder.loading import load_backend
from npu_encoder.onnx import audio_encoder
from npu_encoder.onnx.audio_encoder import build_encoder
from npu_encoder.onnx.backend import CPU_PROVIDER, OnnxRuntimeBackend, check_placement
from npu_encoder.onnx.protobuf import graph, model, node, tensor, value
from npu_encoder.weights import read_weights
from tests.support.paths import DEMO_MODEL

PARTIAL_PROVIDER = "AzureExecutionProvider"
"""It comes with the package and computes no operator of an encoder."""

NPU = "VitisAIExecutionProvider"


def event(provider: str, operator: str) -> dict[str, object]:
    return {"cat": "Node", "name": f"{operator}_kernel_time", "args": {"provider": provider, "op_name": operator}}


def test_provider_that_is_not_installed_is_refused_with_those_that_are() -> None:
    with pytest.raises(ProviderError, match=f"has no {NPU}, only .*{CPU_PROVIDER}"):
        load_backend(DEMO_MODEL, backend="onnxruntime", onnx_provider=NPU)


@pytest.mark.skipif(PARTIAL_PROVIDER not in ort.get_available_providers(), reason="this build has only whole providers")
def test_provider_that_leaves_the_encoder_to_the_cpu_is_refused() -> None:
    backend = OnnxRuntimeBackend(DEMO_MODEL, provider=PARTIAL_PROVIDER)
    with pytest.raises(
        ProviderError, match=rf"{PARTIAL_PROVIDER} does not compute .*MatMul.* never falls back silently"
    ):
        backend.warm_up([400])
    backend.close()


def test_one_node_on_another_provider_is_enough_to_refuse() -> None:
    events = [event(NPU, "fused"), event(NPU, "fused"), event(CPU_PROVIDER, "Erf"), {"cat": "Session", "name": "run"}]
    with pytest.raises(ProviderError, match=r"1 of 3 nodes ran elsewhere \(Erf\)"):
        check_placement(json.dumps(events), NPU)
    check_placement(json.dumps(events[:2]), NPU)


def test_profile_without_nodes_proves_nothing() -> None:
    with pytest.raises(ProviderError, match="none was seen"):
        check_placement(json.dumps([{"cat": "Session", "name": "run"}]), CPU_PROVIDER)


def test_silence_is_rejected_by_a_graph_that_cannot_use_it() -> None:
    with pytest.raises(ValueError, match="does not attend"):
        load_backend(DEMO_MODEL, backend="onnxruntime", silence=DEMO_MODEL / "silence.npz")


def test_encoder_that_no_file_of_onnx_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_encoder, "MAX_BYTES", 1000)
    with pytest.raises(ModelFormatError, match="take a smaller model"):
        build_encoder(read_weights(DEMO_MODEL), 400)


def test_file_is_what_onnx_runtime_reads() -> None:
    scale = tensor("scale", np.array([2.0, -3.0], np.float32))
    order = node("Transpose", ["x"], "turned", perm=(1, 0))
    product = node("Mul", ["turned", "scale"], "y")
    content = model(graph([order, product], [scale], [value("x", (2, 300))], [value("y", (300, 2))]))
    session = ort.InferenceSession(content, providers=[CPU_PROVIDER])
    assert [(each.name, each.shape) for each in session.get_inputs()] == [("x", [2, 300])]
    x = np.arange(600, dtype=np.float32).reshape(2, 300)
    np.testing.assert_array_equal(session.run(["y"], {"x": x})[0], x.T * [2, -3])
