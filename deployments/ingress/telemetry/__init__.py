"""What became of each request, told to statistics, request log and traces. Runs in the ingress."""
