"""Valid audio files of every kind the service reads: what the fuzzer damages."""

from __future__ import annotations

import csv
import os
import wave
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from deployments.shared.frames import SAMPLE_RATE
from loadtests.common.speech import CORPUS_VARIABLE, MANIFEST
from tests.support.paths import AUDIO

CLIP = AUDIO / "01_espeak-plain.wav"
SECONDS = 1
TAGS = {"title": "a title", "artist": "x" * 2000, "comment": "\u00e9\u4e2d" * 100}


class Kind(NamedTuple):
    """How one file of the corpus is made."""

    container: str
    codec: str
    rate: int
    layout: str
    options: dict[str, str]
    video_codec: str | None = None


KINDS = {
    "wav": Kind("wav", "pcm_s16le", 16_000, "mono", {}),
    "wav 8 kHz mu-law": Kind("wav", "pcm_mulaw", 8_000, "mono", {}),
    "wav 24 bits 96 kHz": Kind("wav", "pcm_s24le", 96_000, "mono", {}),
    "wav float 7.1": Kind("wav", "pcm_f32le", 8_000, "7.1", {}),
    "wav adpcm": Kind("wav", "adpcm_ms", 22_050, "stereo", {}),
    "flac": Kind("flac", "flac", 16_000, "mono", {}),
    "flac 7.1 96 kHz": Kind("flac", "flac", 96_000, "7.1", {}),
    "mp3": Kind("mp3", "libmp3lame", 44_100, "stereo", {}),
    "mp3 8 kHz, no frame count": Kind("mp3", "libmp3lame", 8_000, "mono", {"write_xing": "0"}),
    "m4a": Kind("ipod", "aac", 44_100, "stereo", {}),
    "m4a 5.1, index first": Kind("ipod", "aac", 48_000, "5.1", {"movflags": "faststart"}),
    "m4a alac": Kind("ipod", "alac", 48_000, "stereo", {}),
    "mp4 with video": Kind("mp4", "aac", 44_100, "stereo", {}, "mpeg4"),
    "mp4 in fragments": Kind("mp4", "aac", 44_100, "mono", {"movflags": "frag_keyframe+empty_moov"}),
    "mov pcm": Kind("mov", "pcm_s16be", 32_000, "stereo", {}),
    "aac": Kind("adts", "aac", 44_100, "stereo", {}),
    "ogg opus": Kind("ogg", "libopus", 48_000, "mono", {}),
    "ogg vorbis": Kind("ogg", "vorbis", 44_100, "stereo", {}),
    "webm": Kind("webm", "libopus", 48_000, "stereo", {}),
    "webm, live": Kind("webm", "libopus", 48_000, "mono", {"live": "1"}),
    "webm with video": Kind("webm", "libopus", 48_000, "mono", {}, "libvpx"),
    "matroska pcm": Kind("matroska", "pcm_s16le", 16_000, "mono", {}),
    "matroska mp3": Kind("matroska", "libmp3lame", 44_100, "stereo", {}),
    "matroska aac": Kind("matroska", "aac", 44_100, "stereo", {}),
    "mov adpcm": Kind("mov", "adpcm_ima_qt", 44_100, "mono", {}),
    "wav g.722": Kind("wav", "g722", 16_000, "mono", {}),
    "wav ima adpcm": Kind("wav", "adpcm_ima_wav", 16_000, "mono", {}),
    "aiff": Kind("aiff", "pcm_s16be", 44_100, "stereo", {}),
    "caf": Kind("caf", "pcm_s16le", 44_100, "mono", {}),
    "caf alac": Kind("caf", "alac", 44_100, "stereo", {}),
    "au": Kind("au", "pcm_mulaw", 8_000, "mono", {}),
    "w64": Kind("w64", "pcm_s24le", 48_000, "mono", {}),
    "ac-3": Kind("ac3", "ac3", 48_000, "stereo", {}),
    "e-ac-3": Kind("eac3", "eac3", 48_000, "stereo", {}),
    "asf": Kind("asf", "libmp3lame", 44_100, "stereo", {}, "msmpeg4v3"),
    "avi": Kind("avi", "libmp3lame", 44_100, "stereo", {}, "mpeg4"),
    "flv": Kind("flv", "libmp3lame", 44_100, "mono", {}),
    "flv nellymoser": Kind("flv", "nellymoser", 44_100, "mono", {}),
    "mpeg-ts": Kind("mpegts", "aac", 44_100, "stereo", {}, "mpeg2video"),
    "mpeg-ps": Kind("mpeg", "mp2", 44_100, "stereo", {}, "mpeg2video"),
    "latm": Kind("latm", "aac", 44_100, "mono", {}),
}
UNENCODABLE = ("dca", "amrnb", "amrwb", "gsm_ms", "speex", "wmav2", "nistsphere")
"""Codecs and formats for which FFmpeg has no encoder: files of the corpus that ``SPEECH_CORPUS`` names, if any."""

