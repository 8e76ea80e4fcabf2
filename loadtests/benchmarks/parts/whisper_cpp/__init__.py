"""whisper.cpp's own HTTP server, built from its sources and given CTranslate2's weights: a peer of the service."""
