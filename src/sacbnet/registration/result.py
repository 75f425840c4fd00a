"""What a registration returns, and how it is written: all files, or none."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sacbnet.files import staged_folder
from sacbnet.imaging.image import Image
from sacbnet.io.images import save_image
from sacbnet.io.transforms import save_affine, save_displacement
from sacbnet.spatial.transforms import Affine, DisplacementField

MOVED, MOVED_LABELS = "moved.nii.gz", "moved_labels.nii.gz"
TRANSFORM, INVERSE, AFFINE = "transform.nii.gz", "inverse_transform.nii.gz", "affine.mat"
RUN = "run.json"
CLUSTERS, UNCERTAINTY = "clusters_{side}_level{level}.nii.gz", "uncertainty_mm.nii.gz"
MAPS = (
    *(CLUSTERS.format(side=s, level=n) for s in ("fixed", "moving") for n in (2, 3, 4, 5)),
    UNCERTAINTY,
)
FILES = (MOVED, MOVED_LABELS, TRANSFORM, INVERSE, AFFINE, RUN)


@dataclass(frozen=True, eq=False)
class Registration:
    """Two images, registered.

    moved: the moving image on the fixed image's grid, interpolated once. moved_labels: likewise, by nearest
    neighbour. transform: world mm of the fixed -> world mm of the moving image, on the fixed grid, affine included.
    inverse: moving -> fixed, on the moving image's lattice, extended to all that the transform reaches. affine: the
    affine part alone. report: what run.json holds. maps: what was asked for beside it, by file name (`regions.maps`).
    """

    moved: Image
    transform: DisplacementField
    inverse: DisplacementField
    affine: Affine
    moved_labels: Image | None = None
    report: dict[str, Any] = field(default_factory=dict, repr=False)
    maps: dict[str, Image] = field(default_factory=dict, repr=False)

    def save(self, folder: str | Path) -> dict[str, Path]:
        """Write everything into `folder` (made where absent) and return the paths by file name.

        moved.nii.gz, moved_labels.nii.gz (where labels were given), transform.nii.gz, inverse_transform.nii.gz,
        affine.mat (ITK, LPS, mm), the maps and run.json. All appear at once at the end; on any error none does, and
        OutputError says why. Files of an earlier run of these names are replaced or removed.
        """
        folder = Path(folder)
        with staged_folder(folder, stale=(*FILES, *MAPS)) as stage:
            # compressing takes longer than a network, and lets other threads run
            with ThreadPoolExecutor() as pool:
                files = [
                    pool.submit(save_displacement, stage / TRANSFORM, self.transform),
                    pool.submit(save_displacement, stage / INVERSE, self.inverse),
                    pool.submit(save_image, stage / MOVED, self.moved.data, self.moved),
                ]
                if self.moved_labels is not None:
                    labels = self.moved_labels
                    files.append(
                        pool.submit(
                            save_image, stage / MOVED_LABELS, labels.data, labels, labels=True
                        )
                    )
                for name, image in self.maps.items():
                    is_labels = np.issubdtype(image.data.dtype, np.integer)
                    files.append(
                        pool.submit(save_image, stage / name, image.data, image, labels=is_labels)
                    )
            for file in files:
                file.result()
            save_affine(stage / AFFINE, self.affine)
            (stage / RUN).write_text(json.dumps(self.report, indent=2) + "\n", encoding="utf-8")
            written = [path.name for path in stage.iterdir()]
        return {name: folder / name for name in (*FILES, *MAPS) if name in written}
