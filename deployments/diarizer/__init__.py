"""Who speaks when: a stage beside the graph, in replicas of its own that start with the first request that asks."""
