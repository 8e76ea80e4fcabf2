"""The device's reading of a run's arguments. Their order is mlir-aie's: ``kernel(3, instructions, words, a, b, c)``.

A compiled kernel says that it takes eight arguments, of which the last two stay unset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from npu_encoder.simulator.buffers import POISON, Buffer
from npu_encoder.simulator.enums import CommandState
from npu_encoder.simulator.kernels import KernelShape, SimulatedXclbin

OPCODE, INSTRUCTIONS, WORDS, A, B, C = range(6)
N_ARGUMENTS = 8
SCALAR_ARGUMENTS = (OPCODE, WORDS)
BUFFER_ARGUMENTS = (INSTRUCTIONS, A, B, C, 6, 7)
RUN_INSTRUCTIONS = 3  # the opcode

Arguments = dict[int, "int | Buffer"]


@dataclass(frozen=True, slots=True)
class Gemm:
    """A run that makes sense: ``c = a @ b``."""

    shape: KernelShape
    a: Buffer
    b: Buffer
    c: Buffer


@dataclass(frozen=True, slots=True)
class Nonsense:
    """A run that makes no sense.

    Attributes:
        reason: a sentence that says why.
        state: the state in which the run ends. The device never says why, and may claim to have completed it.
    """

    reason: str
    state: CommandState = CommandState.ERT_CMD_STATE_ERROR


def interpret(arguments: Arguments, xclbin: SimulatedXclbin) -> Gemm | Nonsense:
    """Read the arguments as they are at the start of a run."""
    if arguments.get(OPCODE) != RUN_INSTRUCTIONS:
        return Nonsense(f"The opcode is {arguments.get(OPCODE)}, not {RUN_INSTRUCTIONS}")
    shape = _shape(arguments, xclbin)
    return shape if isinstance(shape, Nonsense) else _gemm(arguments, shape)


def _shape(arguments: Arguments, xclbin: SimulatedXclbin) -> KernelShape | Nonsense:
    buffer, words = arguments.get(INSTRUCTIONS), arguments.get(WORDS)
    if not isinstance(buffer, Buffer) or not isinstance(words, int) or words <= 0:
        return Nonsense("There are no instructions", CommandState.ERT_CMD_STATE_COMPLETED)
    if 4 * words > buffer.size:
        return Nonsense(f"The buffer of {buffer.size} bytes cannot hold {words} instructions")
    shape = xclbin.shapes.get(buffer.device_digest(4 * words))
    if shape is not None:
        return shape
    content = buffer.device[: 4 * words].view(np.uint32)
    if ((content == 0) | (content == POISON)).all():
        return Nonsense("The instructions never reached the device", CommandState.ERT_CMD_STATE_COMPLETED)
    return Nonsense("The instructions are not those of a kernel of this xclbin")


def _gemm(arguments: Arguments, shape: KernelShape) -> Gemm | Nonsense:
    operands = [arguments.get(index) for index in (A, B, C)]
    for name, operand, size in zip("ABC", operands, shape.operand_bytes, strict=True):
        if not isinstance(operand, Buffer):
            return Nonsense(f"The buffer {name} is not set")
        if operand.size < size:
            return Nonsense(f"The buffer {name} has {operand.size} bytes, the kernel needs {size}")
    a, b, c = (operand for operand in operands if isinstance(operand, Buffer))
    return Gemm(shape, a, b, c)
