"""The demo: register the phantom pair and compare with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np

from sacbnet.config.registration import RegisterOptions
from sacbnet.data.phantom import PhantomPair, make_pair
from sacbnet.imaging.resampling import carry
from sacbnet.io.images import save_image
from sacbnet.metrics.overlap import dice
from sacbnet.registration.account import Progress
from sacbnet.registration.registrar import register
from sacbnet.registration.result import Registration
from sacbnet.reporting.page.build import report
from sacbnet.spatial.transforms import Affine, PointMap


@dataclass(frozen=True)
class DemoScore:
    """How near a registration of the demo's pair comes to the truth.

    Parameters
    ----------
    dice : dict[str, tuple[float, float]]
        Dice of each structure, before (by the headers alone) and after.
    error_mm, error_p95_mm : tuple[float, float]
        Distance of landmarks from the truth, mm, before and after: mean and 95th percentile.
    """

    dice: dict[str, tuple[float, float]]
    error_mm: tuple[float, float]
    error_p95_mm: tuple[float, float]

    @property
    def mean_dice(self) -> tuple[float, float]:
        """Mean of Dice over the structures, before and after."""
        before, after = zip(*self.dice.values(), strict=True)
        return float(np.mean(before)), float(np.mean(after))


def run_demo(
    folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Unpack[RegisterOptions],
) -> tuple[Registration, DemoScore]:
    """Make a pair with a known warp, register it, and compare with the truth.

    Parameters
    ----------
    folder : Path
        Folder for the results; the pair is written into its folder "input".
    seed : int, default 0
        Another seed makes another head and another warp.
    progress : callable (str, float), or None, default None
        Called with a stage and the fraction of it that is done.
    **options
        As of `sacbnet.register`.

    Returns
    -------
    registration : Registration
        The result, as it was saved.
    score : DemoScore
        How near it comes to the truth.

    Raises
    ------
    OutputError
        If a file cannot be written.
    RegistrationError
        If the result is worse than the start.
    """
    pair = make_pair(seed)
    (folder / "input").mkdir(parents=True, exist_ok=True)
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        image = getattr(pair, name)
        save_image(
            folder / "input" / f"{name}.nii.gz", image.data, image, labels=name.endswith("labels")
        )
    result = register(
        fixed=folder / "input" / "fixed.nii.gz",
        moving=folder / "input" / "moving.nii.gz",
        fixed_labels=folder / "input" / "fixed_labels.nii.gz",
        moving_labels=folder / "input" / "moving_labels.nii.gz",
        progress=progress,
        **options,
    )
    result.save(folder, overwrite=True, page=report)
    return result, score(pair, result.transform)


def score(pair: PhantomPair, transform: PointMap) -> DemoScore:
    """Compare a transform with the truth.

    Parameters
    ----------
    pair : PhantomPair
        The pair and its known warp.
    transform : PointMap
        World coordinates of the fixed image -> world coordinates of the moving image.

    Returns
    -------
    DemoScore
        Dice by structure (labels by nearest neighbour) and the error at landmarks, for the headers
        alone and for the transform.
    """
    overlap, errors = [], []
    truth = pair.true_map(pair.landmarks)
    for step in (Affine(), transform):
        overlap.append(
            dice(
                carry(pair.moving_labels, pair.fixed_labels, step, "nearest").data,
                pair.fixed_labels.data,
            )
        )
        errors.append(np.linalg.norm(step(pair.landmarks) - truth, axis=1))
    before, after = (o.per_label for o in overlap)
    return DemoScore(
        {
            name: (before.get(label, 0.0), after.get(label, 0.0))
            for label, name in pair.structures.items()
        },
        (float(errors[0].mean()), float(errors[1].mean())),
        (float(np.percentile(errors[0], 95)), float(np.percentile(errors[1], 95))),
    )
