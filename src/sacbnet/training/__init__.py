"""Training: the loop (`loop`), and what it is made of: objective, sampler, checkpoints, logs."""
