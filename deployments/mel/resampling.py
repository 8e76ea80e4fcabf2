"""Decoded frames of any layout as 16 kHz int16: the mix of their channels, one of them, or all."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeAlias

import av
from av.audio.frame import AudioFrame
from av.filter import Graph
from av.filter.context import FilterContext

from deployments.shared.frames import SAMPLE_RATE

BLOCK = 100_000  # samples resampled at a time

Layout: TypeAlias = tuple[str, str, int]
"""Sample format, channel layout and sample rate: what a resampler is built for."""

Channels: TypeAlias = int | Literal["mix", "all"]
"""The channel that is heard, or the mix of them all, or each by itself."""

TARGET: Layout = ("s16", "mono", SAMPLE_RATE)


def resampled(frames: Iterable[AudioFrame], channels: Channels = "mix") -> Iterator[Any]:
    """Yield frames of 16 kHz int16, whose channels take turns; the layout may change between two frames."""
    for layout, run in itertools.groupby(frames, key=_layout):
        if layout == TARGET:
            yield from run
        else:
            yield from _resample(run, layout, channels)


def _layout(frame: AudioFrame) -> Layout:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _resample(frames: Iterable[AudioFrame], layout: Layout, wanted: Channels) -> Iterator[Any]:
    """Resample as PyAV's ``AudioResampler`` does, without its two threads and its exception for every frame."""
    sample_format, channels, rate = layout
    graph = Graph()
    graph.threads = 1
    graph.link_nodes(
        graph.add("abuffer", sample_fmt=sample_format, channel_layout=channels, sample_rate=str(rate)),
        *_choose(graph, layout, wanted),
        graph.add("abuffersink"),
    ).configure()
    waiting = 0
    for frame in frames:
        frame.pts = None
        graph.push(frame)
        waiting += frame.samples
        if waiting >= BLOCK:
            waiting = 0
            yield from _pull(graph)
    graph.push(None)
    yield from _pull(graph)


def _choose(graph: Graph, layout: Layout, wanted: Channels) -> list[FilterContext]:
    """Return the filters that leave the channels that are wanted."""
    target = {"sample_fmts": "s16", "sample_rates": str(SAMPLE_RATE)}
    if wanted == "all":
        return [graph.add("aformat", **target)]
    mono = graph.add("aformat", channel_layouts="mono", **target)
    if wanted == "mix" or layout[1] == "mono":
        return [mono]
    return [graph.add("pan", f"mono|c0=c{wanted}"), mono]


def _pull(graph: Graph) -> Iterator[Any]:
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
