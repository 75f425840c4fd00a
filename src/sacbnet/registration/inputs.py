"""The images of one registration, read and checked against each other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from sacbnet.errors import GridError, InputError
from sacbnet.imaging.canonical import canonical
from sacbnet.imaging.image import Image
from sacbnet.io.images import ImageSource, load_image
from sacbnet.io.voxels import Kind
from sacbnet.spatial.apart import apart
from sacbnet.spatial.composition import AnyTransform

from .landmarks import Landmarks, PointSource, read_landmarks
from .report import ImageFacts

LEAST_SIDE = 8  # voxels along two axes; a scan may have few slices
# the voxels lie in another file, or in further files of the series
_IN_SEVERAL_FILES = (".hdr", ".img", ".hdr.gz", ".img.gz", ".mhd", ".nhdr", ".dcm")


@dataclass(frozen=True)
class Inputs:
    """The images of one registration.

    Parameters
    ----------
    fixed, moving : Image
        The two images.
    fixed_mask, moving_mask : Image or None, default None
        Where the images count, on their image's grid.
    fixed_labels, moving_labels : Image or None, default None
        Label maps, on their image's grid.
    landmarks : Landmarks or None, default None
        The same places in both images.
    contrasts : tuple of (Image, Image), default ()
        Further contrasts (fixed, moving), each on its image's grid.
    initial : Affine, DisplacementField, Chain or None, default None
        A transform from which the registration starts, fixed -> moving.
    """

    fixed: Image
    moving: Image
    fixed_mask: Image | None = None
    moving_mask: Image | None = None
    fixed_labels: Image | None = None
    moving_labels: Image | None = None
    landmarks: Landmarks | None = None
    contrasts: tuple[tuple[Image, Image], ...] = ()
    initial: AnyTransform | None = None

    def check_size(self) -> None:
        """Check that both images have enough voxels to be compared.

        Raises
        ------
        InputError
            If an image has fewer than 8 voxels along two of its axes.
        """
        for image in (self.fixed, self.moving):
            if sorted(image.grid.shape)[1] < LEAST_SIDE:
                shape = " × ".join(map(str, image.grid.shape))
                raise InputError(
                    f"{image.name} has {shape} voxels, which is too small to register; at least"
                    f" {LEAST_SIDE} along two axes were expected"
                )

    def canonical(self) -> Inputs:
        """Store all voxels with their axes towards R, A and S.

        The order in which a file stores its voxels must not matter, not even to the rounding: the
        optimisers would enlarge it.

        Returns
        -------
        Inputs
            The same voxels.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        images = {name: canonical(x) for name, x in values.items() if isinstance(x, Image)}
        contrasts = tuple((canonical(f), canonical(m)) for f, m in self.contrasts)
        return replace(self, contrasts=contrasts, **images)  # type: ignore[arg-type]


