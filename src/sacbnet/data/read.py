"""One case from its files: the image and its labels, as they lie on the disk."""

from __future__ import annotations

import numpy as np

from sacbnet.errors import GridError
from sacbnet.imaging.image import Image
from sacbnet.imaging.intensities import to_unit
from sacbnet.io.images import load_image
from sacbnet.registration.inputs import Inputs
from sacbnet.spatial.grid import Grid

from .cases import Case
from .pickles import PICKLES, read_pickle


def is_pickle(case: Case) -> bool:
    return case.image.name.lower().endswith(PICKLES)


def load_case(case: Case) -> tuple[Image, Image | None]:
    """Image (float32) and labels (integers; None without) of a case. Raises InputError as `io.images.load_image`.

    A pickle has no header: its grid is 1 mm along its own axes, and its image is where its labels are.
    """
    if not is_pickle(case):
        return load_image(case.image), None if case.labels is None else load_image(
            case.labels, "labels"
        )
    values, inside = read_pickle(case.image)
    image = load_image(_headless(values, case))
    if case.labels is not None:
        return image, load_image(case.labels, "labels")
    return image, None if inside is None else load_image(_headless(inside, case), "labels")


def _headless(values: np.ndarray, case: Case) -> Image:
    return Image(values, Grid(values.shape, np.eye(4)), str(case.image))


def check_labels(image: Image, labels: Image) -> None:
    """GridError where a label map does not lie on its image's grid."""
    if not labels.grid.matches(image.grid, tolerance_mm=0.01 * float(image.grid.spacing.min())):
        raise GridError(
            f"the labels {labels.name} lie on another grid (shape {labels.grid.shape}, spacing"
            f" {_numbers(labels.grid)} mm) than their image {image.name} (shape {image.grid.shape}, spacing"
            f" {_numbers(image.grid)} mm), or elsewhere in the world; resample them onto the image"
        )


def _numbers(grid: Grid) -> str:
    return " × ".join(f"{s:.4g}" for s in grid.spacing)


def canonical(image: Image, labels: Image | None) -> tuple[Image, Image | None]:
    """The same voxels with the axes towards R, A and S, exactly as `sacbnet register` stores a pair it reads."""
    both = Inputs(image, image if labels is None else labels).canonical()
    return both.fixed, None if labels is None else both.moving


def unit(image: Image, case: Case) -> np.ndarray:
    """(i, j, k) float32 in [0, 1], as `sacbnet register` shows it to the network.

    A pickle's image that is within [0, 1] already has been scaled by its makers and stays as it is.
    """
    data = image.data
    if is_pickle(case) and data.min() >= -1e-3 and data.max() <= 1 + 1e-3:
        return np.clip(data, 0, 1).astype(np.float32, copy=False)
    return to_unit(data)
