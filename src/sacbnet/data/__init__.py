"""Data: pairs of images to register, from files or made here."""
