"""The diarization benchmark: who speaks when, and who says which word, over a corpus of recordings."""
