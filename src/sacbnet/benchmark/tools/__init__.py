"""Registration tools of other makers, scored as our own results are.

`worker` runs in a Python environment that has the tool; `adapter` starts it and reads its result.
"""
