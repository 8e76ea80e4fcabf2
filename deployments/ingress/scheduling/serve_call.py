"""One call of a Serve deployment; Ray's exceptions become ours here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import TypeVar

import grpc
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.ingress.cancellation import is_cancelled
from deployments.shared.contracts import Ticket
from deployments.shared.errors import REPLICA_LOST, AmanuensisError, InternalError, StageLostError

TRANSPORT_ERRORS = (RayError, RayServeException, grpc.RpcError, RuntimeError, asyncio.CancelledError)
"""What is raised where a call or its answer got lost. Serve's gRPC transport passes most errors of a connection on as
they are, or as a bare RuntimeError; what a stage itself raises comes as ``RayTaskError``. A channel that is closed
under a call raises ``CancelledError``, which means a loss only where the caller is not being cancelled itself."""

logger = logging.getLogger("ray.serve")

Result = TypeVar("Result")


async def call_stage(method: DeploymentHandle, result_type: type[Result], *arguments: object) -> Result:
    """Call a method of a deployment and return its result.

    Raises:
        StageLostError: the call or its answer got lost.
        InternalError: the stage raised what nobody foresaw, or returned something else.
        AmanuensisError: what the stage raised.
    """
    return await _result(method.remote(*arguments), result_type, arguments)


async def call_stage_until_cancelled(method: DeploymentHandle, result_type: type[Result], *arguments: object) -> Result:
    """Do as ``call_stage`` does; where the caller is cancelled, end the call in the stage too."""
    response = method.remote(*arguments)
    try:
        return await _result(response, result_type, arguments)
    except asyncio.CancelledError:
        response.cancel()
        raise


async def _result(response: Awaitable[object], result_type: type[Result], arguments: tuple[object, ...]) -> Result:
    try:
        result = await response
    except AmanuensisError:
        raise
    except RayTaskError as error:
        raise _cause(error, _caller(arguments)) from error
    except TRANSPORT_ERRORS as error:
        if is_cancelled():
            raise
        logger.warning("%s: a stage call was lost: %s", _caller(arguments), type(error).__name__)
        raise StageLostError(REPLICA_LOST, retry_after_s=1) from error
    if not isinstance(result, result_type):
        raise InternalError("A stage gave an unexpected answer")
    return result


def _caller(arguments: tuple[object, ...]) -> str:
    """Return who asked, for the log."""
    return next((f"request {item.request_id}" for item in arguments if isinstance(item, Ticket)), "the health probe")


def _cause(error: RayTaskError, caller: str) -> AmanuensisError:
    cause = error.cause
    if isinstance(cause, AmanuensisError):
        return cause
    logger.error("%s: a stage raised an unexpected error", caller, exc_info=error)
    return InternalError("An internal error occurred; the log has it under this request's id")
