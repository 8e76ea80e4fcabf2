"""The MelPreprocessor deployment: uploaded bytes -> windows of speech -> log-mel. Runs in its replicas alone."""
