"""Data for training and evaluation: cases and pairs, packs, synthetic images, a phantom."""
