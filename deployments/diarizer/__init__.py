"""Who speaks when: the deployment beside the graph, whose replicas start with the first request that asks for it."""
