"""Label maps without images, as a set to make images from (`sacbnet.data.synthesis`): brought to one place and grid.

Maps of different heads share no world. Each label's centre of mass is a landmark that all of them have, so the affine
between a map and the mean of all is a least-squares fit, with no search that could fail.
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

LEAST_LANDMARKS = 4  # an affine has as many
_ROUNDS, _USUAL_MM = 30, 2.0  # of the fit; how far landmarks of one anatomy usually lie off
_NOISE_LABELS = 26


@dataclass(frozen=True)
class _Landmarks:
    """centres: label -> (3,) mm; volumes: label -> mm³."""

    centres: dict[int, NDArray[np.float64]]
    volumes: dict[int, float]


class MeanAnatomy:
    """The mean anatomy of some label maps, and the way from it to each of them.

    grid: cubes of spacing_mm, axes towards R, A, S, about the mean's centre. The maps' headers have to agree roughly on
    which way is up: the mean is taken of the landmarks as the headers have them, shifted alone. Raises InputError where
    a map has fewer than four labels in common with all the others.
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
        """The labels (i, j, k) of a case on the common grid, by nearest; values below 0 become 0."""
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
    """Centres (map, label, 3) and volumes (map, label) of the labels that all maps have."""
    labels = sorted(set.intersection(*(set(f.centres) for f in found)))
    if len(labels) < LEAST_LANDMARKS:
        raise InputError(
            f"the {len(found)} label maps have {len(labels)} labels in common; at least {LEAST_LANDMARKS} were"
            " expected, to bring them to one place: are they all maps, and of one anatomy?"
        )
    centres = np.array([[f.centres[v] for v in labels] for f in found])
    return centres, np.array([[f.volumes[v] for v in labels] for f in found])


def _fit(
    mean: NDArray[np.float64], centres: NDArray[np.float64]
) -> tuple[Affine, NDArray[np.float64]]:
    """The affine from the mean's landmarks to a map's, and how far each of them is trusted.

    Least squares, reweighted by Cauchy's rule: the middle of a neck that the image cuts is no landmark.
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
    """A map of random shapes, labels 1 to 26: in each voxel the largest of as many smooth random fields.

    After SynthMorph's (Hoffmann et al., IEEE TMI 2022), with knots a tenth to a third of the longest side apart.
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
