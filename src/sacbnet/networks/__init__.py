"""The network, its configuration and its weights. Nothing is imported here: reading a catalogue needs no torch."""
