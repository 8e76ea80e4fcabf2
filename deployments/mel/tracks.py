"""Which of a file's audio tracks is heard."""

from __future__ import annotations

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from deployments.mel.codecs import DECODERS
from deployments.shared.errors import InvalidAudioError


def readable_tracks(container: InputContainer) -> list[AudioStream]:
    """Return the audio tracks that can be decoded, in the order in which they are to be tried.

    The one that its maker marked as the default comes first, as in every player.
    """
    tracks = [track for track in container.streams.audio if is_readable(track)]
    return sorted(tracks, key=lambda track: not track.disposition & Disposition.default)


def chosen_track(container: InputContainer, number: int) -> AudioStream:
    """Return the audio track with this number, counted from 1.

    Raises:
        InvalidAudioError: there is no such track, or it cannot be decoded.
    """
    tracks = container.streams.audio
    if not 1 <= number <= len(tracks) or not is_readable(tracks[number - 1]):
        listed = "; ".join(f"{i} is {describe_track(track)}" for i, track in enumerate(tracks, start=1))
        raise InvalidAudioError(f"There is no readable audio track {number}: {listed}.", param="audio_track")
    return tracks[number - 1]


def is_readable(track: AudioStream) -> bool:
    return track.codec_context is not None and track.codec_context.name in DECODERS


def describe_track(track: AudioStream) -> str:
    codec = track.codec_context.name if track.codec_context else "of an unknown kind"
    language = track.metadata.get("language", "")[:16]
    words = (codec, language, "" if is_readable(track) else "not readable here")
    return ", ".join(word for word in words if word)
