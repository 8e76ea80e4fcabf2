"""What benchmarks and load tests share: clips, clients, a service to measure, the machine."""
