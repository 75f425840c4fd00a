"""Transforms as DICOM objects: Spatial Registration and Deformable Spatial Registration.

Both connect the frame of reference of the moving image (the source) with that of the fixed image
(the registered one), and they point in opposite directions:

- The matrix of a Spatial Registration maps points of the source to points of the registered frame
  (PS3.3 C.20.2.1.1), moving to fixed: the inverse of the transform.
- A Deformable Spatial Registration maps points of the registered frame to points of the source
  (PS3.3 C.20.3.1.1), fixed to moving: ``source = Post(Pre(p) + D(p))``. Here both matrices are the
  identity, and D is the whole displacement, affine included. The standard can be read in two ways
  as to where D lies if Pre is another matrix.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeformableSpatialRegistrationStorage, SpatialRegistrationStorage

from sacbnet.spatial.transforms import Affine, DisplacementField

from .dicom_derived import Derived, decimals, plane
from .dicom_source import references
from .headers import LPS

_RIGID = 1e-4  # how far a matrix may be from a rotation, as rounding makes it
_SAME_MM = 1e-2  # a transform that differs less from its affine part is that affine


def registration_object(
    derived: Derived, transform: DisplacementField, affine: Affine, series: str
) -> Dataset:
    """Make the object that connects the frames of reference of two images.

    Parameters
    ----------
    derived : Derived
        The two series.
    transform : DisplacementField
        The transform, fixed to moving, mm (RAS).
    affine : Affine
        Its affine part.
    series : str
        SeriesInstanceUID of the object.

    Returns
    -------
    Dataset
        A Spatial Registration if the transform is its affine part, else a Deformable Spatial
        Registration.
    """
    linear = is_affine(transform, affine)
    kind = SpatialRegistrationStorage if linear else DeformableSpatialRegistrationStorage
    out = derived.dataset(str(kind), derived.uid("registration"), series, "REG")
    out.SeriesNumber, out.InstanceNumber = 2, 1
    out.ContentDate, out.ContentTime = derived.dates()
    out.ContentLabel = "REGISTRATION"
    out.ContentDescription = "moving image to fixed image"
    out.ContentCreatorName = ""
    out.SeriesDescription = "registration"
    if linear:
        back = affine.inverse.matrix
        out.RegistrationSequence = Sequence(
            [_linear(derived, np.eye(4), fixed=True), _linear(derived, back, fixed=False)]
        )
    else:
        out.DeformableRegistrationSequence = Sequence([_deformable(derived, transform)])
    derived.refer(out, fixed=linear, moving=derived.moving.slices)
    return out


def is_affine(transform: DisplacementField, affine: Affine) -> bool:
    """Say whether a transform is its affine part.

    Parameters
    ----------
    transform : DisplacementField
        The transform.
    affine : Affine
        Its affine part.

    Returns
    -------
    bool
        True if they differ by less than 0.01 mm at every voxel.
    """
    grid = transform.grid
    steps = np.stack(np.meshgrid(*map(np.arange, grid.shape[:2]), indexing="ij"), axis=-1)
    for k in range(grid.shape[2]):
        points = grid.world(np.concatenate([steps, np.full((*steps.shape[:2], 1), k)], axis=-1))
        rest = points + transform.displacement_mm[:, :, k] - affine(points)
        if np.abs(rest).max() > _SAME_MM:
            return False
    return True


def _linear(derived: Derived, matrix: NDArray[np.float64], fixed: bool) -> Dataset:
    """The item of one image: its frame of reference to that of the fixed image."""
    source = derived.fixed if fixed else derived.moving
    out = Dataset()
    out.FrameOfReferenceUID = source.frame_of_reference
    out.ReferencedImageSequence = references(source.slices)
    registration = Dataset()
    registration.FrameOfReferenceTransformationComment = "" if fixed else derived.method[:64]
    registration.RegistrationTypeCodeSequence = Sequence([])
    registration.MatrixSequence = Sequence([_matrix(LPS @ matrix @ LPS)])
    out.MatrixRegistrationSequence = Sequence([registration])
    return out


def _matrix(matrix: NDArray[np.float64]) -> Dataset:
    out = Dataset()
    linear = matrix[:3, :3]
    product = linear.T @ linear
    kind = "AFFINE"
    if np.linalg.det(linear) > 0 and np.abs(product - np.eye(3)).max() < _RIGID:
        kind = "RIGID"
    out.FrameOfReferenceTransformationMatrixType = kind
    out.FrameOfReferenceTransformationMatrix = decimals(matrix)
    return out


def _deformable(derived: Derived, transform: DisplacementField) -> Dataset:
    out = Dataset()
    out.SourceFrameOfReferenceUID = derived.moving.frame_of_reference
    out.ReferencedImageSequence = references(derived.moving.slices)
    out.FrameOfReferenceTransformationComment = derived.method[:64]
    out.RegistrationTypeCodeSequence = Sequence([])
    out.PreDeformationMatrixRegistrationSequence = Sequence([_matrix(np.eye(4))])
    out.PostDeformationMatrixRegistrationSequence = Sequence([_matrix(np.eye(4))])
    out.DeformableRegistrationGridSequence = Sequence([_grid(transform)])
    return out


def _grid(transform: DisplacementField) -> Dataset:
    """The displacement; the grid's third axis must be the cross product of the first two."""
    affine, _ = plane(transform.grid)
    vectors = transform.displacement_mm
    if np.linalg.det(affine[:3, :3]) < 0:
        vectors = vectors[:, :, ::-1]
        affine[:3, 3] += affine[:3, 2] * (vectors.shape[2] - 1)
    out = Dataset()
    out.ImagePositionPatient = decimals(affine[:3, 3])
    out.ImageOrientationPatient = decimals((affine[:3, :2] / transform.grid.spacing[:2]).T)
    out.GridDimensions = list(transform.grid.shape)
    out.GridResolution = [float(s) for s in transform.grid.spacing]
    lps = vectors * np.array([-1, -1, 1], np.float32) + np.float32(0)
    # the first axis runs fastest, the three components of a vector lie together
    out.VectorGridData = np.ascontiguousarray(lps.transpose(2, 1, 0, 3), dtype="<f4").tobytes()
    return out
