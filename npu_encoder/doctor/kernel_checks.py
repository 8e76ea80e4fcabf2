"""Checks from the hardware up to the device that the kernel offers."""

from __future__ import annotations

import re
from typing import Final

from npu_encoder.doctor.facts import (
    FIRMWARE_DIRECTORY,
    NODE,
    NODE_DIRECTORY,
    XDNA1,
    XDNA2,
    distribution,
    has_node,
    in_container,
    is_loaded,
    kernel_log,
    linux,
    pci_devices,
)
from npu_encoder.doctor.finding import Diagnosis
from npu_encoder.doctor.machine import Machine

IN_TREE: Final = (6, 14)
OUT_OF_TREE: Final = (6, 10)
RESETS_ONE_CONTEXT: Final = (6, 17)
PROTOCOL_7: Final = (7, 0)
IOMMU_OFF: Final = re.compile(r"(?:^|\s)((?:amd_)?iommu=off)\b")
IOMMU_ON: Final = "amd_iommu=on iommu=pt"
GROUP: Final = "render"


def npu_is_missing(machine: Machine) -> Diagnosis | None:
    """Look for an XDNA2 device on the PCI bus."""
    devices = pci_devices(machine)
    if XDNA2 in devices or not devices:
        return None
    if XDNA1 in devices:
        return Diagnosis(
            "xdna1",
            "The NPU of this machine is XDNA1 (Phoenix or Hawk Point), and the kernels are for XDNA2",
            "serve on the CPU, with device: cpu",
        )
    return Diagnosis(
        "no-npu",
        "There is no AMD NPU on the PCI bus (1022:17f0): the processor has none, or the BIOS has disabled it",
        'lspci -nn | grep 1022:17f0    # if it stays empty, enable the NPU ("IPU") in the BIOS',
    )


def iommu_is_off(machine: Machine) -> Diagnosis | None:
    """Look for a kernel command line that turns the IOMMU off, as many recipes for the GPU do."""
    found = IOMMU_OFF.search(machine.read("/proc/cmdline") or "")
    if found is None:
        return None
    return Diagnosis(
        "iommu-off",
        f"The kernel was started with {found[1]}, and the NPU's driver needs the IOMMU: opening the device fails with "
        '"SVA bind device failed, ret -19"',
        _command_to_replace(found[1], distribution(machine)[0]),
    )


def _command_to_replace(argument: str, name: str) -> str:
    if name in {"debian", "ubuntu"}:
        return f"sudo sed -i 's/{argument}/{IOMMU_ON}/' /etc/default/grub && sudo update-grub && sudo reboot"
    if name == "fedora":
        return f'sudo grubby --update-kernel=ALL --remove-args={argument} --args="{IOMMU_ON}" && sudo reboot'
    return f"replace {argument} by {IOMMU_ON} in the kernel's command line, and reboot"


def kernel_is_too_old(machine: Machine) -> Diagnosis | None:
    """Compare the kernel with the first one that has the driver, unless the driver is loaded."""
    version = linux(machine)
    if is_loaded(machine) or version in {(0, 0)} or version >= IN_TREE:
        return None
    release = f"Linux {version[0]}.{version[1]}"
    name, _ = distribution(machine)
    newer = {
        "debian": "sudo apt install -t trixie-backports linux-image-amd64 && sudo reboot",
        "ubuntu": "sudo apt install linux-generic-hwe-24.04 && sudo reboot",
    }
    return Diagnosis(
        "old-kernel",
        f"{release} does not bring the NPU's driver amdxdna: it is part of Linux since 6.14, and can be built for 6.10",
        newer.get(name, "install Linux 6.14 or later, best 7.0, and reboot"),
    )


def module_is_rejected(machine: Machine) -> Diagnosis | None:
    """Look for a driver that Secure Boot does not let in."""
    if is_loaded(machine) or not re.search(
        r"amdxdna.*(key was rejected|module verification failed|unsigned module)|"
        r"Loading of (?:unsigned )?module.*rejected",
        kernel_log(machine),
        re.IGNORECASE,
    ):
        return None
    return Diagnosis(
        "secure-boot",
        "Secure Boot rejects the driver amdxdna, which was built on this machine and is not signed",
        "sudo mokutil --import /var/lib/shim-signed/mok/MOK.der && sudo reboot    # on Linux 7.0 rather: sudo apt "
        "remove amdxdna-dkms && sudo reboot",
    )


def module_is_missing(machine: Machine) -> Diagnosis | None:
    """Look for the driver, on a kernel that should have it."""
    if is_loaded(machine):
        return None
    return Diagnosis("no-module", "The kernel's driver amdxdna is not loaded", "sudo modprobe amdxdna && dmesg | tail")


def firmware_is_missing(machine: Machine) -> Diagnosis | None:
    """Look for a driver that did not find its firmware."""
    found = re.search(r"firmware[^\n]*amdnpu/\S*[^\n]*(?:failed|error -2|not found)", kernel_log(machine))
    is_there = machine.names(FIRMWARE_DIRECTORY) or in_container(machine) or not is_loaded(machine)
    if has_node(machine) or (found is None and is_there):
        return None
    package = {"debian": "firmware-amd-graphics", "ubuntu": "linux-firmware"}.get(distribution(machine)[0])
    return Diagnosis(
        "no-firmware",
        f"The driver amdxdna has no firmware for this NPU in {FIRMWARE_DIRECTORY}",
        f"sudo apt install {package} && sudo reboot" if package else "install linux-firmware of 2026 and reboot",
    )


