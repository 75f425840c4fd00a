"""The images of one registration, read and checked against each other."""

from __future__ import annotations

from dataclasses import dataclass

from sacbnet.errors import GridError
from sacbnet.imaging.canonical import canonical
from sacbnet.imaging.image import Image
from sacbnet.io.images import ImageSource, load_image
from sacbnet.io.voxels import Kind


@dataclass(frozen=True)
class Inputs:
    """The images of one registration, read and checked against each other."""

    fixed: Image
    moving: Image
    fixed_mask: Image | None = None
    moving_mask: Image | None = None
    fixed_labels: Image | None = None
    moving_labels: Image | None = None

    def canonical(self) -> Inputs:
        """The same voxels, all stored with their axes towards R, A and S.

        In which order a file stores them must not matter, not even to the rounding: the optimisers would enlarge it.
        """
        return Inputs(*(None if i is None else canonical(i) for i in vars(self).values()))  # type: ignore[arg-type]


def read_inputs(
    fixed: ImageSource,
    moving: ImageSource,
    fixed_mask: ImageSource | None = None,
    moving_mask: ImageSource | None = None,
    fixed_labels: ImageSource | None = None,
    moving_labels: ImageSource | None = None,
) -> Inputs:
    """Read and check; GridError where a mask or label map does not lie on its image's grid."""
    f, m = load_image(fixed), load_image(moving)

    def companion(source: ImageSource | None, kind: Kind, image: Image, what: str) -> Image | None:
        if source is None:
            return None
        found = load_image(source, kind)
        if not found.grid.matches(image.grid, tolerance_mm=0.01 * float(image.grid.spacing.min())):
            raise GridError(
                f"the {what} {found.name} lies on another grid (shape {found.grid.shape}) than its image {image.name}"
                f" (shape {image.grid.shape}); resample it onto the image first"
            )
        return found

    return Inputs(
        f,
        m,
        companion(fixed_mask, "mask", f, "fixed mask"),
        companion(moving_mask, "mask", m, "moving mask"),
        companion(fixed_labels, "labels", f, "fixed label map"),
        companion(moving_labels, "labels", m, "moving label map"),
    )
