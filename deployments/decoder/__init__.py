"""The Decoder deployment: encoder states -> text and word times. Runs in its replicas alone."""
