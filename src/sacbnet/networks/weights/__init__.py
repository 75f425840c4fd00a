"""Weights: the catalogue, the files and their metadata, the conversion of published checkpoints."""
