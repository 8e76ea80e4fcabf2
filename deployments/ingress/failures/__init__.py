"""The failure log: requests that failed, kept on disk for a replay. Runs in the ingress."""
