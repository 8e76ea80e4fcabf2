"""Compiles the kernels of a model with an installed toolchain, mlir-aie and Peano: ``amanuensis npu build``.

``tiles`` and ``shapes`` say what to compile, ``toolchain`` finds and runs the compiler, ``building`` goes through the
list and writes the manifests. ``one_array.py`` is a program for the toolchain's Python.
"""
