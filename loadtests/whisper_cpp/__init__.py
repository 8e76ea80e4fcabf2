"""whisper.cpp's own HTTP server, built from its sources and given the bundled model: a peer of the benchmark."""
