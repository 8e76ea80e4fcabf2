"""Programs that measure a service: ``benchmarks`` how fast and how right it is, ``load`` what it does under load."""
