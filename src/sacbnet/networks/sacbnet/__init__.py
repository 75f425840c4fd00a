"""SACB-Net: `network` is the whole network on one page, and the other modules are its parts.

`encoder` makes the feature pyramid, `block` is the SACB, `matching` finds a level's displacement,
`symmetric` treats both images alike, and `seen` records regions.
"""
