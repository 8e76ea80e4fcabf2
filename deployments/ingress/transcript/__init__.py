"""The texts of windows made one transcript: languages, joins, segments. Runs in the ingress."""
