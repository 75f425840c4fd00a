"""Benchmarks: several registration methods, scored on the same pairs, in one table.

`plan` says which pairs and methods, with the options of each `method`. `run` does the work, with
the `trainings` of networks. `ledger` keeps the scores and the `facts` on disk. `comparison` makes
the table, `report` the page and `plots` the picture. `tools` runs registration tools of other
makers.
"""