SMALL = 60_000
"""Bytes of a file that is taken from there."""


def corpus() -> dict[str, bytes]:
    """Every kind, two of them with a picture of the cover, and what only others can make."""
    with TemporaryDirectory() as directory:  # a muxer that puts its index first has to read what it wrote
        files = {name: _encoded(kind, Path(directory) / "clip") for name, kind in KINDS.items()}
    files["mp3 with cover art"] = _id3_picture(_noise(20_000)) + files["mp3"]
    files["flac with cover art"] = _flac_picture(files["flac"], _noise(20_000))
    return files | _made_by_others()


def _made_by_others() -> dict[str, bytes]:
    if CORPUS_VARIABLE not in os.environ:
        return {}
    directory = Path(os.environ[CORPUS_VARIABLE])
    with (directory / MANIFEST).open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t", quoting=csv.QUOTE_NONE))
    wanted = [row["file"] for row in rows if row["codec"] in UNENCODABLE or row["container"] in UNENCODABLE]
    files = {name: (directory / name).read_bytes() for name in wanted}
    return {name: content for name, content in files.items() if len(content) <= SMALL}


def _encoded(kind: Kind, path: Path) -> bytes:
    with av.open(str(path), "w", format=kind.container, options=kind.options) as container:
        container.metadata.update(TAGS)
        audio = container.add_stream(kind.codec, rate=kind.rate, layout=kind.layout)
        if kind.video_codec:
            _add_video(container, kind.video_codec)
        audio.codec_context.options = {"strict": "experimental"}  # for FFmpeg's own vorbis encoder
        audio.codec_context.open(strict=False)
        resampler = av.AudioResampler(audio.format, kind.layout, kind.rate, audio.codec_context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(_speech()[None], "s16", "mono")
        frame.sample_rate = SAMPLE_RATE
        for resampled in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(audio.encode(resampled))
    return path.read_bytes()


def _add_video(container: av.container.OutputContainer, codec: str) -> None:
    video = container.add_stream(codec, rate=10)
    video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
    for i in range(10 * SECONDS):
        frame = av.VideoFrame.from_ndarray(np.full((72, 64), 20 * i, np.uint8), "yuv420p")
        frame.pts = i
        container.mux(video.encode(frame))
    container.mux(video.encode(None))


def _speech() -> NDArray[np.int16]:
    with wave.open(str(CLIP)) as file:
        return np.frombuffer(file.readframes(SECONDS * SAMPLE_RATE), np.int16)


def _noise(size: int) -> bytes:
    return np.random.default_rng(0).bytes(size)


def _id3_picture(picture: bytes) -> bytes:
    body = b"\0image/png\0\3\0" + picture
    frame = b"APIC" + _sync_safe(len(body)) + bytes(2) + body
    return b"ID3\4\0\0" + _sync_safe(len(frame)) + frame


def _sync_safe(number: int) -> bytes:
    return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))


def _flac_picture(flac: bytes, picture: bytes) -> bytes:
    """Behind the stream information, which is 42 bytes long with the magic."""
    kind = b"image/png"
    block = (3).to_bytes(4) + len(kind).to_bytes(4) + kind + bytes(20) + len(picture).to_bytes(4) + picture
    return flac[:42] + b"\6" + len(block).to_bytes(3) + block + flac[42:]
