"""The page for people: what serves it, and in ``static/`` the files that a browser runs. It asks the public API alone.

It runs in the process of the Ingress.
"""
