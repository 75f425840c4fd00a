"""Apply the files of a finished registration by SimpleITK and by ANTs, and compare with ours.

    python speed/interop.py RESULT --fixed FIXED --moving MOVING

RESULT is the output folder of `sacbnet register`. Two numbers are printed, for the field of view:
the voxels of the fixed image that the transform maps at least one voxel inside the moving image.
The first number is the largest difference of the moved images, as a share of the moving image's
intensity range. The second is the mean distance by which the written inverse misses. The exit code
is not zero beyond 1e-3 or 0.1 mm. ANTs is left out where antspyx is not installed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

import sacbnet
from sacbnet.spatial.grid import slabs


def moved_by_itk(result: Path, fixed: Path, moving: Path) -> np.ndarray:
    field = sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(result / "transform.nii.gz"), sitk.sitkVectorFloat64)
    )
    like, image = sitk.ReadImage(str(fixed)), sitk.ReadImage(str(moving), sitk.sitkFloat32)
    return sitk.GetArrayFromImage(sitk.Resample(image, like, field, sitk.sitkLinear)).transpose(
        2, 1, 0
    )


def moved_by_ants(result: Path, fixed: Path, moving: Path) -> np.ndarray | None:
    try:
        import ants
    except ImportError:
        return None
    images = [ants.image_read(str(path)) for path in (fixed, moving)]
    return ants.apply_transforms(
        *images, [str(result / "transform.nii.gz")], interpolator="linear"
    ).numpy()


def inverse_error_by_itk(result: Path, points_ras: np.ndarray) -> float:
    """Mean |inverse(transform(p)) - p| in mm, both files through SimpleITK."""
    there, back = (
        sitk.DisplacementFieldTransform(sitk.ReadImage(str(result / name), sitk.sitkVectorFloat64))
        for name in ("transform.nii.gz", "inverse_transform.nii.gz")
    )
    lps = points_ras * [-1, -1, 1]
    returned = np.array([back.TransformPoint(there.TransformPoint(p)) for p in lps.tolist()])
    return float(np.linalg.norm(returned - lps, axis=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path, help="output folder of `sacbnet register`")
    parser.add_argument("--fixed", type=Path, required=True, help="the fixed image of that run")
    parser.add_argument("--moving", type=Path, required=True, help="the moving image of that run")
    a = parser.parse_args()
    fixed, moving = sacbnet.load_image(a.fixed), sacbnet.load_image(a.moving)
    transform = sacbnet.load_transform(a.result / "transform.nii.gz")
    ours = sacbnet.load_image(a.result / "moved.nii.gz").data
    inside = np.concatenate(
        [moving.grid.contains(transform(p), margin_voxels=-1.0) for _, p in slabs(fixed.grid)]
    )
    span = float(np.ptp(moving.data))
    failed = False
    for name, theirs in (("SimpleITK", moved_by_itk), ("ANTs", moved_by_ants)):
        other = theirs(a.result, a.fixed, a.moving)
        if other is None:
            print(f"{name}: not installed")
            continue
        difference = float(np.abs(other - ours)[inside].max()) / span
        failed |= difference > 1e-3
        print(
            f"{name}: largest difference of the moved image {difference:.2e} of the intensity range"
        )
    index = np.argwhere(inside)[:: max(1, int(inside.sum()) // 50_000)]
    error = inverse_error_by_itk(a.result, fixed.grid.world(index))
    print(f"inverse: returns points within {error:.4f} mm on average ({len(index)} points)")
    sys.exit(int(failed or error > 0.1))


if __name__ == "__main__":
    main()
