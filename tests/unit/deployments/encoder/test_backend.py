"""Which backend of the encoder the settings choose."""

from __future__ import annotations

import pytest

from deployments.encoder.backend import load_encoder
from deployments.shared.model.description import load_model
from deployments.shared.settings import Settings
from npu_encoder.errors import ProviderError
from tests.support.paths import DEMO_MODEL


@pytest.mark.parametrize(
    ("arguments", "device"),
    [
        ({"encoder_precision": "f32"}, "cpu:openvino-f32"),
        ({"encoder_backend": "ctranslate2", "encoder_precision": "float32"}, "cpu:ctranslate2-float32"),
        ({"encoder_backend": "onnxruntime"}, "cpu:onnxruntime-f32"),
    ],
)
def test_device_of_the_backend(arguments: dict[str, str], device: str) -> None:
    settings = Settings.resolve({"whisper_model": str(DEMO_MODEL), **arguments})
    backend = load_encoder(settings, load_model(settings))
    assert backend.device == device
    backend.close()


def test_provider_that_is_not_installed_stops_the_start() -> None:
    arguments = {"encoder_backend": "onnxruntime", "onnx_provider": "VitisAIExecutionProvider"}
    settings = Settings.resolve({"whisper_model": str(DEMO_MODEL), **arguments})
    with pytest.raises(ProviderError, match="has no VitisAIExecutionProvider"):
        load_encoder(settings, load_model(settings))
