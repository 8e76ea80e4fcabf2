"""whisper.cpp's own HTTP server, built from its sources and given the demo model: a peer of the service."""
