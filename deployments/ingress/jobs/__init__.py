"""Jobs: long recordings that are answered later, kept on disk until then. Runs in the ingress."""
