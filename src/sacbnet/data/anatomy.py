"""Bring label maps without images to one place and one grid (`sacbnet.data.synthesis` uses them).

Maps of different heads share no world. The centre of mass of each label is a landmark that all of
them have. The affine between a map and the mean of all maps is therefore a least-squares fit, and
no search can fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.imaging.labels import counts
from sacbnet.io.images import load_image
from sacbnet.spatial.grid import Grid, Shape
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine

from .cases import Case

_LEAST_LANDMARKS = 4  # four points define an affine
_ROUNDS, _USUAL_MM = 30, 2.0  # of the fit; the usual distance between landmarks of one anatomy
_NOISE_LABELS = 26  # as in SynthMorph


@dataclass(frozen=True)
class _Landmarks:
    """Of one map: label to centre of mass, shape (3,), in mm; label to volume in mm³."""

    centres: dict[int, NDArray[np.float64]]
    volumes: dict[int, float]


class MeanAnatomy:
    """The mean anatomy of some label maps, and the affine from it to each map.

    The headers of the maps must agree roughly on the directions: the mean is that of the landmarks
    in the world, after shifts only.

    Parameters
    ----------
    cases : sequence of Case
        The label maps, as the images of the cases.
    spacing_mm : float
        Spacing of the grid.
    shape : tuple of int
        (i, j, k) of the grid.

    Attributes
    ----------
    grid : Grid
        Cubes of `spacing_mm`, axes towards R, A, S, about the centre of the mean anatomy.
    affines : dict of str to Affine
        Name of the case to the affine from the mean anatomy to its map, in mm (RAS).

    Raises
    ------
    InputError
        If the maps have fewer than four labels in common, or if a map cannot be read.
    """

    def __init__(self, cases: Sequence[Case], spacing_mm: float, shape: Shape) -> None:
        self.affines: dict[str, Affine] = {}
        middle = np.zeros(3)
        if cases:
            centres, volumes = _shared(
                [_landmarks(load_image(case.image, "labels")) for case in cases]
            )
            mean = (centres - centres.mean(1, keepdims=True)).mean(0)
            fits = [_fit(mean, x) for x in centres]
            self.affines = {
                case.name: affine for case, (affine, _) in zip(cases, fits, strict=True)
            }
            middle = np.average(mean, 0, volumes.mean(0) * np.mean([trust for _, trust in fits], 0))
        affine = np.diag([spacing_mm] * 3 + [1.0])
        affine[:3, 3] = middle - spacing_mm * (np.array(shape) - 1) / 2
        self.grid = Grid(shape, affine)

    def place(self, case: Case) -> NDArray[np.int32]:
        """Resample the labels of a case onto the common grid.

        Parameters
        ----------
        case : Case
            One of the cases.

        Returns
        -------
        ndarray of int32, shape (i, j, k)
            The labels, by nearest neighbour; values below 0 become 0.

        Raises
        ------
        InputError
            If the map cannot be read.
        """
        image = load_image(case.image, "labels")
        placed = resample(
            np.maximum(image.data, 0), image.grid, self.grid, self.affines[case.name], "nearest"
        )
        return placed.astype(np.int32)


def _landmarks(image: Image) -> _Landmarks:
    found = {value: n for value, n in counts(image.data).items() if value > 0}
    centres = center_of_mass(np.ones(image.data.shape, np.uint8), image.data, list(found))
    voxel = float(np.prod(image.grid.spacing))
    return _Landmarks(
        {v: image.grid.world(np.array(c)) for v, c in zip(found, centres, strict=True)},
        {v: n * voxel for v, n in found.items()},
    )


def _shared(found: Sequence[_Landmarks]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres, shape (maps, labels, 3), and volumes of the labels that all maps have."""
    labels = sorted(set.intersection(*(set(f.centres) for f in found)))
    if len(labels) < _LEAST_LANDMARKS:
        raise InputError(
            f"the {len(found)} label maps have {len(labels)} labels in common; at least"
            f" {_LEAST_LANDMARKS} were expected, to bring them to one place: are they all maps, and"
            " of one anatomy?"
        )
    centres = np.array([[f.centres[v] for v in labels] for f in found])
    return centres, np.array([[f.volumes[v] for v in labels] for f in found])


def _fit(
    mean: NDArray[np.float64], centres: NDArray[np.float64]
) -> tuple[Affine, NDArray[np.float64]]:
    """The affine from the mean landmarks to those of a map, and the weight of each landmark.

    Least squares with weights by Cauchy's rule: the middle of a neck that the image cuts is not a
    landmark.
    """
    design, trust = np.c_[mean, np.ones(len(mean))], np.ones(len(mean))
    for _ in range(_ROUNDS):
        root = np.sqrt(trust)[:, None]
        solution, *_ = np.linalg.lstsq(design * root, centres * root, rcond=None)
        trust = 1 / (1 + np.square(design @ solution - centres).sum(1) / _USUAL_MM**2)
    matrix = np.eye(4)
    matrix[:3] = solution.T
    return Affine(matrix), trust


def noise_map(shape: Shape, seed: Sequence[int]) -> NDArray[np.int32]:
    """Make a map of random shapes: the label of a voxel is the largest of 26 smooth random fields.

    The knots of the fields are a tenth to a third of the longest side apart.

    Parameters
    ----------
    shape : tuple of int
        (i, j, k).
    seed : sequence of int
        Decides the map.

    Returns
    -------
    ndarray of int32, shape (i, j, k)
        Labels from 1 to 26.

    References
    ----------
    Hoffmann et al. SynthMorph: learning contrast-invariant registration without acquired images.
    IEEE Transactions on Medical Imaging, 2022.
    """
    from .synthesis.deform import spline_field

    rng = np.random.default_rng(seed)
    highest = np.full(shape, -np.inf, np.float32)
    labels = np.zeros(shape, np.int32)
    step = max(shape) * rng.uniform(0.1, 0.33)
    for label in range(1, _NOISE_LABELS + 1):
        field = spline_field(shape, step, 1, rng)[0, 0].numpy()
        labels[field > highest] = label
        np.maximum(highest, field, out=highest)
    return labels
