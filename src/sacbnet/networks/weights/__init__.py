"""Weights: the catalogue, the files and what they say of themselves, conversion of published checkpoints."""
