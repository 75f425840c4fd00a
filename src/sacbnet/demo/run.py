"""The demo: register the phantom pair and compare with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sacbnet.data.phantom import PhantomPair, make_pair
from sacbnet.imaging.resampling import carry
from sacbnet.io.images import save_image
from sacbnet.metrics.overlap import dice
from sacbnet.registration.registrar import Progress, register
from sacbnet.registration.result import Registration
from sacbnet.spatial.transforms import Affine, PointMap


@dataclass(frozen=True)
class DemoScore:
    """dice: per structure, before (headers alone) and after. error_mm: mean distance of landmarks from the truth."""

    dice: dict[str, tuple[float, float]]
    error_mm: tuple[float, float]
    error_p95_mm: tuple[float, float]

    @property
    def mean_dice(self) -> tuple[float, float]:
        before, after = zip(*self.dice.values(), strict=True)
        return float(np.mean(before)), float(np.mean(after))


def run_demo(
    folder: Path, seed: int = 0, progress: Progress | None = None, **options: Any
) -> tuple[Registration, DemoScore]:
    """Make the pair, write it to folder/input, register it into `folder`, and score it against the known warp."""
    pair = make_pair(seed)
    (folder / "input").mkdir(parents=True, exist_ok=True)
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        image = getattr(pair, name)
        save_image(
            folder / "input" / f"{name}.nii.gz", image.data, image, labels=name.endswith("labels")
        )
    result = register(
        folder / "input" / "fixed.nii.gz",
        folder / "input" / "moving.nii.gz",
        fixed_labels=folder / "input" / "fixed_labels.nii.gz",
        moving_labels=folder / "input" / "moving_labels.nii.gz",
        progress=progress,
        **options,
    )
    result.save(folder)
    return result, score(pair, result.transform)


def score(pair: PhantomPair, transform: PointMap) -> DemoScore:
    """Dice per structure (labels by nearest) and landmark error, for the headers alone and for the transform."""
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
