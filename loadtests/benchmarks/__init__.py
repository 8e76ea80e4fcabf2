"""Benchmarks of how fast the service is and how right its texts are: one per module; ``parts`` is what they share."""