def read_inputs(
    *,
    fixed: ImageSource,
    moving: ImageSource,
    fixed_mask: ImageSource | None = None,
    moving_mask: ImageSource | None = None,
    fixed_labels: ImageSource | None = None,
    moving_labels: ImageSource | None = None,
    fixed_points: PointSource | None = None,
    moving_points: PointSource | None = None,
    fixed_contrasts: Sequence[ImageSource] = (),
    moving_contrasts: Sequence[ImageSource] = (),
) -> Inputs:
    """Read the images of one registration.

    Parameters
    ----------
    fixed, moving : ImageSource
        The images: paths, nibabel or SimpleITK images, or pairs (array (i, j, k), affine to mm
        RAS).
    fixed_mask, moving_mask : ImageSource or None, default None
        Masks; inside is where they are not 0.
    fixed_labels, moving_labels : ImageSource or None, default None
        Label maps.
    fixed_points, moving_points : PointSource or None, default None
        Landmarks: files, or coordinates (n, 3) in mm RAS.
    fixed_contrasts, moving_contrasts : sequence of ImageSource, default ()
        Further contrasts of the two images, in one order.

    Returns
    -------
    Inputs
        The images.

    Raises
    ------
    InputError
        If an image or landmarks cannot be read or used, or if only one image has landmarks or
        further contrasts.
    GridError
        If a mask, a label map or a further contrast does not lie on its image's grid.
    """
    if len(fixed_contrasts) != len(moving_contrasts):
        raise InputError(
            f"there are {len(fixed_contrasts)} further contrasts of the fixed and"
            f" {len(moving_contrasts)} of the moving image; give the same contrasts of both, in one"
            " order"
        )
    f, m = load_image(fixed), load_image(moving)

    def companion(source: ImageSource | None, kind: Kind, image: Image, what: str) -> Image | None:
        if source is None:
            return None
        found = load_image(source, kind)
        if not found.grid.matches(image.grid, tolerance_mm=0.01 * float(image.grid.spacing.min())):
            raise GridError(
                f"the {what} {found.name} lies on another grid than its image {image.name}:"
                f" {apart(found.grid, image.grid)}; resample it onto the image first"
            )
        return found

    def contrast(source: ImageSource, image: Image, what: str) -> Image:
        found = companion(source, "image", image, what)
        assert found is not None
        return replace(found, grid=image.grid)  # the two may differ by their rounding

    contrasts = tuple(
        (contrast(of_fixed, f, "fixed contrast"), contrast(of_moving, m, "moving contrast"))
        for of_fixed, of_moving in zip(fixed_contrasts, moving_contrasts, strict=True)
    )
    return Inputs(
        f,
        m,
        companion(fixed_mask, "mask", f, "fixed mask"),
        companion(moving_mask, "mask", m, "moving mask"),
        companion(fixed_labels, "labels", f, "fixed label map"),
        companion(moving_labels, "labels", m, "moving label map"),
        _landmarks(fixed_points, moving_points),
        contrasts,
    )


def _landmarks(fixed: PointSource | None, moving: PointSource | None) -> Landmarks | None:
    if fixed is None and moving is None:
        return None
    if fixed is None or moving is None:
        given = "moving" if fixed is None else "fixed"
        raise InputError(f"only the {given} image has landmarks; give those of both images")
    return read_landmarks(fixed=fixed, moving=moving)


def hash_of(source: ImageSource, image: Image | None = None, kind: Kind = "image") -> str:
    """Hash an input, so that its result can be told from that of another image.

    Parameters
    ----------
    source : ImageSource
        Where the image came from.
    image : Image or None, default None
        The image as it was read. None: it is read here if its voxels are needed.
    kind : {"image", "labels", "mask"}, default "image"
        What the source holds, where it is read here.

    Returns
    -------
    str
        sha256, hexadecimal: of a file's bytes; of the voxels and the affine of an array, of a DICOM
        folder or series, and of an image whose header and voxels are two files.

    Raises
    ------
    InputError
        If the source must be read here, and cannot be.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.is_file() and not path.name.lower().endswith(_IN_SEVERAL_FILES):
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    if image is None:
        image = load_image(source, kind)
    digest = hashlib.sha256(np.ascontiguousarray(image.data).tobytes())
    digest.update(np.ascontiguousarray(image.grid.affine).tobytes())
    return digest.hexdigest()


def image_facts(source: ImageSource, image: Image) -> ImageFacts:
    """Describe an input for the account of a run.

    Parameters
    ----------
    source : ImageSource
        Where the image came from.
    image : Image
        The image as it was read.

    Returns
    -------
    ImageFacts
        Name, grid and hash.
    """
    grid = image.grid
    return ImageFacts(
        name=image.name,
        shape=grid.shape,
        spacing_mm=tuple(round(float(s), 6) for s in grid.spacing),  # type: ignore[arg-type]
        affine_ras=tuple(tuple(row) for row in grid.affine.tolist()),
        sha256=hash_of(source, image),
    )
