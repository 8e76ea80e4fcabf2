"""The HTTP interface: routes, forms, answers, errors. Runs in the ingress."""
