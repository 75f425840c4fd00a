"""An image as a value: one scaling of its intensities, one order of its axes."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np

from sacbnet.data.cases import Case
from sacbnet.data.read import load_case
from sacbnet.imaging.canonical import canonical
from sacbnet.imaging.image import Image
from sacbnet.imaging.intensities import to_unit
from sacbnet.imaging.resampling import carry
from sacbnet.registration.inputs import Inputs
from sacbnet.registration.prepare import prepare
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine

GRID = Grid((32, 33, 34), np.diag([-1.0, 1.0, 1.0, 1.0]))


def _image(scale: float = 1.0) -> Image:
    at = np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), -1)
    ball = np.clip(1 - np.linalg.norm(at - 16, axis=-1) / 14, 0, 1)
    return Image((scale * 0.6 * ball).astype(np.float32), GRID)


def test_an_image_that_its_makers_scaled_is_only_clipped():
    plain = _image()
    scaled = replace(plain, scaled=True)
    assert np.array_equal(plain.unit(), to_unit(plain.data)) and plain.unit().max() == 1
    assert np.array_equal(scaled.unit(), plain.data)
    over = replace(scaled, data=scaled.data * np.float32(2) - np.float32(0.1))
    assert over.unit().min() == 0 and over.unit().max() == 1


def test_only_a_pickle_within_0_and_1_counts_as_scaled(tmp_path):
    for name, scale, expected in (("a", 1, True), ("b", 100, False)):
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(pickle.dumps((_image(scale).data, (_image().data > 0.1).astype(np.uint8))))
        image, labels = load_case(Case(name, path))
        assert image.scaled is expected and labels is not None and not labels.scaled
        assert image.unit().max() == (image.data.max() if expected else 1)


def test_a_network_sees_what_a_pack_holds(tmp_path):
    """`prepare` goes by the same rule as packing: an image that was scaled keeps its values."""
    image = replace(_image(), scaled=True)
    pair = prepare(Inputs(image, image).canonical(), spacing=1.0)
    assert np.isclose(pair.fixed.data.max(), image.data.max())
    plain = prepare(Inputs(_image(), _image()).canonical(), spacing=1.0)
    assert plain.fixed.data.max() == 1


def test_canonical_and_carry_keep_what_an_image_says():
    image = replace(_image(), scaled=True, warnings=("a",))
    turned = canonical(image)
    assert turned.scaled and turned.warnings == ("a",) and turned.grid.affine[0, 0] == 1
    assert np.array_equal(turned.data, image.data[::-1])
    onto = replace(_image(), name="fixed")
    assert carry(image, onto, Affine(), "linear").scaled
    assert not carry(onto, image, Affine(), "linear").scaled
