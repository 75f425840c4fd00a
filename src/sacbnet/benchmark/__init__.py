"""Benchmarks: several registration methods, scored on the same pairs, in one table.

`plan` says which methods and pairs, `run` does the work, `ledger` keeps the scores on disk,
`comparison` makes the table and `plots` the picture. `tools` runs registration tools of other
makers.
"""
