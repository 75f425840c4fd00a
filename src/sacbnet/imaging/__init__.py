"""Images and points as values: axes, intensities, padding, resampling. No file is read here."""
