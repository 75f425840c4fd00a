"""Fast forms of the costly operations, in C++ for the CPU and in Triton for CUDA."""
