"""The Ray Serve graph: a folder per deployment, what they share, and the commands. ``app.build`` is the graph."""
