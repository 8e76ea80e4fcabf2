"""What benchmarks and load tests share: the audio, one HTTP client, a service to measure, and facts of the machine."""
