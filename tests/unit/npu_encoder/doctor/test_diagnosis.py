"""The first diagnosis of machines that were written down, and the command that it names."""

from __future__ import annotations

import pytest

from npu_encoder.doctor.diagnosis import CHECKS, diagnose
from npu_encoder.doctor.recording import RecordedMachine
from tests.support.paths import RECORDED_MACHINES

FIRST = {
    "arch-next-kernel-page-faults": ("page-faults", "another kernel"),
    "arch-virtual-environment": (
        "binding-out-of-sight",
        "ln -s /usr/lib/python3.13/site-packages/pyxrt.cpython-313-x86_64-linux-gnu.so "
        "/opt/amanuensis/.venv/lib/python3.13/site-packages/",
    ),
    "bios-iommu-off": ("sva-fails", "BIOS"),
    "debian-13-no-binding": ("no-binding", "apt install -t trixie-backports"),
    "debian-13-stock-kernel": ("old-kernel", "apt install -t trixie-backports linux-image-amd64"),
    "debian-13-x-ray-tracer": ("x-ray-tracer", "apt remove python3-xrt"),
    "docker-no-device": ("container-device", "--device /dev/accel/accel0"),
    "fedora-43-iommu-off": ("iommu-off", "grubby --update-kernel=ALL --remove-args=iommu=off"),
    "fedora-43-module-not-loaded": ("no-module", "modprobe amdxdna"),
    "kubernetes-no-rights": ("container-rights", "--group-add"),
    "phoenix-laptop": ("xdna1", "device: cpu"),
    "podman-memlock": ("container-memlock", "--cap-add IPC_LOCK"),
    "server-without-npu": ("no-npu", "lspci"),
    "ubuntu-24.04-firmware-1.1-on-6.19": ("firmware-pair", "amdxdna-dkms"),
    "ubuntu-24.04-gpu-recipe-iommu-off": ("iommu-off", "s/amd_iommu=off/amd_iommu=on iommu=pt/"),
    "ubuntu-24.04-opt-xilinx-not-sourced": ("binding-out-of-sight", "ln -s /opt/xilinx/xrt/python/pyxrt.so"),
    "ubuntu-24.04-python-3.11-environment": ("other-python", "--python /usr/bin/python3.12"),
    "ubuntu-24.04-secure-boot": ("secure-boot", "mokutil --import"),
    "ubuntu-24.04-sva-disabled": ("sva-unsupported", "another kernel"),
    "ubuntu-25.10-no-plugin": ("no-plugin", "libxrt-npu2"),
    "ubuntu-26.04-contexts-taken": ("contexts-taken", "ps -o pid,cmd -p 4711"),
    "ubuntu-26.04-memlock": ("memlock", "/etc/security/limits.d/"),
    "ubuntu-26.04-no-xrt": ("no-xrt", "apt install libxrt-npu2"),
    "ubuntu-26.04-not-in-render": ("rights", "usermod -aG render speech"),
    "ubuntu-26.04-power-controller": ("no-start", "switch the machine off"),
    "ubuntu-26.04-python-3.14-binding": ("other-python", "for Python 3.13"),
    "ubuntu-26.04-shared-with-flm": ("contexts-shared", "ps -o pid,cmd"),
    "ubuntu-26.04-stale-login": ("stale-login", "log out"),
}
"""Recorded machine -> the name of the first diagnosis, and a part of what to do next."""

HARMLESS = {"arch-next-kernel-page-faults", "ubuntu-26.04-shared-with-flm"}


def recorded(name: str) -> RecordedMachine:
    return RecordedMachine((RECORDED_MACHINES / f"{name}.txt").read_text(encoding="utf-8"))


def test_every_recorded_machine_has_an_expectation() -> None:
    names = {path.stem for path in RECORDED_MACHINES.glob("*.txt")}
    assert names == {*FIRST, "ubuntu-26.04-ready"}


@pytest.mark.parametrize("name", FIRST)
def test_the_first_cause_is_told_first_with_the_next_command(name: str) -> None:
    cause, command = FIRST[name]
    first = diagnose(recorded(name))[0]
    assert first.name == cause
    assert command in first.next_step
    assert first.is_fatal is (name not in HARMLESS)
    assert str(first).endswith(f"Next: {first.next_step}")


def test_nothing_is_wrong_with_a_machine_that_is_ready() -> None:
    assert diagnose(recorded("ubuntu-26.04-ready")) == []


def test_what_is_only_good_to_know_comes_last() -> None:
    names = [found.name for found in diagnose(recorded("ubuntu-26.04-shared-with-flm"))]
    assert names == ["contexts-shared", "power-mode"]
    assert not any(found.is_fatal for found in diagnose(recorded("ubuntu-26.04-shared-with-flm")))


def test_every_check_has_found_something_on_some_machine() -> None:
    silent = {check.__name__ for check in CHECKS}
    for path in RECORDED_MACHINES.glob("*.txt"):
        machine = RecordedMachine(path.read_text(encoding="utf-8"))
        silent -= {check.__name__ for check in CHECKS if check(machine) is not None}
    assert silent == {"firmware_is_missing", "hang_resets_all"}


def changed(name: str, **sections: str) -> RecordedMachine:
    """A recorded machine with other content below some headings; later sections win."""
    record = (RECORDED_MACHINES / f"{name}.txt").read_text(encoding="utf-8")
    headings = {"release": "file /proc/sys/kernel/osrelease", "log": "command dmesg", "node": "names /dev/accel"}
    return RecordedMachine(record + "".join(f"=== {headings[key]}\n{text}\n" for key, text in sections.items()))


def test_firmware_that_the_driver_did_not_find() -> None:
    log = "amdxdna 0000:c6:00.1: Direct firmware load for amdnpu/17f0_11/npu_7.sbin failed with error -2"
    first = diagnose(changed("ubuntu-26.04-ready", node="", log=log))[0]
    assert first.name == "no-firmware"
    assert "apt install linux-firmware" in first.next_step


def test_kernel_that_resets_all_contexts_is_noted() -> None:
    (found,) = diagnose(changed("ubuntu-26.04-ready", release="6.14.0-37-generic"))
    assert (found.name, found.is_fatal) == ("resets-all", False)


def test_old_driver_needs_old_firmware_and_the_reverse() -> None:
    log = "amdxdna: [drm] *ERROR* aie2_check_protocol: Incompatible firmware protocol major 5 minor 8"
    first = diagnose(changed("ubuntu-26.04-ready", node="", log=log))[0]
    assert first.name == "firmware-pair"
    assert "protocol 5" in first.cause
    assert "linux-firmware" in first.next_step
