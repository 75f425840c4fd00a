"""Numbers that say how good a registration is; each has one definition (docs/reference/metrics.md).

`overlap`: Dice of labels. `surface`: distances of surfaces. `landmarks`: errors at landmarks.
`folding`: regularity of a transform. `similarity`: likeness of images. `registry`: the numbers of
labels by name.
"""
