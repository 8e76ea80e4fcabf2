"""The encoder on an AMD XDNA NPU through pyxrt: the products of matrices on the device, the rest on the host."""
