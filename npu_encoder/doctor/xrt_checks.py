"""Checks of XRT, its plugin for the NPU, and its Python binding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from npu_encoder.doctor.facts import distribution, has_node, installed_version
from npu_encoder.doctor.finding import Diagnosis
from npu_encoder.doctor.machine import Machine

LIBRARY_DIRECTORIES: Final = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/opt/xilinx/xrt/lib")
PLUGIN: Final = "libxrt_driver_xdna.so"
XRT: Final = "libxrt_coreutil.so"

BINDING: Final = re.compile(r"pyxrt(?:\.cpython-(\d)(\d+)-[\w-]+)?\.so")
BINDING_DIRECTORIES: Final = (
    "/usr/lib/python3/dist-packages",
    "/opt/xilinx/xrt/python",
    *(f"/usr/{lib}/python3.{minor}/site-packages" for lib in ("lib64", "lib") for minor in range(11, 16)),
)
TRACER_BEFORE: Final = 2
"""The binding's versions begin with 2; the X-ray tracer of the same package name is at 1."""

PACKAGES: Final = {
    "debian": "sudo apt install -t trixie-backports libxrt-npu2 libxrt-utils-npu python3-xrt",
    "ubuntu": "sudo apt install libxrt-npu2 libxrt-utils-npu python3-xrt    # before 26.04 from the PPA of docs/npu.md",
    "fedora": "see docs/npu.md: Fedora's packages",
    "arch": "sudo pacman -S xrt xrt-plugin-amdxdna",
}


def package_is_the_tracer(machine: Machine) -> Diagnosis | None:
    """Look for the X-ray tracer that Debian calls python3-xrt as well."""
    version = installed_version(machine, "python3-xrt")
    if version is None or int(re.sub(r"^\d+:", "", version).partition(".")[0]) >= TRACER_BEFORE:
        return None
    return Diagnosis(
        "x-ray-tracer",
        f"The package python3-xrt {version} is an X-ray tracer, not the binding of the NPU's driver, which has the "
        "same name in trixie-backports",
        "sudo apt remove python3-xrt && sudo apt install -t trixie-backports libxrt-npu2 python3-xrt",
    )


def xrt_is_missing(machine: Machine) -> Diagnosis | None:
    """Look for XRT's libraries."""
    if _libraries(machine, XRT):
        return None
    return Diagnosis("no-xrt", "XRT, the NPU's runtime, is not installed", _packages(machine))


def plugin_is_missing(machine: Machine) -> Diagnosis | None:
    """Look for XRT's plugin for the NPU, without which it sees no device."""
    if _libraries(machine, PLUGIN):
        return None
    visible = ": the device is visible, and XRT says \"No such device with index '0'\"" if has_node(machine) else ""
    return Diagnosis("no-plugin", f"XRT's plugin for the NPU ({PLUGIN}) is not installed{visible}", _packages(machine))


def binding_is_not_found(machine: Machine) -> Diagnosis | None:
    """Look for pyxrt where this Python looks for modules, and elsewhere."""
    python = machine.interpreter
    found = [*_bindings(machine, python.path)]
    if any(version in {python.version, None} for _, version in found):
        return None
    elsewhere = [*found, *_bindings(machine, BINDING_DIRECTORIES)]
    fitting = [path for path, version in elsewhere if version in {python.version, None}]
    if fitting:
        target = f"{python.prefix}/lib/python{python.name}/site-packages/"
        return Diagnosis(
            "binding-out-of-sight",
            f"pyxrt is in {fitting[0]}, where this Python ({python.prefix}) does not look",
            f"ln -s {fitting[0]} {target}",
        )
    for path, version in elsewhere:
        if version is not None:
            return _other_python(machine, path, f"{version[0]}.{version[1]}")
    return Diagnosis("no-binding", "The Python binding of XRT (pyxrt) is not installed", _packages(machine))


def _other_python(machine: Machine, path: str, version: str) -> Diagnosis:
    python = machine.interpreter
    step = f"make the service's environment with Python {version}: uv venv --python /usr/bin/python{version}"
    if version == "3.14":
        step = (
            f'build XRT\'s binding for Python {python.name} (docs/npu.md, "Python 3.14"); this service does not run on '
            "Python 3.14 yet"
        )
    return Diagnosis("other-python", f"{path} is built for Python {version}, and this is Python {python.name}", step)


def _libraries(machine: Machine, name: str) -> list[str]:
    return [f"{directory}/{each}" for directory in LIBRARY_DIRECTORIES for each in machine.names(directory, name)]


def _bindings(machine: Machine, directories: tuple[str, ...]) -> Iterator[tuple[str, tuple[int, int] | None]]:
    """Yield path and Python version of each pyxrt; the version is None where its name does not tell."""
    for directory in directories:
        for name in machine.names(directory, "pyxrt"):
            if found := BINDING.fullmatch(name):
                yield f"{directory}/{name}", (int(found[1]), int(found[2])) if found[1] else None


def _packages(machine: Machine) -> str:
    return PACKAGES.get(distribution(machine)[0], "install the packages that docs/npu.md names for your distribution")
