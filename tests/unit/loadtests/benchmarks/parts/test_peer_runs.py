"""Peers in processes of their own, with the demo model."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.benchmarks.parts.clip_sets import ClipSet, synthetic_clips
from loadtests.benchmarks.parts.peer_runs import run_peer, workplace
from loadtests.benchmarks.parts.peers import GENAI, PEERS
from loadtests.benchmarks.parts.words import word_error_rate
from tests.support.paths import DEMO_MODEL


@pytest.fixture(scope="module")
def sent() -> ClipSet:
    bundled = synthetic_clips()
    return ClipSet(bundled.clips[:2], bundled.recordings)


@pytest.mark.parametrize("peer", ["faster-whisper", GENAI])
def test_a_peer_transcribes_every_clip_equally_often_and_says_what_it_took(peer: str, sent: ClipSet) -> None:
    with workplace(DEMO_MODEL, sent, [peer]) as place:
        result, run = run_peer(peer, place, seconds=0.01)
    assert len(result.latencies_s) == len(run.answers) == 2
    assert result.audio_s == pytest.approx(sum(clip.seconds for clip in sent.clips))
    assert {clip.name for clip in sent.clips} == set(result.texts)
    pairs = [(clip.spoken, text) for clip in sent.clips for text in result.texts[clip.name]]
    assert word_error_rate(pairs) < 0.4
    assert run.cpu_s > 0
    assert run.memory_mib > 50
    assert 0 < max(result.latencies_s) <= result.seconds


def test_a_peer_that_fails_says_why(sent: ClipSet, tmp_path: Path) -> None:
    with (
        workplace(tmp_path, sent, []) as place,
        pytest.raises(RuntimeError, match=r"peers faster-whisper failed:(.|\n)*model\.bin"),
    ):
        run_peer("faster-whisper", place)


def test_each_peer_names_its_version_and_options() -> None:
    assert all(peer.package in peer.setup and peer.options in peer.setup for peer in PEERS.values())
