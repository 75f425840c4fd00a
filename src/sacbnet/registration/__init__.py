"""The engine: two images in, the transform between them out; `Registrar` loads weights once and serves many pairs."""
