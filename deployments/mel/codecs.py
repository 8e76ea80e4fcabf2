"""Which of FFmpeg's demuxers and decoders an upload may reach: those that recordings of speech come in, no others.

FFmpeg has some 350 demuxers and 200 audio decoders. Many are old and rarely run; an upload is written by a stranger.
What is listed here stands here because people send it, and is fuzzed.
"""

from __future__ import annotations

PLAIN = ("wav", "w64", "aiff", "au", "caf", "nistsphere")
"""Samples behind a header. CAF: iPhones. NIST SPHERE: corpora of speech. W64: editors, for more than 4 GiB."""

STREAMS = ("flac", "mp3", "aac", "loas", "ac3", "eac3", "amr")
"""One codec without a container. AMR: voice notes of telephones."""

CONTAINERS = ("ogg", "matroska", "mov", "asf", "avi", "flv", "mpeg", "mpegts")
"""Tracks of several codecs: voice notes, films, recordings of meetings and of television. ASF is Windows Media."""

DEMUXERS = (*PLAIN, *STREAMS, *CONTAINERS)

PCM = (
    *("pcm_alaw", "pcm_mulaw", "pcm_u8", "pcm_s8", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be"),
    *("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_bluray", "pcm_dvd"),
)
TELEPHONY = ("amrnb", "amrwb", "g722", "gsm", "gsm_ms", "speex", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt")
"""GSM and G.722: telephone exchanges, as Asterisk. ADPCM: dictation machines. Speex: old voice chats."""

MUSIC = (
    *("aac", "aac_latm", "alac", "flac", "opus", "libopus", "vorbis", "libvorbis"),
    *("mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "wmav1", "wmav2", "wmapro", "wmavoice"),
)
FILMS = ("ac3", "eac3", "dca", "adpcm_swf", "nellymoser")
"""Dolby and DTS: discs and television. The last two: Flash."""

DECODERS = (*PCM, *TELEPHONY, *MUSIC, *FILMS)
