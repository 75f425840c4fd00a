"""The memory that readers of images take, in bytes a voxel, above what the process had before.

python speed/reader_memory.py --size 192
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from fuzz import peak_mb


def write(folder: Path, size: int) -> list[Path]:
    """One image in each format."""
    import nibabel as nib
    import SimpleITK as sitk
    from fuzz_samples import save_dicom

    from sacbnet.io.images import save_image
    from sacbnet.spatial.grid import Grid

    values = np.random.default_rng(0).integers(0, 2000, (size,) * 3).astype(np.int16)
    grid = Grid(values.shape, np.eye(4))
    files = [folder / f"image{suffix}" for suffix in (".nii", ".nii.gz", ".mgz", ".nrrd", ".mha")]
    for file in files:
        save_image(file, values, grid)
    scaled = nib.Nifti1Image(values, np.eye(4))
    scaled.header.set_slope_inter(0.5, -3)
    nib.save(scaled, folder / "scaled.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(values), str(folder / "packed.nrrd"), True)
    (folder / "series").mkdir()
    for n in range(size):
        save_dicom(
            folder / "series" / f"{n:04d}.dcm",
            values[n].astype(np.uint16),
            SOPInstanceUID=f"1.2.3.{n}",
            ImagePositionPatient=[0, 0, n if n < size // 2 else n + 1],  # with a gap
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[1, 1],
            RescaleSlope=1 + n / 100,
            RescaleIntercept=0,
        )
    return [*files, folder / "scaled.nii.gz", folder / "packed.nrrd", folder / "series"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=192, help="voxels along each axis")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        from sacbnet.io.images import load_image

        if given.read.is_dir():
            import sacbnet.io.dicom_voxels  # noqa: F401
        before = peak_mb(reset=True)
        voxels = load_image(given.read).data.size
        print(f"{given.read.name:15} {(peak_mb() - before) * 2**20 / voxels:6.1f} bytes a voxel")
        return
    with tempfile.TemporaryDirectory() as place:
        for file in write(Path(place), given.size):
            subprocess.run([sys.executable, __file__, "--read", str(file)], check=True)


if __name__ == "__main__":
    main()
