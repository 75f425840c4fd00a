"""Training of networks: `loop` is the loop; the other modules are its parts.

`session` holds the state of one session, `objective` the loss, `loader` and `sampler` the batches,
`validate` the scores, `checkpoint` and `folder` the files, `team` the processes.
"""
