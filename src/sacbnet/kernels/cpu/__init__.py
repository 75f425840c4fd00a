"""The hot kernels compiled for the CPU at hand: C++ sources, and how they are built, loaded and called."""
