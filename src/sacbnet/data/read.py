"""One case from its files: the image and its labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import GridError
from sacbnet.imaging.image import Image
from sacbnet.io.images import load_image
from sacbnet.spatial.grid import Grid

from .cases import Case
from .pickles import PICKLES, read_pickle

_SCALED = (-1e-3, 1 + 1e-3)  # the makers of an image within these have brought it to [0, 1]


def is_pickle(case: Case) -> bool:
    """Say whether a case is a pickle of TransMorph, which holds its labels, too.

    Parameters
    ----------
    case : Case
        Any case.

    Returns
    -------
    bool
        True if the name of the image says so.
    """
    return case.image.name.lower().endswith(PICKLES)


def load_case(case: Case) -> tuple[Image, Image | None]:
    """Read the image and the labels of a case.

    A pickle has no header: its grid has 1 mm along the array's own axes. Its image counts as
    scaled by its makers (`Image.unit`) if it lies within [0, 1].

    Parameters
    ----------
    case : Case
        The case.

    Returns
    -------
    image : Image
        float32.
    labels : Image or None
        Integers; None if the case has no labels.

    Raises
    ------
    InputError
        If a file is missing, damaged or of an unknown format, or if its values cannot be used.
    GridError
        If a header gives no usable grid.
    """
    if is_pickle(case):
        image, labels = _load_pickle(case)
    else:
        image, labels = load_image(case.image), None
    return image, labels if case.labels is None else load_image(case.labels, "labels")


def _load_pickle(case: Case) -> tuple[Image, Image | None]:
    values, inside = read_pickle(case.image)
    image = load_image(_headless(values, case))
    low, high = _SCALED
    image = replace(image, scaled=bool(image.data.min() >= low and image.data.max() <= high))
    if case.labels is not None or inside is None:
        return image, None
    return image, load_image(_headless(inside, case), "labels")


def _headless(values: NDArray[np.generic], case: Case) -> Image:
    return Image(values, Grid(values.shape, np.eye(4)), str(case.image))


def check_labels(image: Image, labels: Image) -> None:
    """Check that a label map lies on the grid of its image.

    Parameters
    ----------
    image : Image
        The image.
    labels : Image
        Its label map.

    Raises
    ------
    GridError
        If the grids differ by more than 1% of the smallest spacing.
    """
    if not labels.grid.matches(image.grid, tolerance_mm=0.01 * float(image.grid.spacing.min())):
        raise GridError(
            f"the labels {labels.name} lie on another grid (shape {labels.grid.shape}, spacing"
            f" {_numbers(labels.grid)} mm) than their image {image.name} (shape"
            f" {image.grid.shape}, spacing {_numbers(image.grid)} mm), or elsewhere in the world;"
            " resample them onto the image"
        )


def _numbers(grid: Grid) -> str:
    return " × ".join(f"{s:.4g}" for s in grid.spacing)
