"""What ``amanuensis doctor`` asks of a machine with an NPU: does it work, and if not, what is the first cause.

``machine`` is all that is read of the machine; each check is a function of it in one of the modules ``*_checks``, and
``diagnosis`` puts them in the order of causes. ``examination`` drives the device itself.
"""
