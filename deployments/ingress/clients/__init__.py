"""API keys and the limits of each client. Runs in the ingress; the command `keys` edits the file of keys."""
