"""What no well-behaved client sends: half, slow and malformed requests, byte by byte on a real socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fuzz.http_server import MAX_UPLOAD_BYTES, UPLOAD_TIMEOUT_S, Address, serving

FORM = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\nnever decoded\r\n--x--\r\n'
TYPE = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with serving(tmp_path_factory.mktemp("shm")) as address:
        yield address


def field(name: bytes, value: bytes) -> bytes:
    return b'--x\r\ncontent-disposition: form-data; name="' + name + b'"\r\n\r\n' + value + b"\r\n"


def head(path: str = "/v1/audio/transcriptions", method: str = "POST", **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {"host": "x", **headers}.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def posted(body: bytes, content_type: str = TYPE, **headers: str) -> bytes:
    return head(content_type=content_type, content_length=str(len(body)), **headers) + body


def answer(server: Address, *pieces: bytes, pause_s: float = 0.0, close_after: bool = False) -> tuple[int, str, str]:
    """Status, headers and body of the first answer; status 0 if there is none."""
    with socket.create_connection(server, timeout=10) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:  # answered and closed already
                break
            time.sleep(pause_s)
        if close_after:
            connection.shutdown(socket.SHUT_WR)
        return parsed(received(connection))


def received(connection: socket.socket) -> bytes:
    data = b""
    while not is_whole(data):
        try:
            chunk = connection.recv(65_536)
        except ConnectionResetError:
            break
        if not chunk:
            break
        data += chunk
    return data


def is_whole(data: bytes) -> bool:
    headers, end, body = data.partition(b"\r\n\r\n")
    length = [line for line in headers.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and bool(length) and len(body) >= int(length[0].split(b":")[1])


def parsed(data: bytes) -> tuple[int, str, str]:
    headers, _, body = data.decode("latin-1").partition("\r\n\r\n")
    return int(headers.split(" ")[1]) if headers else 0, headers.lower(), body


def error(body: str) -> dict[str, Any]:
    document: dict[str, dict[str, Any]] = json.loads(body)
    assert set(document) == {"error"}
    assert set(document["error"]) == {"message", "type", "param", "code"}
    return document["error"]


def works(server: Address) -> bool:
    return answer(server, posted(FORM))[0] == 200


# Uploads that do not arrive


def test_an_upload_of_one_byte_now_and_then_is_ended(server: Address) -> None:
    start = head(content_type=TYPE, content_length="100000") + FORM[:20]
    status, headers, body = answer(server, start, *[b"x"] * 30, pause_s=UPLOAD_TIMEOUT_S / 10)
    assert status == 408
    assert error(body)["code"] == "upload_timeout"
    assert "connection: close" in headers


def test_after_a_refusal_the_connection_serves_on_although_the_refused_body_came_later(server: Address) -> None:
    with socket.create_connection(server, timeout=10) as connection:
        connection.sendall(head(content_type=TYPE, content_length=str(len(FORM)), x_priority="highest"))
        status, headers, _ = parsed(received(connection))
        assert status == 400
        assert "connection: close" not in headers
        connection.sendall(FORM)
        connection.sendall(posted(FORM))
        assert parsed(received(connection))[0] == 200


@pytest.mark.parametrize("length", [{"content_length": "100000"}, {"transfer_encoding": "chunked"}])
def test_an_upload_that_stops_is_ended_and_gives_its_place_back(server: Address, length: dict[str, str]) -> None:
    status, _, body = answer(server, head(content_type=TYPE, **length))
    assert status == 408
    assert error(body)["code"] == "upload_timeout"
    _, _, statistics = answer(server, head("/stats/pipeline", "GET"))
    assert json.loads(statistics)["queue"]["current_size"] == 0


def test_a_read_with_a_body_that_never_comes_is_answered(server: Address) -> None:
    assert answer(server, head("/health", "GET", content_length="100000"))[0] == 200


def test_a_client_that_leaves_in_the_middle_is_forgotten(server: Address) -> None:
    half = head(content_type=TYPE, content_length="100000") + FORM
    for _ in range(20):
        with socket.create_connection(server, timeout=10) as connection:
            connection.sendall(half)
    assert works(server)
    _, _, statistics = answer(server, head("/stats/pipeline", "GET"))
    assert json.loads(statistics)["queue"]["current_size"] == 0


def test_chunks_without_a_length_are_read_to_their_end(server: Address) -> None:
    chunks = [b"%x\r\n%b\r\n" % (len(FORM[i : i + 7]), FORM[i : i + 7]) for i in range(0, len(FORM), 7)]
    assert answer(server, head(content_type=TYPE, transfer_encoding="chunked"), *chunks, b"0\r\n\r\n")[0] == 200


def test_chunks_larger_than_the_limit_are_refused(server: Address) -> None:
    chunk = b"%x\r\n%b\r\n" % (2**18, bytes(2**18))
    start = head(content_type=TYPE, transfer_encoding="chunked") + b"%x\r\n%b\r\n" % (len(FORM) - 9, FORM[:-9])
    status, _, body = answer(server, start, *[chunk] * (MAX_UPLOAD_BYTES // 2**18 + 1))
    assert status == 413
    assert error(body)["code"] == "payload_too_large"


def test_a_declared_length_above_the_limit_is_refused_at_once(server: Address) -> None:
    status, _, body = answer(server, head(content_type=TYPE, content_length=str(10**15)))
    assert status == 413
    assert error(body)["code"] == "payload_too_large"


def test_more_bytes_than_declared_are_another_request_or_garbage(server: Address) -> None:
    assert answer(server, posted(FORM) + b"garbage\r\n\r\n" * 100)[0] in {200, 400}
    assert works(server)


# Requests that are not HTTP


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # TLS
        b"\0" * 1000,
        b"GET\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"FROBNICATE / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/audio/transcriptions HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/audio/transcriptions HTTP/1.1\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /v1/audio/transcriptions HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"POST /v1/audio/transcriptions HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello",
        head(content_type=TYPE, transfer_encoding="chunked") + b"zz\r\nnot a chunk\r\n",
        b"GET /health HTTP/1.1\r\nx-a: b\r\n c: d\r\nbad header\r\n\r\n",
    ],
)
def test_garbage_is_refused_and_harms_nobody(server: Address, request_bytes: bytes) -> None:
    status, _, _ = answer(server, request_bytes, close_after=True)
    assert status == 0 or 400 <= status < 500
    assert works(server)


def test_garbage_behind_a_request_does_not_spoil_its_answer(server: Address) -> None:
    assert answer(server, head("/health/live", "GET") + b"\0\xff garbage\r\n\r\n")[0] in {200, 400}
    assert works(server)


# Headers and forms


@pytest.mark.parametrize(
    "request_id", ["", "x" * 129, "a b", "{jndi:ldap://x}", "<script>", "\x1b[31m", "caf\xe9", "a\tb", "%0d%0a"]
)
def test_a_request_id_that_is_unfit_for_a_log_is_refused(server: Address, request_id: str) -> None:
    status, _, body = answer(server, head("/health", "GET", x_request_id=request_id))
    assert status == 400
    if body.startswith("{"):  # else it was no HTTP header
        assert error(body)["param"] == "x-request-id"


def test_a_usable_request_id_passes(server: Address) -> None:
    assert answer(server, head("/health", "GET", x_request_id="Az09._:+/=@-" + "x" * 116))[0] == 200


@pytest.mark.parametrize("timeout", ["", "0", "-1", "nan", "inf", "1e999", "soon", "9" * 4000 + "x", "1,2", "0x10"])
def test_a_bad_timeout_is_refused(server: Address, timeout: str) -> None:
    status, _, body = answer(server, posted(FORM, x_timeout_seconds=timeout))
    assert status == 400
    assert error(body)["param"] == "x-timeout-seconds"


@pytest.mark.parametrize("priority", ["", "urgent", "0", "HIGH;LOW", "\xdf", "x" * 5000])
def test_a_bad_priority_is_refused_also_where_the_form_has_a_good_one(server: Address, priority: str) -> None:
    for body in (FORM, field(b"priority", b"high") + FORM):
        status, _, text = answer(server, posted(body, x_priority=priority))
        assert status == 400
        assert error(text)["param"] == "x-priority"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 5000,
        "multipart/form-data; boundary=other",
        "multipart/form-data; boundary=x; boundary=y",
        "multipart/form-data-no; boundary=x",
        "multipart/mixed; boundary=x",
        "application/x-www-form-urlencoded",
        "application/json",
        "audio/wav",
        "\xff\xfe; \xff=\xff",
        *(f"{TYPE}; charset={name}" for name in ("utf-7", "utf-16", "idna", "punycode", "undefined", "zlib", "\xe9")),
        f'{TYPE}; charset="unicode_escape"',
    ],
)
def test_a_form_of_another_kind_is_refused(server: Address, content_type: str) -> None:
    status, _, body = answer(server, posted(field(b"model", b"+2AA- \\ud800 xn--a") + FORM, content_type))
    assert status == 400
    assert error(body)["type"] == "invalid_request_error"


@pytest.mark.parametrize("content_type", ["Multipart/Form-Data; Boundary=x", f"{TYPE}; charset=UTF-8"])
def test_a_content_type_may_be_written_in_any_case(server: Address, content_type: str) -> None:
    assert answer(server, posted(FORM, content_type))[0] == 200


@pytest.mark.parametrize(
    "body",
    {
        "two files": FORM.replace(b"--x--\r\n", FORM),
        "file as a plain field": field(b"file", b"RIFF") + b"--x--\r\n",
        "another field as a file": FORM.replace(b'"file"', b'"prompt"'),
        "a field twice": field(b"language", b"en") * 2 + FORM,
        "too many fields": field(b"timestamp_granularities[]", b"word") * 65 + FORM,
        "a huge field": field(b"prompt", b"x" * 65_537) + FORM,
        "a huge name": field(b"x" * 100_000, b"") + FORM,
        "a long model": field(b"model", b"x" * 257) + FORM,
        "a value that is no UTF-8": field(b"language", b"\xff\xfe\xed\xa0\x80") + FORM,
        "zeros": field(b"temperature", b"0\x000") + FORM,
        "a bidirectional override": field(b"response_format", "\u202ejson".encode()) + FORM,
        "many headers": b"--x\r\n" + b"a: b\r\n" * 1000 + b"\r\n\r\n" + FORM,
        "a part without a name": b"--x\r\ncontent-disposition: form-data\r\n\r\n\r\n" + FORM,
        "a part without headers": b"--x\r\n\r\n\r\n" + FORM,
        "nothing": b"",
        "only line ends": b"\r\n" * 10_000,
        "an empty file": FORM.replace(b"never decoded", b""),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_bad_form_is_refused(server: Address, body: tuple[str, bytes]) -> None:
    status, _, text = answer(server, posted(body[1]))
    assert status == 400, text
    assert len(error(text)["message"]) < 6000


@pytest.mark.parametrize("name", [b"\xff\xfe\xed\xa0\x80", b"\xe2\x80\xae", b"a\tb", b"<b>", b"x" * 1000])
def test_a_field_of_whatever_name_is_told_in_a_header_of_plain_letters(server: Address, name: bytes) -> None:
    status, headers, _ = answer(server, posted(field(name, b"1") + FORM))
    assert status == 200
    (line,) = [line for line in headers.split("\r\n") if line.startswith("x-warnings: ")]
    assert "it changes nothing" in line
    assert line.isascii()
    assert len(line) < 3000


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_form_without_an_end_is_refused(server: Address) -> None:
    """Starlette leaves its half file to the garbage collector, which warns of it."""
    status, _, text = answer(server, posted(FORM[:-10]))
    assert status == 400
    assert error(text)["param"] == "file"


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%00", "%ed%a0%80", "%ff", "x" * 8000, "demo-en/", "", "."],
)
def test_a_path_is_only_a_name(server: Address, name: str) -> None:
    status, _, body = answer(server, head(f"/v1/models/{name}", "GET"))
    assert status == 404
    assert error(body)["code"] in {"model_not_found", "not_found"}
    assert "root:" not in body


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "TRACE", "PATCH", "HEAD", "GET"])
def test_another_method_is_told_which_one_works(server: Address, method: str) -> None:
    status, headers, _ = answer(server, head("/v1/audio/transcriptions", method), close_after=True)
    assert status == 405
    assert "allow: post" in headers


def test_no_redirect_repeats_the_host_that_a_client_made_up(server: Address) -> None:
    status, headers, _ = answer(server, head("/health/", "GET", host="evil.example"))
    assert status == 404
    assert "evil" not in headers
