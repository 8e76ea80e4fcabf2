"""Load tests: what a service does under a planned load, overload, crowds, faults, growth, and the death of a node."""
