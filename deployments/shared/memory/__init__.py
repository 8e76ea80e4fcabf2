"""Arrays in shared memory, handed from stage to stage without a copy. Runs in the ingress and in every replica."""
