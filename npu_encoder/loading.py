"""Loads the encoder's backend that a name chooses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from npu_encoder.backend import EncoderBackend

BackendName = Literal["openvino", "ctranslate2", "onnxruntime", "xrt"]


@dataclass(frozen=True, slots=True)
class NpuOptions:
    """The options that only the backend ``xrt`` has.

    Attributes:
        kernels: directory of the compiled kernels; None only with the simulator, which then makes its own.
        n_contexts: hardware contexts per xclbin; more than one pays only with a firmware that partitions the device.
        simulator: whether to use the simulator instead of the hardware; the device's name then ends in ``-simulated``.
        scenario: the file that describes the simulated device: see ``npu_encoder/simulator/scenario.py``.
    """

    kernels: Path | None = None
    n_contexts: int = 1
    simulator: bool = False
    scenario: Path | None = None


def load_backend(  # noqa: PLR0913  (the options of all runtimes)
    model_dir: Path,
    *,
    backend: BackendName,
    precision: str = "auto",
    threads: int = 1,
    npu: NpuOptions | None = None,
    ctranslate2_device: Literal["cpu", "cuda"] = "cpu",
    onnx_provider: str = "CPUExecutionProvider",
    silence: Path | None = None,
) -> EncoderBackend:
    """Load the encoder of a CTranslate2 Whisper directory. Only the chosen runtime is imported.

    Args:
        model_dir: the directory that holds ``model.bin``.
        backend: the name of the runtime.
        precision: openvino takes ``auto``, ``bf16`` or ``f32``; ctranslate2 a compute type such as ``int8``;
            onnxruntime ``auto`` or ``f32``; xrt ``auto``, ``int8``, ``bf16`` or ``int8-bf16-fc2``.
        threads: CPU threads that compute; xrt computes in the calling thread.
        npu: the options of xrt.
        ctranslate2_device: what ctranslate2 computes on.
        onnx_provider: the execution provider of onnxruntime.
        silence: the file that stands for the silence behind a window of less than 30 s (``npu_encoder.silence``); None
            if there is none. ctranslate2 cannot use it, its encoder is closed; nor can onnxruntime.

    Raises:
        ModelFormatError: if the directory holds no readable Whisper model, or ``silence`` belongs to another one.
        ValueError: if ``silence`` is given to a runtime that cannot use it.
        ProviderError: if ONNX Runtime does not have ``onnx_provider``, or CTranslate2 ``ctranslate2_device``.
        UnsupportedPrecisionError: if the device cannot compute in ``precision``.
        DriverMissingError: if the NPU's driver is not installed.
        NoKernelError: if a layer fits none of the NPU's kernels.
        DeviceError: if the NPU does not work.
    """
    match backend:
        case "openvino":
            from npu_encoder.cpu.openvino import OpenVinoBackend  # noqa: PLC0415

            return OpenVinoBackend(model_dir, precision=precision, threads=threads, silence=silence)
        case "ctranslate2":
            from npu_encoder.cpu.ctranslate2 import CTranslate2Backend  # noqa: PLC0415

            if silence is not None:
                raise ValueError("CTranslate2's encoder cannot attend to anything but its window")
            return CTranslate2Backend(model_dir, device=ctranslate2_device, compute_type=precision, threads=threads)
        case "onnxruntime":
            from npu_encoder.onnx.backend import OnnxRuntimeBackend  # noqa: PLC0415

            if silence is not None:
                raise ValueError("The ONNX graph of the encoder does not attend to anything but its window")
            return OnnxRuntimeBackend(model_dir, provider=onnx_provider, precision=precision, threads=threads)
        case "xrt":
            from npu_encoder.npu.driver import load_driver  # noqa: PLC0415
            from npu_encoder.npu.xrt import XrtBackend  # noqa: PLC0415

            options = npu or NpuOptions()
            driver = load_driver(simulator=options.simulator, scenario=options.scenario)
            return XrtBackend.open(
                model_dir,
                driver,
                options.kernels,
                precision=precision,
                n_contexts=options.n_contexts,
                silence=silence,
            )
        case unknown:
            assert_never(unknown)
