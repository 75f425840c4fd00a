"""The hot kernels in Triton, for GPUs; equal to the plain definitions one folder up. Import only where triton is."""
