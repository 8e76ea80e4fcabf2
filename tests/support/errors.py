"""Every error that a client may meet."""

from deployments.shared import errors
from deployments.shared.errors import AmanuensisError


def all_errors() -> list[type[AmanuensisError]]:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    return [cls for cls in classes if issubclass(cls, AmanuensisError)]
