"""What the training loop is made of: recipes, objective, checkpoints, logs. The loop itself is `sacbnet.train`."""
