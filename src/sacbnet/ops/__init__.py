"""The hot kernels: clustering, adaptive convolution and local matching, each a plain-PyTorch definition."""
