"""What benchmarks are made of: peers, a graph that computes nothing, and how figures are kept and written."""
