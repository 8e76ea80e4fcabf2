"""Whatever a client sends, it gets the right status, OpenAI's error shape and a message that helps."""

from __future__ import annotations

import http.client
import io
import os
import socket
import struct
import time
import wave
from collections.abc import Callable
from contextlib import closing, suppress
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
import requests

from tests.support.paths import AUDIO
from tests.support.service_helpers import MAX_UPLOAD_BYTES

CLIP = AUDIO / "01_espeak-plain.wav"


def post(service: str, audio: bytes, name: str = "a.wav", **fields: str) -> requests.Response:
    files = {"file": (name, audio)}
    return requests.post(f"{service}/v1/audio/transcriptions", files=files, data=fields, timeout=30)


def check_error(answer: requests.Response, status: int, code: str, mentions: str = "") -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert mentions in error["message"]
    assert "amanuensis-" not in error["message"]
    assert "Traceback" not in error["message"]
    assert answer.headers["x-request-id"]


def wav(samples: np.ndarray, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def hours_of_silence() -> bytes:
    """10 hours in some 100 kB of flac."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=8000, layout="mono")
        stream.codec_context.options = {"compression_level": "8", "frame_size": "46080"}
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 46_080), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        for _ in range(10 * 3600 * 8000 // 46_080):
            frame.pts = None
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


BAD_AUDIO: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text as wav": lambda: b"This is no audio at all. " * 100,
    "random bytes": lambda: os.urandom(20_000),
    "header only": lambda: CLIP.read_bytes()[:30],
    "no samples": lambda: wav(np.zeros(0)),
    "a lie about its size": lambda: b"RIFF" + struct.pack("<I", 2**31) + CLIP.read_bytes()[8:40],
    "32 channels": lambda: wav(np.zeros(32 * 1600), channels=32),
}


@pytest.mark.parametrize("kind", BAD_AUDIO)
@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_audio_that_cannot_be_used(service: str, kind: str, name: str) -> None:
    check_error(post(service, BAD_AUDIO[kind](), name), 400, "invalid_audio")


@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_what_is_there_of_a_file_that_is_cut_off_is_transcribed(service: str, name: str) -> None:
    answer = post(service, CLIP.read_bytes()[:20_000], name)
    assert answer.status_code == 200
    assert "its sound ends at 0.6 s" in answer.headers["x-warnings"]


def test_ten_hours_in_a_small_file_are_refused_while_decoding(service: str) -> None:
    audio = hours_of_silence()
    assert len(audio) < MAX_UPLOAD_BYTES
    check_error(post(service, audio, "a.flac"), 400, "audio_too_long")


def test_silence_is_no_error_and_no_text(service: str) -> None:
    answer = post(service, wav(np.zeros(32_000)))
    assert answer.status_code == 200
    assert answer.json()["text"] == ""


@pytest.mark.parametrize(
    ("fields", "status", "code", "mentions"),
    [
        ({"model": "large-v3"}, 404, "model_not_found", "demo-en"),
        ({"language": "de"}, 400, "unsupported_language", "en"),
        ({"language": "klingon"}, 400, "unsupported_language", "klingon"),
        ({"response_format": "xml"}, 400, "invalid_request", "response_format"),
        ({"temperature": "hot"}, 400, "invalid_request", "temperature"),
        ({"temperature": "7"}, 400, "invalid_request", "temperature"),
        ({"diarize": "perhaps"}, 400, "invalid_request", "diarize"),
        ({"include[]": "words"}, 400, "invalid_request", "include"),
        ({"min_speakers": "3", "max_speakers": "2"}, 400, "invalid_request", "min_speakers"),
    ],
)
def test_a_bad_parameter(service: str, fields: dict[str, str], status: int, code: str, mentions: str) -> None:
    check_error(post(service, CLIP.read_bytes(), **fields), status, code, mentions)


def test_no_file(service: str) -> None:
    url = f"{service}/v1/audio/transcriptions"
    check_error(requests.post(url, files={"model": (None, "demo-en")}, timeout=10), 400, "invalid_request", "file")
    check_error(requests.post(url, json={"file": "a.wav"}, timeout=10), 400, "invalid_request", "multipart")
    check_error(requests.post(url, timeout=10), 400, "invalid_request", "multipart")


def test_translation_needs_a_multilingual_model(service: str) -> None:
    with CLIP.open("rb") as file:
        answer = requests.post(f"{service}/v1/audio/translations", files={"file": file}, timeout=10)
    check_error(answer, 400, "unsupported_language", "translate")


def test_unknown_routes_and_methods(service: str) -> None:
    check_error(requests.get(f"{service}/v2/nothing", timeout=10), 404, "not_found")
    check_error(requests.get(f"{service}/v1/models/unknown", timeout=10), 404, "model_not_found")
    check_error(requests.get(f"{service}/v1/audio/transcriptions", timeout=10), 405, "method_not_allowed")


def test_a_form_larger_than_the_limit(service: str) -> None:
    check_error(post(service, bytes(MAX_UPLOAD_BYTES + 1)), 413, "payload_too_large", "MiB")


def test_the_limit_holds_while_reading_when_no_length_is_declared(service: str) -> None:
    """The client would send 100 times the limit; the service answers long before."""
    address = urlsplit(service)
    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)) as connection:
        connection.putrequest("POST", "/v1/audio/transcriptions")
        connection.putheader("content-type", "multipart/form-data; boundary=x")
        connection.putheader("transfer-encoding", "chunked")
        connection.endheaders()
        sent = 0
        chunk = b"--x\r\ncontent-disposition: form-data; name=file; filename=a.wav\r\n\r\n"
        with suppress(OSError):  # the service hangs up
            for _ in range(1600):
                connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                sent += len(chunk)
                chunk = bytes(MAX_UPLOAD_BYTES // 16)
    assert sent < 20 * MAX_UPLOAD_BYTES


def test_a_client_that_stops_half_way_costs_nobody_anything(service: str) -> None:
    address = urlsplit(service)
    for _ in range(5):
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as half:
            half.sendall(
                b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n"
                b"content-type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            )
    time.sleep(0.5)
    assert post(service, CLIP.read_bytes()).status_code == 200
    statistics = requests.get(f"{service}/stats/pipeline", timeout=5).json()
    assert statistics["queue"]["current_size"] == 0
    assert statistics["buffers"]["in_use"] == 0
