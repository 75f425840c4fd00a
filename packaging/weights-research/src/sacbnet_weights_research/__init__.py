"""Weights for sacbnet that are not under its licence. The folder `files` holds all there is."""
