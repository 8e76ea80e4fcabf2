"""The accuracy benchmark: error rates of the service and of its peers over a corpus of recordings."""
