"""A running service, seen from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from deployments.commands.errors import CommandError

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 7200.0
"""Seconds until the next bytes of an answer: the longest deadline that a service gives by default."""

SHOWN_CHARACTERS = 200
THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
UNAUTHORIZED = 401
PASSING = frozenset({429, 503})
"""The same request may be answered later: a limit, overload, or a service that starts."""


class ServiceError(CommandError):
    """The service did not do what it was asked.

    Attributes:
        status: HTTP status; None where there was none.
        retry_after_s: after how many seconds to ask again, as the service said.
    """

    def __init__(self, message: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered later."""
        return self.status in PASSING


@dataclass(frozen=True, slots=True)
class Service:
    """Where the service is, and the API key to call it with."""

    url: str
    key: str | None = field(default=None, repr=False)

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        files: Any = None,
    ) -> requests.Response:
        """Return an answer of success, a context, whose body is read as it is asked for.

        Args:
            method: of HTTP.
            path: with its query.
            headers: beside those that every request has.
            data: fields of a form, or a whole body, as ``requests`` takes them.
            files: of a form, as ``requests`` takes them.

        Raises:
            ServiceError: nobody answered, or the answer is a failure.
        """
        try:
            with requests.Session() as session:
                # The proxy that the environment names leads to other machines, not to this one.
                session.trust_env = not _is_here(self.url)
                answer = session.request(
                    method,
                    self.url.rstrip("/") + path,
                    headers=dict(headers or {}),
                    data=data,
                    files=files,
                    auth=_Bearer(self.key.strip()) if self.key else None,
                    timeout=(CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S),
                    stream=True,
                )
            if answer.ok:
                return answer
            with answer:
                raise _refusal(answer)
        except requests.RequestException as error:
            raise self._unanswered(error) from error

    def read(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        files: Any = None,
    ) -> bytes:
        """Return all of the body of an answer, to a request as ``send`` takes it.

        Raises:
            ServiceError: nobody answered, or the answer is a failure, or breaks off.
        """
        with self.send(method, path, headers=headers, data=data, files=files) as answer:
            try:
                return answer.content
            except requests.RequestException as error:
                raise self._unanswered(error) from error

    def lines(self, answer: requests.Response) -> Iterator[bytes]:
        """Yield the lines of an answer, each as soon as it is there.

        Raises:
            ServiceError: the answer breaks off.
        """
        try:
            yield from answer.iter_lines(chunk_size=None)
        except requests.RequestException as error:
            raise self._unanswered(error) from error

    def _unanswered(self, error: requests.RequestException) -> ServiceError:
        """Return what to tell of a request that has no answer."""
        if isinstance(error, ValueError):
            return ServiceError(f"{self.url} is no address of a service: {error}")
        if _has_connected(error):
            return ServiceError(f"The connection to {self.url} broke ({type(error).__name__}); try again")
        return ServiceError(
            f"{self.url} does not answer. Start a service with `amanuensis serve`, or name one with --url."
        )


class _Bearer(AuthBase):
    """Sends the key; as ``auth`` and not as a header, which ``requests`` would replace by what ~/.netrc says."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # Headers are written in Latin-1: so that any key can be sent, the characters are the bytes of UTF-8.
        request.headers["authorization"] = f"Bearer {self._key}".encode().decode("latin-1")
        return request


def _has_connected(error: requests.RequestException) -> bool:
    """Whether the request reached somebody. Where it did not, the error names the ``reason`` of its last attempt."""
    if isinstance(error, requests.ConnectTimeout):
        return False
    return not (isinstance(error, requests.ConnectionError) and hasattr(next(iter(error.args), None), "reason"))


def _refusal(answer: requests.Response) -> ServiceError:
    message = f"{answer.status_code} {_explanation(answer)}"
    if answer.status_code == UNAUTHORIZED:
        message += ". Give your key with --key or in AMANUENSIS_API_KEY."
    return ServiceError(message, answer.status_code, _seconds(answer.headers.get("retry-after")))


def _explanation(answer: requests.Response) -> str:
    """Return OpenAI's code and message, or what a proxy wrote instead."""
    try:
        error = json.loads(answer.content)["error"]
        return f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return answer.content[:SHOWN_CHARACTERS].decode(errors="replace") or answer.reason


def _seconds(retry_after: str | None) -> float | None:
    """Return the header's seconds; None where there is none, or a date, which this service never sends."""
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None


def _is_here(url: str) -> bool:
    """Tell whether a URL leads to this machine."""
    try:
        return urlsplit(url).hostname in THIS_MACHINE
    except ValueError:  # no URL: the request says so
        return False
