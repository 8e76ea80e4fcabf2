"""Measures a service: ``benchmarks`` say how fast and how right, ``load`` says what it does under load and faults."""
