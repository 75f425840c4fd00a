"""The networks: SACB-Net, six networks to compare it with, and the weights of all of them.

Start with `contract` (what every network satisfies), then `sacbnet.network` (SACB-Net on one page).
`registry` builds a network from its options; `weights` loads and saves. Nothing is imported here:
reading the catalogue of weights needs no torch.
"""
