"""File formats: how images, transforms and points are read and written.

`images`, `transforms` and `points` hold the functions to call. They find the format of a file in
one table (`table`). Each format is a small class in the folder `formats`.

Inside the program every coordinate is in world millimetres, RAS+ (nibabel's convention).
Transforms and points on disk are in LPS (ITK's convention).
"""
