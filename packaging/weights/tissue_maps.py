"""Make label maps of tissues from CT images: training data for weights that have seen no scanner.

    python packaging/weights/tissue_maps.py IMAGES LABELS OUT

IMAGES and LABELS are folders of NIfTI files with the same names: CT in Hounsfield units, and the
labels of organs, below 100. OUT gets a label map for each image: the organs keep their values, and
each other voxel of the body gets the value of its tissue. `sacbnet train shapes-3mm --data OUT`
paints pictures of them in random contrasts.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

AIR, FAT, SOFT, DENSE, BONE = 101, 102, 103, 104, 105
# Hounsfield units at which a tissue begins. Dense tissue is muscle with contrast medium, glands,
# cartilage and the border of bone.
BEGINS = ((-2000, AIR), (-300, FAT), (-25, SOFT), (100, DENSE), (250, BONE))
SMOOTH = 0.7  # voxels: noise of the image must not be a tissue of its own


def tissues(ct: NDArray[np.float32], organs: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give each voxel of the body its organ, or else its tissue.

    Parameters
    ----------
    ct : ndarray, shape (i, j, k)
        Hounsfield units.
    organs : ndarray, shape (i, j, k)
        Labels below 100; 0 is no organ.

    Returns
    -------
    ndarray of int32, shape (i, j, k)
        Labels; 0 outside the body.
    """
    smooth = ndimage.gaussian_filter(ct, SMOOTH)
    parts, _ = ndimage.label(ndimage.binary_opening(smooth > -300, iterations=1))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    body = parts == sizes.argmax()  # without the table and the mask of the head
    body = ndimage.binary_closing(body, iterations=3)
    body = np.stack([ndimage.binary_fill_holes(s) for s in np.moveaxis(body, 2, 0)], 2)
    found = np.zeros(ct.shape, np.int32)
    for begins, value in BEGINS:
        found[smooth >= begins] = value
    found = np.where(body, found, 0)
    # bone in an organ's contour (the mandible's teeth) is the organ
    return np.where((organs > 0) & (organs < 100), organs, found).astype(np.int32)


def main(images: Path, labels: Path, out: Path) -> None:
    """Write the maps of all images."""
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(images.glob("*.nii.gz")):
        image = nib.load(path)
        organs = np.asanyarray(nib.load(labels / path.name).dataobj).astype(np.int32)
        found = tissues(np.asarray(image.dataobj, np.float32), organs)
        nib.save(nib.Nifti1Image(found.astype(np.uint8), image.affine), out / path.name)
        shares = {v: round(100 * float((found == v).mean()), 1) for v in np.unique(found)}
        print(path.name, shares, flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
