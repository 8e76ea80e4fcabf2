"""What the checks ask of a machine more than once."""

from __future__ import annotations

import re
from typing import Final

from npu_encoder.doctor.machine import Machine

NODE_DIRECTORY: Final = "/dev/accel"
NODE: Final = f"{NODE_DIRECTORY}/accel0"
FIRMWARE_DIRECTORY: Final = "/lib/firmware/amdnpu/17f0_11"
CONTAINER_MARKS: Final = ("/.dockerenv", "/run/.containerenv")
KERNEL_LOGS: Final = ("dmesg", "journalctl --dmesg --boot --no-pager --quiet")

XDNA2, XDNA1 = "102217f0", "10221502"
"""Vendor and device of PCI: Strix, Strix Halo and Krackan are the first, Phoenix and Hawk Point the second."""


def linux(machine: Machine) -> tuple[int, int]:
    """Return major and minor of the kernel's release; (0, 0) if it cannot be read."""
    found = re.match(r"(\d+)\.(\d+)", machine.read("/proc/sys/kernel/osrelease") or "")
    return (int(found[1]), int(found[2])) if found else (0, 0)


def distribution(machine: Machine) -> tuple[str, str]:
    """Return ID and VERSION_ID of the distribution: ``("ubuntu", "26.04")``; empty where they are not given."""
    fields = dict(
        line.split("=", 1) for line in (machine.read("/etc/os-release") or "").splitlines() if line.count("=") == 1
    )
    return fields.get("ID", "").strip('"'), fields.get("VERSION_ID", "").strip('"')


def pci_devices(machine: Machine) -> set[str]:
    """Return vendor and device of all PCI devices, as eight hexadecimal digits each."""
    lines = (machine.read("/proc/bus/pci/devices") or "").splitlines()
    return {fields[1] for line in lines if len(fields := line.split()) > 1}


def kernel_log(machine: Machine) -> str:
    """Return what the kernel has said since it started; empty if this user may not read it."""
    return "\n".join(machine.run(command) or "" for command in KERNEL_LOGS)


def is_loaded(machine: Machine) -> bool:
    """Return whether the kernel's driver of the NPU is loaded."""
    return bool(machine.names("/sys/module/amdxdna"))


def has_node(machine: Machine) -> bool:
    """Return whether there is a device to open."""
    return bool(machine.names(NODE_DIRECTORY))


def in_container(machine: Machine) -> bool:
    """Return whether this process runs in a container of Docker or Podman, or in a pod."""
    if any(machine.read(mark) is not None for mark in CONTAINER_MARKS):
        return True
    return "kubepods" in (machine.read("/proc/1/cgroup") or "")


def installed_version(machine: Machine, package: str) -> str | None:
    """Return the version of a Debian package; None if it is not installed, or this is no Debian."""
    for line in (machine.run(f"dpkg -l {package}") or "").splitlines():
        state, name, version, *_ = [*line.split(maxsplit=3), "", "", ""]
        if state == "ii" and name.partition(":")[0] == package:
            return version
    return None
