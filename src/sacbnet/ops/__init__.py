"""The operations of the networks: one plain definition each, and the choice of the fastest form.

Adaptive convolution, K-means, local matching, and the blocks of convolution.
"""
