"""CTranslate2's binary model file, version 6: named tensors, possibly quantised.

Layout, little-endian, as written by ``ctranslate2.specs.model_spec.ModelSpec``::

    u32 version, string spec, u32 revision
    u32 n_variables, n_variables x (string name, u8 rank, u32 x rank shape, u8 dtype, u32 n_bytes, data)
    u32 n_aliases,   n_aliases   x (string alias, string name)

A string is a u16 length, which counts its closing NUL, and the characters.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from npu_encoder.bfloat16 import from_bfloat16
from npu_encoder.errors import ModelFormatError

BINARY_VERSION = 6
WHISPER_SPEC = "WhisperSpec"
WHISPER_REVISION = 3

BFLOAT16 = 5
STORED_DTYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2", BFLOAT16: "<u2"}
"""The dtype that each number in the file names; bfloat16 is read as bare bits."""


@dataclass(frozen=True, slots=True)
class _Variable:
    """A tensor as it is stored: where its data begins in the file, and how to read it."""

    shape: tuple[int, ...]
    dtype_id: int
    offset: int

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(STORED_DTYPES[self.dtype_id])

    @property
    def is_integer(self) -> bool:
        return self.dtype.kind == "i"


class ModelFile:
    """The tensors of a Whisper model file, by name; data is read only when asked for.

    Use as a context manager. Opening walks the headers and leaves the data untouched.

    Raises:
        ModelFormatError: if the file is missing, truncated, or no Whisper model in this format.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map = _map_file(path)
        try:
            self._variables, self._aliases = self._read_headers()
        except BaseException:
            self._map.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._map.close()

    def __contains__(self, name: str) -> bool:
        return self._aliases.get(name, name) in self._variables

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the tensor ``name``."""
        return self._variable(name).shape

    def integer(self, name: str) -> int:
        """Return the value of the integer scalar ``name``."""
        variable = self._variable(name)
        if variable.shape or not variable.is_integer:
            raise self._damaged(f"{name} should be an integer scalar")
        return int(self._stored(variable).item())

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Return a float32 copy of the tensor ``name``, dequantised.

        CTranslate2 stores ``q = round(w * scale)`` with one scale per output row (int8) or one for the whole tensor
        (int16), so ``w = q / scale``.
        """
        name = self._aliases.get(name, name)
        variable = self._variable(name)
        if not variable.is_integer:
            return self._floats(variable)
        scale = self._floats(self._variable(f"{name}_scale"))
        if scale.size not in {1, variable.shape[0]}:
            raise self._damaged(f"{scale.size} scales do not fit {name} {variable.shape}")
        per_row = scale.reshape(-1, *[1] * (len(variable.shape) - 1))
        return self._stored(variable).astype(np.float32) / per_row

    def _variable(self, name: str) -> _Variable:
        variable = self._variables.get(self._aliases.get(name, name))
        if variable is None:
            raise self._damaged(f"{name} is missing")
        return variable

    def _stored(self, variable: _Variable) -> NDArray[Any]:
        count = math.prod(variable.shape)
        flat = np.frombuffer(self._map, variable.dtype, count, variable.offset)
        return flat.reshape(variable.shape)

    def _floats(self, variable: _Variable) -> NDArray[np.float32]:
        stored = self._stored(variable)
        if variable.dtype_id == BFLOAT16:
            return from_bfloat16(stored)
        return stored.astype(np.float32)

    def _read_headers(self) -> tuple[dict[str, _Variable], dict[str, str]]:
        header = _HeaderReader(self._map)
        try:
            self._check_format(header)
            variables = dict(self._read_variable(header) for _ in range(header.number("I")))
            aliases = {header.string(): header.string() for _ in range(header.number("I"))}
        except struct.error:
            raise ModelFormatError(f"The file {self._path} is truncated: copy or convert the model again") from None
        return variables, aliases

    def _check_format(self, header: _HeaderReader) -> None:
        version = header.number("I")
        if version != BINARY_VERSION:
            raise ModelFormatError(
                f"The file {self._path} is no CTranslate2 model of binary version {BINARY_VERSION} "
                f"(its first number is {version}): convert the model again"
            )
        spec, revision = header.string(), header.number("I")
        if (spec, revision) != (WHISPER_SPEC, WHISPER_REVISION):
            raise ModelFormatError(
                f"The file {self._path} holds {spec!r} revision {revision} instead of {WHISPER_SPEC!r} revision "
                f"{WHISPER_REVISION}: give a Whisper model, or convert this one again"
            )

    def _read_variable(self, header: _HeaderReader) -> tuple[str, _Variable]:
        name = header.string()
        shape = tuple(header.number("I") for _ in range(header.number("B")))
        dtype_id, n_bytes = header.number("B"), header.number("I")
        if dtype_id not in STORED_DTYPES:
            raise self._damaged(f"{name} has the unknown dtype {dtype_id}")
        variable = _Variable(shape, dtype_id, header.position)
        if n_bytes != math.prod(shape) * variable.dtype.itemsize:
            raise self._damaged(f"the size of {name} does not match its shape {shape}")
        header.skip(n_bytes)
        return name, variable

    def _damaged(self, what: str) -> ModelFormatError:
        return ModelFormatError(f"The file {self._path} is damaged, {what}: copy or convert the model again")


class _HeaderReader:
    """The file's numbers and strings, read one after the other; past the end this raises ``struct.error``."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.position = 0

    def number(self, code: str) -> int:
        (value,) = struct.unpack_from(f"<{code}", self._data, self.position)
        self.position += struct.calcsize(code)
        return int(value)

    def string(self) -> str:
        length = self.number("H")
        start = self.position
        self.skip(length)
        return self._data[start : self.position].rstrip(b"\0").decode("utf-8", errors="replace")

    def skip(self, n_bytes: int) -> None:
        self.position += n_bytes
        if self.position > len(self._data):
            raise struct.error


def _map_file(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ModelFormatError(
            f"The file {path} cannot be read ({error.strerror}): check that it is there and readable"
        ) from error
    except ValueError:  # what mmap raises for an empty file
        raise ModelFormatError(f"The file {path} is empty: copy or convert the model again") from None