def firmware_does_not_fit(machine: Machine) -> Diagnosis | None:
    """Look for firmware that speaks another protocol than the driver."""
    found = re.search(r"Incompatible firmware protocol (?:version )?major (\d+)", kernel_log(machine))
    if has_node(machine) or found is None:
        return None
    major, minor = linux(machine)
    return Diagnosis(
        "firmware-pair",
        f"The NPU's firmware speaks protocol {found[1]}, and the driver of Linux {major}.{minor} does not: firmware "
        "1.1 needs Linux 7.0 or the package amdxdna-dkms, an older driver needs firmware 1.0",
        "sudo apt install amdxdna-dkms && sudo reboot    # or Linux 7.0, or the firmware of your distribution again"
        if (major, minor) < PROTOCOL_7
        else "install the firmware of your distribution again (linux-firmware), and reboot",
    )


def hardware_does_not_start(machine: Machine) -> Diagnosis | None:
    """Look for an NPU whose power controller or firmware does not answer."""
    if has_node(machine) or not re.search(
        r"aie2_hw_start: (?:failed to init smu|firmware is not alive)|Hardware init failed", kernel_log(machine)
    ):
        return None
    return Diagnosis(
        "no-start",
        "The NPU did not start: its power controller or firmware did not answer",
        "switch the machine off, wait ten seconds, switch it on; if that does not help, update the BIOS",
    )


def memory_is_not_shared(machine: Machine) -> Diagnosis | None:
    """Look for an IOMMU that does not let the device use a process' memory."""
    found = re.search(r"SVA bind device failed, ret (-\d+)", kernel_log(machine))
    if found is None:
        return None
    if found[1] == "-95":
        return Diagnosis(
            "sva-unsupported",
            "This kernel does not let the NPU share a process' memory (SVA bind device failed, ret -95): some builds "
            "of 6.17 have SVA disabled; an NPU in passthrough mode of the IOMMU is said to be another cause",
            "boot another kernel, best 7.0; docs/npu.md has what is known",
        )
    return Diagnosis(
        "sva-fails",
        f"The NPU cannot share a process' memory (SVA bind device failed, ret {found[1]}): the IOMMU is off",
        'enable IOMMU ("AMD-Vi") in the BIOS, start Linux with amd_iommu=on iommu=pt, and reboot',
    )


def container_lacks_device(machine: Machine) -> Diagnosis | None:
    """Look for the device inside a container."""
    if has_node(machine) or not in_container(machine):
        return None
    return Diagnosis(
        "container-device",
        f"This container was not given {NODE}",
        f"docker run --device {NODE} --group-add $(stat -c %g {NODE}) --ulimit memlock=-1 --cap-add IPC_LOCK ...",
    )


def node_is_missing(machine: Machine) -> Diagnosis | None:
    """Look for the device."""
    if has_node(machine):
        return None
    return Diagnosis("no-node", f"There is no device in {NODE_DIRECTORY}", "sudo dmesg | grep -i amdxdna")


def node_is_not_allowed(machine: Machine) -> Diagnosis | None:
    """Look at this user's rights on the device."""
    if not has_node(machine) or machine.may_use(NODE):
        return None
    user = (machine.run("id -un") or "").strip()
    cause = f"The user {user or 'of this process'} may not open {NODE}"
    if in_container(machine):
        return Diagnosis("container-rights", cause, f"docker run --group-add $(stat -c %g {NODE}) ... # its group")
    members = (machine.run(f"getent group {GROUP}") or "").strip().rpartition(":")[2].split(",")
    if user and user in members:
        return Diagnosis(
            "stale-login",
            f"{cause}: this session began before {user} became a member of {GROUP}",
            "log out and in again",
        )
    return Diagnosis("rights", cause, f"sudo usermod -aG {GROUP} {user or '$USER'}    # then log out and in again")


def faults_of_pages(machine: Machine) -> Diagnosis | None:
    """Look for page faults of the device, which make runs a thousand times as slow on some kernels."""
    if not re.search(r"amdxdna.*IO_PAGE_FAULT", kernel_log(machine)):
        return None
    return Diagnosis(
        "page-faults",
        "The IOMMU reports page faults of the NPU: on one kernel they turned runs of 7 ms into 10 s",
        "boot another kernel, best 7.0 of your distribution",
        is_fatal=False,
    )


def hang_resets_all(machine: Machine) -> Diagnosis | None:
    """Look for a kernel whose driver resets the contexts of all programs when one hangs."""
    if linux(machine) >= RESETS_ONE_CONTEXT or not is_loaded(machine):
        return None
    return Diagnosis(
        "resets-all",
        "Before Linux 6.17 a run that hangs resets the contexts of all programs that use the NPU",
        "install Linux 6.17 or later",
        is_fatal=False,
    )


def log_is_not_readable(machine: Machine) -> Diagnosis | None:
    """Find out whether the checks could read what the kernel says."""
    if "amdxdna" in kernel_log(machine) or not is_loaded(machine):
        return None
    return Diagnosis(
        "no-log",
        "This user may not read the kernel's log, or the driver's lines are gone from it",
        "sudo amanuensis doctor --kernels DIR    # if the NPU does not work",
        is_fatal=False,
    )
