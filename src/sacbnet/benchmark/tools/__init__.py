"""Other registration tools, each in a Python that has it, scored as our own results are."""
