"""Checks of what the device shares with other programs: memory that is locked, hardware contexts, power."""

from __future__ import annotations

import re
from typing import Final

from npu_encoder.doctor.facts import has_node, in_container
from npu_encoder.doctor.finding import Diagnosis
from npu_encoder.doctor.machine import Machine

MAX_CONTEXTS: Final = 16
CAP_IPC_LOCK: Final = 14
"""A process with this capability may lock any amount of memory."""

FAST_MODES: Final = ("performance", "turbo")
CONTEXT_ROW: Final = re.compile(r"^\s*\|\s*(\d+)\s*\|", re.MULTILINE)
PARTITIONS: Final = "xrt-smi examine --report aie-partitions"
PLATFORM: Final = "xrt-smi examine --report platform"


def memory_cannot_be_locked(machine: Machine) -> Diagnosis | None:
    """Look at the limit of memory that may be locked for the device."""
    found = re.search(r"^Max locked memory\s+(\d+)", machine.read("/proc/self/limits") or "", re.MULTILINE)
    if found is None or _may_lock_all(machine):
        return None
    cause = (
        f"Only {int(found[1]) // 1024} KiB of memory may be locked: buffers of the NPU fail with "
        '"Resource temporarily unavailable", and the NPU seems to be absent'
    )
    if in_container(machine):
        return Diagnosis("container-memlock", cause, "docker run --ulimit memlock=-1 --cap-add IPC_LOCK ...")
    return Diagnosis(
        "memlock",
        cause,
        "echo '* - memlock unlimited' | sudo tee /etc/security/limits.d/99-xrt-memlock.conf    # then log out and in; "
        "for a systemd unit LimitMEMLOCK=infinity",
    )


def contexts_are_taken(machine: Machine) -> Diagnosis | None:
    """Count the hardware contexts that programs hold."""
    pids = CONTEXT_ROW.findall(machine.run(PARTITIONS) or "")
    if not pids:
        return None
    holders = ", ".join(dict.fromkeys(pids))
    if len(pids) >= MAX_CONTEXTS:
        return Diagnosis(
            "contexts-taken",
            f"All {MAX_CONTEXTS} hardware contexts of the NPU are taken, by the processes {holders}",
            f"ps -o pid,cmd -p {','.join(dict.fromkeys(pids))}    # end those that are not needed",
        )
    return Diagnosis(
        "contexts-shared",
        f"Other programs hold {len(pids)} of the NPU's {MAX_CONTEXTS} hardware contexts (processes {holders}), and "
        "take turns with this service",
        f"ps -o pid,cmd -p {','.join(dict.fromkeys(pids))}",
        is_fatal=False,
    )


def power_is_saved(machine: Machine) -> Diagnosis | None:
    """Look at the power mode."""
    found = re.search(r"Power Mode\s*:\s*(\w+)", machine.run(PLATFORM) or "")
    if not has_node(machine) or found is None or found[1].lower() in FAST_MODES:
        return None
    return Diagnosis(
        "power-mode",
        f"The NPU's power mode is {found[1]}: performance gave AMD's own speech demo 23% on Windows",
        "sudo xrt-smi configure --pmode performance",
        is_fatal=False,
    )


def _may_lock_all(machine: Machine) -> bool:
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", machine.read("/proc/self/status") or "", re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> CAP_IPC_LOCK & 1)
