"""Apply a finished registration to further images, labels and points, in either direction."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.imaging.points import Points
from sacbnet.imaging.resampling import carry
from sacbnet.io.images import ImageSource, load_image
from sacbnet.io.transforms import load_displacement
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import Interpolation
from sacbnet.spatial.transforms import DisplacementField

from .result import INVERSE, RUN, TRANSFORM, Registration

Side = Literal["fixed", "moving"]


@dataclass(frozen=True, eq=False)
class Warper:
    """Both directions of a registration, and the grids of its two images.

    transform: fixed world -> moving world; inverse: back (mm RAS).
    """

    transform: DisplacementField
    inverse: DisplacementField
    fixed: Grid
    moving: Grid

    @classmethod
    def of(cls, registration: Registration | str | Path) -> Warper:
        """From a Registration, or from the folder that one was saved in. InputError where the folder lacks a file."""
        if isinstance(registration, Registration):
            return cls(registration.transform, registration.inverse, *_grids(registration.report))
        folder = Path(registration)
        if not folder.is_dir():
            raise InputError(
                f"{folder} is no folder; the output folder of sacbnet register was expected"
            )
        for name in (TRANSFORM, INVERSE, RUN):
            if not (folder / name).is_file():
                raise InputError(
                    f"{folder} holds no {name}; the output folder of sacbnet register was expected"
                )
        try:
            report = json.loads((folder / RUN).read_text(encoding="utf-8"))
            grids = _grids(report)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder / RUN} is no account of a registration ({error}); register again"
            ) from error
        return cls(
            load_displacement(folder / TRANSFORM), load_displacement(folder / INVERSE), *grids
        )

    def image(
        self,
        source: ImageSource,
        onto: Side,
        interpolation: Interpolation = "linear",
        reference: ImageSource | None = None,
    ) -> Image:
        """An image or label map of the other side, on the grid of the `onto` image (or of `reference`, in its world).

        interpolation: "linear" for images; "nearest" or "onehot" for labels.
        """
        image = load_image(source, "image" if interpolation == "linear" else "labels")
        grid = self.fixed if onto == "fixed" else self.moving
        like = (
            Image(np.empty(grid.shape, np.uint8), grid)
            if reference is None
            else load_image(reference)
        )
        return carry(
            image, like, self.transform if onto == "fixed" else self.inverse, interpolation
        )

    def points(self, points: Points, onto: Side) -> tuple[Points, int]:
        """Points of the other side, in the world of the `onto` image; and how many lay outside the transform's box.

        Points go the other way than images: those of the moving image through the inverse. Outside the box the
        displacement of its edge is used, which other tools take as zero.
        """
        field = self.inverse if onto == "fixed" else self.transform
        outside = int((~field.grid.contains(points.xyz)).sum()) if len(points.xyz) else 0
        return replace(points, xyz=field(points.xyz)), outside


def _grids(report: dict[str, Any]) -> tuple[Grid, Grid]:
    fixed, moving = (
        Grid(tuple(report[side]["shape"]), report[side]["affine_ras"])
        for side in ("fixed", "moving")
    )
    return fixed, moving
