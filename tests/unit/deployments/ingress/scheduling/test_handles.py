"""What Serve's calls raise becomes what the pipeline understands."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from ray.exceptions import ActorUnavailableError, RayTaskError

from deployments.ingress.scheduling.serve_call import call_stage
from deployments.shared.contracts import EncoderHealth
from deployments.shared.errors import AmanuensisError, DeviceBrokenError, InternalError, StageLostError


class _Method:
    """A handle's method that raises."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def remote(self, *_: object) -> None:
        raise self._error


def rpc_error(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "RST_STREAM")


def outcome(error: BaseException) -> AmanuensisError:
    method: Any = _Method(error)
    with pytest.raises(AmanuensisError) as raised:
        asyncio.run(call_stage(method, EncoderHealth))
    return raised.value


@pytest.mark.parametrize(
    "error",
    [
        rpc_error(grpc.StatusCode.INTERNAL),
        rpc_error(grpc.StatusCode.CANCELLED),
        rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED),
        RuntimeError("Unexpected error (StatusCode.UNKNOWN): None."),
        ActorUnavailableError("gone", b"1" * 16),
        asyncio.CancelledError(),
    ],
    ids=["internal", "cancelled", "exhausted", "unexpected", "unavailable", "channel closed"],
)
def test_an_error_of_the_transport_is_a_lost_replica(error: BaseException) -> None:
    assert type(outcome(error)) is StageLostError


def test_a_call_that_its_caller_gives_up_is_not_lost() -> None:
    class Waiting:
        async def remote(self, *_: object) -> None:
            await asyncio.Event().wait()

    async def scenario() -> None:
        method: Any = Waiting()
        call = asyncio.create_task(call_stage(method, EncoderHealth))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait((call,))
        assert call.cancelled()

    asyncio.run(scenario())


def test_an_error_of_the_stage_is_not() -> None:
    cause = RuntimeError("a defect")
    raised = RayTaskError("encode", "traceback", cause).as_instanceof_cause()
    assert isinstance(raised, RuntimeError), "as Ray raises it"
    assert type(outcome(raised)) is InternalError
    assert type(outcome(DeviceBrokenError("failed"))) is DeviceBrokenError
