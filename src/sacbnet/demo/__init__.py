"""The demo: a pair with a known warp, registered and compared with the truth."""
