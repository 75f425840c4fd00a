"""The viewer of a result or of two images, in a browser on the same machine."""
