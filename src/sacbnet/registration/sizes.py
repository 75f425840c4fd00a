"""How large a body is that an image shows: it decides the unit of a pair and the network's spacing.

Spacings, steps and tolerances of the engine are in millimetres of a human body. A mouse, a section
under a microscope, or a header in metres is worked in a unit in which the body has the size of a
human's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sacbnet.config.choices import AffineKind
from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.imaging.scaling import scaling_of

from .inputs import Inputs
from .units import Units

HUMAN_BODY, HUMAN_VOXEL = 200.0, 1.2  # mm: between a head and a trunk, and a voxel of their scans
# a body of few voxels is a crop: its size says little, and only its voxels count
_FEW_ACROSS, _CROP_VOXEL = 40, 1.6  # voxels; mm: 0.5 to 5 mm are taken as they are
_VOXELS_ACROSS = 128  # of a training image: the body of weights from their spacing
_FEWEST_ACROSS = 70  # voxels along a body: below, a network is far less exact
_MOST_ACROSS = 256  # above, a network sees less of the body than ever in its training
_FINER = 0.6  # of the finest spacing of an image: no finer for a body of so many voxels
_APART, _VOXELS_APART = 0.75, 0.4  # decades: sizes of two images that cannot both be right
_SIDE = 96  # voxels along each axis that are looked at
_BALL = (6 / np.pi) ** (1 / 3)  # diameter of a ball of volume 1


@dataclass(frozen=True)
class Size:
    """How large a body is, and its voxels.

    Parameters
    ----------
    body : float
        Diameter of a ball of the body's volume, mm.
    voxel : float
        Side of a cube of a voxel's volume, mm.
    length : float, default 0
        Length of the body: of an ellipsoid with the body's largest variance, mm.
    """

    body: float
    voxel: float
    length: float = 0.0

    @classmethod
    def of(cls, image: Image) -> Size:
        """Measure what an image shows.

        Parameters
        ----------
        image : Image
            The image.

        Returns
        -------
        Size
            Its body and its voxels.
        """
        step = tuple(slice(None, None, max(1, n // _SIDE)) for n in image.data.shape)
        some = image.data[step]
        missing = None if image.missing is None else image.missing[step]
        shown = scaling_of(some, missing).foreground(some, 0.1)
        voxel = image.grid.voxel_volume ** (1 / 3)
        body = _BALL * voxel * (shown.mean() * image.data.size) ** (1 / 3)
        points = (np.argwhere(shown) * [s.step or 1 for s in step]) @ image.grid.affine[:3, :3].T
        variance = np.linalg.eigvalsh(np.cov(points.T))[-1] if len(points) > 1 else 0.0
        return cls(float(body), float(voxel), float(2 * np.sqrt(5 * variance)))

    @property
    def decade(self) -> int:
        """The power of ten of the unit in which this body has the size of a human's, to 1 mm."""
        # Ten times the body and its voxels give one more, whatever they are: so the same pair in
        # another unit is worked with the same numbers.
        if self.body < _FEW_ACROSS * self.voxel:
            return round(float(np.log10(self.voxel / _CROP_VOXEL)))
        body, voxel = np.log10(self.body / HUMAN_BODY), np.log10(self.voxel / HUMAN_VOXEL)
        return min(range(-12, 13), key=lambda k: (2 * abs(body - k) + abs(voxel - k), abs(k)))


def units_of(inputs: Inputs, affine: AffineKind) -> tuple[Units, str | None]:
    """Choose the units of a pair by the sizes of what the images show.

    Parameters
    ----------
    inputs : Inputs
        The images, in mm.
    affine : {"none", "rigid", "affine"}
        Alignment before the network.

    Returns
    -------
    units : Units
        The units.
    warning : str or None
        A sentence if the sizes of the two images differ about tenfold or more.

    Raises
    ------
    InputError
        If the sizes differ so much, and the alignment is rigid.
    """
    f, m = Size.of(inputs.fixed), Size.of(inputs.moving)
    both = Size(float(np.sqrt(f.body * m.body)), float(np.sqrt(f.voxel * m.voxel))).decade
    body, voxel = np.log10(m.body / f.body), np.log10(m.voxel / f.voxel)
    if abs(body) < _APART or np.sign(body) * voxel < _VOXELS_APART:
        return Units(both, both, f.length), None
    differ = (
        f"the fixed image shows {f.body:.3g} mm and the moving image {m.body:.3g} mm, with voxels"
        f" of {f.voxel:.2g} and {m.voxel:.2g} mm: the voxel size in one header is probably wrong"
    )
    if affine == "none":
        return Units(both, both, f.length), differ
    if affine == "rigid":
        raise InputError(f"{differ}; correct it, or give --affine affine")
    ratio = round(float(body))
    return Units(
        f.decade, f.decade + ratio, f.length
    ), f"{differ}; a scale of 1e{ratio} was applied"


def network_spacing(trained: float, units: Units, finest: float) -> float:
    """Find the spacing at which a body has about as many voxels as those of the training.

    Parameters
    ----------
    trained : float
        Spacing of the training images, mm.
    units : Units
        Units of the pair.
    finest : float
        Finest spacing of the fixed image, in its unit.

    Returns
    -------
    float
        The spacing, in the unit of the fixed image. A body far shorter than those of the training
        gets a half or a quarter, down to what the image itself resolves; a body far longer gets the
        double or more, up to what the image resolves.
    """
    decade = Size(_VOXELS_ACROSS * trained, trained).decade
    spacing = trained / 10.0**decade if decade >= 0 else trained * 10.0**-decade
    if units.length_mm is None:
        return spacing
    length = units.length_mm / units.fixed_mm
    for _ in range(2):
        if length < _FEWEST_ACROSS * spacing and spacing / 2 > 0.9 * finest:
            spacing /= 2
    while length > _MOST_ACROSS * spacing and spacing < _FINER * finest:
        spacing *= 2
    return spacing
