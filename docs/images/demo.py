"""Draw demo.png, the picture on the first page, from the demo's own files.

sacbnet demo --out demo-out
python docs/images/demo.py demo-out docs/images/demo.png
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

from sacbnet import load_image
from sacbnet.imaging.resampling import carry
from sacbnet.spatial.transforms import Affine

folder, target = Path(sys.argv[1]), Path(sys.argv[2])
fixed = load_image(folder / "input" / "fixed.nii.gz")
moving = load_image(folder / "input" / "moving.nii.gz")
labels = np.asarray(nib.load(folder / "input" / "fixed_labels.nii.gz").dataobj)
moved = np.asarray(nib.load(folder / "moved.nii.gz").dataobj)
before = carry(moving, fixed, Affine(), "linear").data  # the headers alone
to_ras = nib.io_orientation(fixed.grid.affine)


def coronal(volume):
    """One slice through the thalamus, the patient's right on the left, head up."""
    upright = nib.apply_orientation(volume, to_ras)
    inside = nib.apply_orientation(np.isin(labels, (7, 8)), to_ras)  # left and right thalamus
    return upright[::-1, int(np.median(np.nonzero(inside)[1]))].T


slices = {
    "fixed": coronal(fixed.data),
    "moving, before": coronal(before),
    "moved (moving, after)": coronal(moved),
}
edges = coronal(labels)
regions = [edges > 0, edges > 2, edges > 3, *(edges == label for label in range(6, 15))]
height, width = edges.shape
figure, axes = plt.subplots(1, 3, figsize=(9, 3 * height / width + 0.35), facecolor="black")
for axis, (title, picture) in zip(axes, slices.items(), strict=True):
    axis.imshow(
        picture,
        cmap="gray",
        origin="lower",
        vmin=0,
        vmax=np.percentile(picture, 99.7),
        interpolation="bilinear",
    )
    for region in regions:
        axis.contour(region, levels=[0.5], colors="#ffb000", linewidths=0.8)
    axis.set_title(title, color="white", fontsize=11)
    axis.set_axis_off()
figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=0.91, wspace=0.01)
figure.savefig(target, dpi=100, facecolor="black")
