"""Batches: which pairs they hold, in which order, and what is padding in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sacbnet.data.packing import build_pack
from sacbnet.data.source import read_cases
from sacbnet.imaging.image import Image
from sacbnet.io.images import save_image
from sacbnet.spatial.grid import Grid
from sacbnet.training.loader import Loader
from sacbnet.training.objective import seen_labels
from sacbnet.training.pairs import choose
from sacbnet.training.sampler import pair_number
from sacbnet.training.team import Team

SIDE, PAD = 24, 6  # voxels; the images of the padded set repeat their outer slices along i
MOVES = ["augment.affine_degrees=20", "augment.affine_mm=2", "augment.flip=[0,1,2]"]
PAIRS_AT_ONCE = ["run.batch=2", "run.pairs_at_once=2"]


@pytest.fixture(scope="module")
def padded_pack(tmp_path_factory):
    """Ramps along i from 0 to 1, the first two with padding: no more than half of i is their own.

    The own part of case 0 lies in the middle of the box, that of case 1 nearer to its end.
    """
    folder = tmp_path_factory.mktemp("padded")
    grid = Grid((SIDE,) * 3, np.eye(4))
    along_i = np.arange(SIDE, dtype=np.float32)[:, None, None]
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for n, (low, high) in enumerate([(PAD, SIDE - PAD), (PAD + 3, SIDE - PAD + 3), (0, SIDE)]):
        own = (np.clip(along_i, low, high - 1) - low) / (high - 1 - low)
        # a slice of one value would be background, not padding
        data = own + np.linspace(0, 0.02, SIDE, dtype=np.float32)[:, None] + np.zeros(SIDE)
        data = data.astype(np.float32)
        labels = np.broadcast_to(1 + along_i // 8, grid.shape).astype(np.uint8)
        save_image(folder / "images" / f"case_{n}.nii.gz", data, Image(data, grid))
        image = Image(labels, grid)
        save_image(folder / "labels" / f"case_{n}.nii.gz", labels, image, labels=True)
    return build_pack(read_cases(folder).cases, folder / "padded.pack")


@pytest.fixture
def loader(recipe):
    """Make the loader of a pack and changes to the recipe, and close it afterwards."""
    made = []

    def make(pack, *changes):
        changed = recipe.with_changes(["run.seed=5", *changes])
        made.append(Loader(choose(changed, pack), changed, Team()))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_batch_holds_the_pair_of_its_sample_moving_first(loader, pack):
    found = loader(pack)
    for step in range(3):
        (batch,) = found.step(step)
        m, f = found.data.training[pair_number(step, len(found.data.training), 5)]
        assert torch.equal(batch.moving, pack.image(m)) and m != f
        assert torch.equal(batch.fixed, pack.image(f))


def test_what_is_padding_moves_with_the_images(loader, padded_pack):
    """A voxel that shows a value strictly between 0 and 1 shows the own part of its image."""
    found = loader(padded_pack, "data.train=0:2", "data.validation=0:2", *MOVES)
    for step in range(4):
        (batch,) = found.step(step)
        pairs = ((batch.moving, batch.moving_inside), (batch.fixed, batch.fixed_inside))
        for image, inside in pairs:
            # 2 of the 11 steps away from both ends; also away from the faces, where images fade
            own = ((image > 0.2) & (image < 0.8))[..., 3:-3, 3:-3, 3:-3]
            there = inside[..., 3:-3, 3:-3, 3:-3]
            assert own.sum() > 300 and (there[own] > 0.99).float().mean() > 0.97
            assert 0.1 < there.mean() < 0.9


def test_an_image_without_padding_is_inside_everywhere(loader, padded_pack):
    changes = ["data.train=", "data.validation=0:2", *PAIRS_AT_ONCE]
    found = loader(padded_pack, "data.train_pairs=all", *changes)
    wholes = []
    for step in range(3):  # six pairs of three cases
        (batch,) = found.step(step)
        for n in range(2):
            m, f = found.data.training[pair_number(2 * step + n, 6, 5)]
            for case, inside in ((m, batch.moving_inside[n]), (f, batch.fixed_inside[n])):
                low = (PAD, PAD + 3, 0)[case]
                length = SIDE if case == 2 else SIDE - 2 * PAD
                # of the padding, the slice beside the own part is like its edge, and own as well
                assert abs(float(inside[0, :, 5, 5].sum()) - length) <= 2
                assert float(inside[0, low : low + length].min()) == 1
                wholes.append(case == 2)
    assert True in wholes and False in wholes


def test_a_pair_without_padding_beside_a_padded_one(recipe, padded_pack):
    """Joined to one batch, the pair without padding counts everywhere."""
    changed = recipe.with_changes(["data.train=", "data.validation=0:2", *PAIRS_AT_ONCE])
    data = replace(choose(changed, padded_pack), training=((0, 1), (2, 2)))
    found = Loader(data, changed, Team())
    (batch,) = found.step(0)
    found.close()
    plain = [n for n in range(2) if torch.equal(batch.moving[n], padded_pack.image(2)[0])]
    assert len(plain) == 1
    for joined in (batch.moving_inside, batch.fixed_inside):
        assert float(joined[plain[0]].min()) == 1 and float(joined[1 - plain[0]].min()) == 0


def test_each_sample_sees_labels_of_its_own(loader, padded_pack):
    options = ["loss.dice_weight=1", "loss.dice_labels=1"]
    found = loader(padded_pack, "data.train=", "data.validation=0:2", *options)
    seen = []
    for step in range(6):
        (batch,) = found.step(step)
        wanted = seen_labels((1, 2, 3), found.recipe.loss, (5, step, 1))
        for labels in (batch.moving_labels, batch.fixed_labels):
            assert sorted(labels.unique().tolist()) == [0, *wanted]
        seen += wanted
    assert batch.labelled == 1 and len(set(seen)) > 1
