"""Spread the graph over two hosts: network namespaces of this machine, each with a Ray node. One of them dies."""
