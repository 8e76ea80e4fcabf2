"""The model that is served: where its files come from, and what they say. Read in every process."""
