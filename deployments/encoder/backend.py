"""The encoder backend that the settings ask for."""

from __future__ import annotations

from deployments.shared.model.description import Model
from deployments.shared.settings import Settings
from npu_encoder.backend import EncoderBackend
from npu_encoder.failover import FailoverBackend
from npu_encoder.loading import NpuOptions, load_backend


def load_encoder(settings: Settings, model: Model) -> EncoderBackend:
    """Open the device and load the model's encoder onto it.

    Raises:
        EncoderError: the device cannot be used as configured; the message says what to do.
    """
    if settings.device == "cpu":
        return _on_cpu(settings, model)
    if settings.on_device_failure == "cpu":
        return FailoverBackend(lambda: _on_npu(settings, model), _on_cpu(settings, model))
    return _on_npu(settings, model)


def _on_cpu(settings: Settings, model: Model) -> EncoderBackend:
    return load_backend(
        model.path,
        backend=settings.encoder_backend,
        precision=settings.encoder_precision,
        threads=settings.encoder_threads,
        ctranslate2_device=settings.ctranslate2_device,
        onnx_provider=settings.onnx_provider,
        silence=model.silence,
    )


def _on_npu(settings: Settings, model: Model) -> EncoderBackend:
    options = NpuOptions(
        settings.npu_kernels, settings.npu_contexts, simulator=settings.npu_simulator, scenario=settings.npu_scenario
    )
    return load_backend(model.path, backend="xrt", precision=settings.npu_precision, npu=options, silence=model.silence)
