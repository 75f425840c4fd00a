"""The engine: from two images to the transform between them.

A `Registrar` loads the weights once and serves many pairs.
"""
