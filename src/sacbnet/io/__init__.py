"""File formats in and out, nothing else.

Inside the program every coordinate is world mm in RAS+ (nibabel's); transforms and points on disk are in ITK's LPS.
"""
