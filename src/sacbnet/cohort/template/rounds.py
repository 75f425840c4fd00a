"""One round of a template: all images registered to the mean so far, and the next mean."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sacbnet.cohort.members import Member
from sacbnet.cohort.pairs import CohortPair
from sacbnet.cohort.summary import Cohort
from sacbnet.errors import RegistrationError
from sacbnet.files import atomic_file
from sacbnet.imaging.image import Image
from sacbnet.io.images import load_image, save_image
from sacbnet.io.transforms import load_affine, load_displacement
from sacbnet.registration.result import AFFINE, TRANSFORM
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField, PointMap, chain

from .mean import Look, common_range, look_at, mean_image, sharpened, sharpness
from .shape import mean_shape

# pairs, folder, whether the affine alone -> what became of them
Register = Callable[[Sequence[CohortPair], Path, bool], Cohort]
LEAST = 2  # images of a mean


@dataclass(frozen=True)
class Round:
    """What one round did.

    Parameters
    ----------
    number : int
        Its number, from 1; 0 is the first mean, by the centres of the images.
    kind : {"centre", "affine", "deformation"}
        What the images were aligned by.
    images : int
        Number of images in the mean; those that failed are left out.
    shape_change_mm : float
        How far the mean shape moved: root mean square on the grid, mm.
    sharpness : float
        Mean length of the gradient of the mean image, intensity per mm.
    """

    number: int
    kind: str
    images: int
    shape_change_mm: float
    sharpness: float


@dataclass(frozen=True)
class Site:
    """What all rounds share.

    Parameters
    ----------
    members : sequence of Member
        The images that can be read.
    looks : Mapping[str, Look]
        What is known of each image, by name.
    grid : Grid
        The grid of the template.
    folder : Path
        Where the means are kept.
    affine_rounds, last : int
        Number of rounds with the affine alone, and of all rounds.
    centred : bool
        Whether the images are first brought together by their centres.
    symmetric : bool
        Whether each image counts once more as its mirror image.
    sharpen : float
        How much the means of rounds with deformation are sharpened (`mean.sharpened`).
    register : Register
        Registers pairs.
    """

    members: Sequence[Member]
    looks: Mapping[str, Look]
    grid: Grid
    folder: Path
    affine_rounds: int
    last: int
    centred: bool
    symmetric: bool
    sharpen: float
    register: Register

    def mean(self, number: int, contrast: str = "") -> Path:
        """Give the place of a mean.

        Parameters
        ----------
        number : int
            The round.
        contrast : str, default ""
            A further contrast.

        Returns
        -------
        Path
            The file.
        """
        return self.folder / f"{number}{contrast and '_' + contrast}.nii.gz"

    def account(self, number: int) -> Path:
        """Give the place of what is known of a round.

        Parameters
        ----------
        number : int
            The round.

        Returns
        -------
        Path
            The file.
        """
        return self.folder / f"{number}.json"

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Names of the further contrasts."""
        return tuple(sorted({name for member in self.members for name in member.contrasts}))


def run_round(site: Site, number: int) -> None:
    """Do one round: its mean and its account are there afterwards.

    Parameters
    ----------
    site : Site
        What all rounds share.
    number : int
        The round; the mean of the one before must be there.

    Raises
    ------
    RegistrationError
        If fewer than two images could be registered to the mean.
    OutputError
        If a file cannot be written.
    """
    if number == 0:
        middle = site.grid.centre
        maps: dict[str, PointMap] = {
            m.name: Affine.translation(site.looks[m.name].centre - middle)
            if site.centred
            else Affine()
            for m in site.members
        }
        kind, change = "centre", 0.0
    else:
        kind = "affine" if number <= site.affine_rounds else "deformation"
        maps, change = _registered(site, number, affine_only=kind == "affine")
    amount = site.sharpen if kind == "deformation" else 0.0
    data = sharpened(_mean(site, maps), amount)
    if number == site.last:
        for contrast in site.contrasts:
            more = sharpened(_mean(site, maps, contrast), amount)
            _write(site.mean(number, contrast), more, site.grid)
    account = Round(number, kind, len(maps), change, sharpness(data, site.grid))
    with atomic_file(site.account(number)) as path:
        path.write_text(json.dumps(asdict(account)), encoding="utf-8")
    _write(site.mean(number), data, site.grid)  # last: a round is done if its mean is there
    shutil.rmtree(site.folder / str(number), ignore_errors=True)


def _registered(site: Site, number: int, affine_only: bool) -> tuple[dict[str, PointMap], float]:
    """The maps from the next template to the images, by name, and how far the shape moved, mm."""
    fixed, folder = site.mean(number - 1), site.folder / str(number)
    pairs = [
        CohortPair(name=m.name, fixed=fixed, moving=m.image, moving_mask=m.mask)
        for m in site.members
    ]
    rows = site.register(pairs, folder, affine_only).outcomes
    done = [row.name for row in rows if row.status != "failed"]
    if len(done) < LEAST:
        why = next((row.error for row in rows if row.error), "")
        raise RegistrationError(
            f"{len(done)} of {len(rows)} images could be registered to the mean of round"
            f" {number - 1}; {LEAST} at least were expected ({why})"
        )

    def transforms() -> Iterator[tuple[DisplacementField | None, Affine]]:
        for name in done:
            affine = load_affine(folder / name / AFFINE)
            yield None if affine_only else load_displacement(folder / name / TRANSFORM), affine

    shape = mean_shape(transforms(), site.grid, site.symmetric)
    back: PointMap = shape.affine.inverse if affine_only else shape.inverse()
    maps: dict[str, PointMap] = {}
    for name in done:
        maps[name] = _Kept(folder / name, back, affine_only)
    return maps, shape.size_mm


@dataclass(frozen=True)
class _Kept:
    """The map of one image, read when it is needed: the fields of all do not fit in the memory."""

    folder: Path
    back: PointMap
    affine_only: bool

    def loaded(self) -> PointMap:
        if self.affine_only:
            return chain(load_affine(self.folder / AFFINE), self.back)
        return chain(load_displacement(self.folder / TRANSFORM), self.back)

    def __call__(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        return self.loaded()(points)


def _mean(site: Site, maps: Mapping[str, PointMap], contrast: str = "") -> NDArray[np.float32]:
    chosen = [
        member
        for member in site.members
        if member.name in maps and (not contrast or contrast in member.contrasts)
    ]
    if contrast:
        sources = {m.name: m.contrasts[contrast] for m in chosen}
        looks = {name: look_at(load_image(path)) for name, path in sources.items()}
    else:
        sources = {m.name: m.image for m in chosen}
        looks = {m.name: site.looks[m.name] for m in chosen}

    def images() -> Iterator[tuple[Image, Look, PointMap]]:
        for name, path in sources.items():
            point_map = maps[name]
            if isinstance(point_map, _Kept):
                point_map = point_map.loaded()
            yield load_image(path), looks[name], point_map

    onto = common_range(list(looks.values()))
    return mean_image(images(), site.grid, onto, site.symmetric)


def _write(path: Path, data: NDArray[np.float32], grid: Grid) -> None:
    save_image(path, data, Image(data, grid))
