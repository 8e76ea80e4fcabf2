"""The custom resource by which Ray places the encoders."""

from __future__ import annotations

ENCODER_RESOURCE = "npu"
"""Every encoder's actor takes one. A node offers as many as it may run encoders, also where they compute on the CPU."""
