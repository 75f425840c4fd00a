"""The kernels in C++, compiled for the CPU of this machine: build, load, check and call."""
