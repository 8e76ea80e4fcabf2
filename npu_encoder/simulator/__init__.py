"""A simulation of pyxrt, the Python binding of AMD's XDNA NPUs, for machines without one.

``create_module`` returns what ``import pyxrt`` would; ``SimulatorConfig`` and ``FaultPlan`` say what kind of device
is behind it and what goes wrong. It runs the kernels of ``kernels.write_kernels`` and no others.
"""

from npu_encoder.simulator.clock import RealClock, VirtualClock
from npu_encoder.simulator.config import SimulatorConfig
from npu_encoder.simulator.errors import ProcessCrashError, StrictnessError
from npu_encoder.simulator.faults import FaultPlan
from npu_encoder.simulator.latency import LatencyModel
from npu_encoder.simulator.module import create_module, is_simulated

__all__ = [
    "FaultPlan",
    "LatencyModel",
    "ProcessCrashError",
    "RealClock",
    "SimulatorConfig",
    "StrictnessError",
    "VirtualClock",
    "create_module",
    "is_simulated",
]
