"""The kernels in Triton, for GPUs. Import them only where Triton is installed.

They agree with the plain definitions in `sacbnet.ops`.
"""
