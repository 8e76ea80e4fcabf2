"""Live sessions that come and go in every way, while others ask over HTTP."""
