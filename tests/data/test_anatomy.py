"""Label maps without images: aligned by their labels, packed, and the shapes made of noise."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from sacbnet.data.anatomy import MeanAnatomy, noise_map
from sacbnet.data.cases import Case
from sacbnet.data.pack import PackOptions
from sacbnet.data.packing import build_pack
from sacbnet.errors import InputError
from sacbnet.io.images import save_image
from sacbnet.spatial.grid import Grid

SHAPE = (40, 48, 40)


def head(turn=(0.0, 0.0, 0.0), scale=1.0, shift=(0.0, 0.0, 0.0), neck=30) -> np.ndarray:
    """Eight balls around the middle and a large neck (9) below, turned, scaled and shifted (mm)."""
    linear = Rotation.from_rotvec(np.deg2rad(turn)).as_matrix() * scale
    points = np.indices(SHAPE).reshape(3, -1).T - (np.array(SHAPE) - 1) / 2
    own = (points - shift) @ np.linalg.inv(linear).T
    labels = np.zeros(len(points), np.int16)
    for n in range(8):
        centre = [6 if n & 1 else -7, (7 if n & 2 else -9) + n % 3, 6 if n & 4 else -5]
        labels[np.square(own - centre).sum(1) < (3 + n / 4) ** 2] = n + 1
    labels[(np.abs(own[:, 0]) < 9) & (own[:, 2] < -12) & (own[:, 2] > -neck)] = 9
    return labels.reshape(SHAPE)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Mean Dice of the balls."""
    return float(
        np.mean(
            [2 * np.sum((a == n) & (b == n)) / np.sum((a == n) * 1 + (b == n)) for n in range(1, 9)]
        )
    )


@pytest.fixture
def write(tmp_path):
    def case(name: str, labels: np.ndarray, affine=None) -> Case:
        path = tmp_path / f"{name}.nii.gz"
        save_image(
            path, labels, Grid(labels.shape, np.eye(4) if affine is None else affine), labels=True
        )
        return Case(name, path)

    return case


POSES = [
    {"turn": (8, -6, 4), "scale": 1.1, "shift": (2, -1, 1)},
    {"turn": (-5, 3, 9), "scale": 0.92},
    {"neck": 14},
]


def test_heads_in_any_pose_come_to_one_place(write):
    cases = [write(str(n), head(**pose)) for n, pose in enumerate(POSES)]
    mean = MeanAnatomy(cases, 1.0, SHAPE)
    placed = [mean.place(case) for case in cases]
    before = overlap(head(**POSES[0]), head(**POSES[1]))
    after = [overlap(placed[a], placed[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    # also where the image cuts the neck, whose middle is then elsewhere
    assert before < 0.3 and min(after) > 0.78


def test_headers_do_not_matter(write):
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_rotvec(np.deg2rad([10, 0, 25])).as_matrix()
    turned[:3, 3] = 70, -20, 33
    cases = [write("a", head()), write("b", head(), turned)]
    mean = MeanAnatomy(cases, 1.0, SHAPE)
    assert overlap(mean.place(cases[0]), mean.place(cases[1])) > 0.97


def test_maps_need_common_labels(write):
    labels = np.where(head() < 4, head(), 0)
    with pytest.raises(InputError, match="3 labels in common"):
        MeanAnatomy([write("a", head()), write("b", labels)], 1.0, SHAPE)


def test_pack_of_maps_and_noise(write, tmp_path):
    cases = [write(str(n), head(**pose)) for n, pose in enumerate(POSES)]
    pack = build_pack(
        cases, tmp_path / "maps.pack", PackOptions(1.0, SHAPE, label_maps=True, noise_maps=2)
    )
    assert not pack.pictured and pack.shape == SHAPE and len(pack) == 5
    assert pack.names[3:] == ("noise-001", "noise-002") and list(pack.noise) == [3, 4]
    assert np.array_equal(
        pack.labels(0)[0, 0].numpy(), MeanAnatomy(cases, 1.0, SHAPE).place(cases[0])
    )
    assert (
        0 <= float(pack.image(0).min()) < float(pack.image(0).max()) <= 1 and pack.inside(0) is None
    )
    assert set(pack.sources) == {str(Path(case.image).absolute()) for case in cases}
    with pytest.raises(InputError, match="spacing and a shape"):
        PackOptions(label_maps=True)
    with pytest.raises(InputError, match="noise maps"):
        PackOptions(noise_maps=3)


def test_noise_maps_are_shapes_of_their_seed():
    one, again, other = noise_map(SHAPE, (1,)), noise_map(SHAPE, (1,)), noise_map(SHAPE, (2,))
    assert np.array_equal(one, again) and np.mean(one == other) < 0.2
    assert len(np.unique(one)) > 5 and one.min() >= 1
    assert np.mean(one[1:] == one[:-1]) > 0.75  # regions, not grains


def test_order_of_axes_of_affine_transform_oracle(write):
    """SciPy brings a scaled head back with the affine that was found."""
    cases = [write("a", head()), write("b", head(scale=1.1))]
    mean = MeanAnatomy(cases, 1.0, SHAPE)
    # voxels of the mean -> voxels of b, whose affine is identity
    affine = mean.affines["b"].matrix @ mean.grid.affine
    oracle = affine_transform(
        head(scale=1.1), affine[:3, :3], affine[:3, 3], output_shape=SHAPE, order=0
    )
    assert np.mean(oracle == mean.place(cases[1])) > 0.995
