"""All checks of a machine, in the order in which one thing that is wrong causes another."""

from __future__ import annotations

from typing import Final

from npu_encoder.doctor import kernel_checks, sharing_checks, xrt_checks
from npu_encoder.doctor.finding import Check, Diagnosis
from npu_encoder.doctor.machine import Machine

CHECKS: Final[tuple[Check, ...]] = (
    kernel_checks.npu_is_missing,
    kernel_checks.iommu_is_off,
    kernel_checks.kernel_is_too_old,
    kernel_checks.module_is_rejected,
    kernel_checks.module_is_missing,
    kernel_checks.firmware_does_not_fit,
    kernel_checks.container_lacks_device,
    kernel_checks.firmware_is_missing,
    kernel_checks.hardware_does_not_start,
    kernel_checks.node_is_missing,
    kernel_checks.memory_is_not_shared,
    kernel_checks.node_is_not_allowed,
    xrt_checks.package_is_the_tracer,
    xrt_checks.xrt_is_missing,
    xrt_checks.plugin_is_missing,
    xrt_checks.binding_is_not_found,
    sharing_checks.memory_cannot_be_locked,
    sharing_checks.contexts_are_taken,
    kernel_checks.faults_of_pages,
    sharing_checks.power_is_saved,
    kernel_checks.hang_resets_all,
    kernel_checks.log_is_not_readable,
)


def diagnose(machine: Machine) -> list[Diagnosis]:
    """Return everything that is wrong with a machine: the first cause first, what is only good to know last."""
    found = [diagnosis for check in CHECKS if (diagnosis := check(machine)) is not None]
    return sorted(found, key=lambda diagnosis: not diagnosis.is_fatal)
