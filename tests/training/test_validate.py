from dataclasses import replace

import pytest
import torch

from sacbnet.config.recipe import LossOptions
from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.networks.registry import build
from sacbnet.training.objective import Objective
from sacbnet.training.pairs import stored_pair
from sacbnet.training.team import Team
from sacbnet.training.validate import overlap, validate


def stored(pack, pairs):
    """What `validate` takes: the n-th pair, and how many there are."""
    return lambda n: stored_pair(pack, *pairs[n]), len(pairs)


class Shift(torch.nn.Module):
    """One voxel along i, everywhere; folds where `fold`."""

    def __init__(self, voxels, fold=False):
        super().__init__()
        self.voxels, self.fold = voxels, fold

    def forward(self, moving, fixed):
        u = torch.zeros(1, 3, *fixed.shape[2:])
        u[:, 0] = self.voxels
        if self.fold:
            u[:, 0, 10] = 5.0
        return u


def test_a_volume_of_exactly_0_is_folded(pack):
    class Flat(torch.nn.Module):
        """All planes fall on the first."""

        def forward(self, moving, fixed):
            u = torch.zeros(1, 3, *fixed.shape[2:])
            u[:, 0] = -torch.arange(fixed.shape[2])[:, None, None]
            return u

    scores, _ = validate(Flat(), *stored(pack, [(0, 1)]), (1,), LossOptions(), Team())
    assert scores["folded_percent"] == 100


def test_the_identity_scores_the_overlap_of_the_sets_own_labels(pack):
    a, b = pack.labels(0), pack.labels(1)
    scores, slices = validate(None, *stored(pack, [(0, 1)]), (1, 2), LossOptions(), Team())
    expected = [
        2 * float(((a == n) & (b == n)).sum()) / float((a == n).sum() + (b == n).sum())
        for n in (1, 2)
    ]
    assert scores["dice"] == pytest.approx(sum(expected) / 2) and scores["folded_percent"] == 0
    assert torch.equal(slices.moved[1], slices.moving[1]) and slices.fixed[0].shape == (32, 32)


def test_a_case_with_itself_is_perfect_and_a_shift_is_not(pack):
    assert validate(None, *stored(pack, [(0, 0)]), (1, 2), LossOptions(), Team())[0]["dice"] == 1.0
    assert (
        0.5
        < validate(Shift(2), *stored(pack, [(0, 0)]), (1, 2), LossOptions(), Team())[0]["dice"]
        < 0.95
    )
    assert (
        validate(Shift(0, fold=True), *stored(pack, [(0, 0)]), (1,), LossOptions(), Team())[0][
            "folded_percent"
        ]
        > 0
    )


def test_the_warp_moves_labels_the_right_way():
    moving = torch.zeros(1, 1, 8, 8, 8, dtype=torch.uint8)
    moving[0, 0, 4] = 1
    fixed = torch.roll(moving, -1, dims=2)
    u = Shift(1)(moving, fixed)
    assert overlap(moving, fixed, u, (1,)) == 1.0 and overlap(moving, fixed, -u, (1,)) == 0.0


def maps(*boxes, dtype=torch.int32):
    """(1, 1, 8, 8, 8): label -> slice along i, for each box."""
    out = torch.zeros(1, 1, 8, 8, 8, dtype=dtype)
    for label, where in boxes:
        out[0, 0, where] = label
    return out


def test_a_label_that_vanishes_counts_as_nothing():
    """Label 2 is in the moving map only: the identity keeps it, a shift moves it out; Dice is 0."""
    moving, fixed = maps((1, slice(3, 5)), (2, slice(0, 1))), maps((1, slice(2, 4)))
    identity = torch.zeros(1, 3, 8, 8, 8)
    shift = Shift(1)(moving, fixed)
    assert overlap(moving, fixed, identity, (1, 2, 3)) == pytest.approx(0.25)
    assert overlap(moving, fixed, shift, (1, 2, 3)) == pytest.approx(0.5)
    assert overlap(moving, fixed, shift, (1,)) == 1.0


def test_labels_that_float32_does_not_tell_apart():
    low = 2**24
    moving = maps((low, slice(0, 4)), (low + 1, slice(4, 8)))
    identity = torch.zeros(1, 3, 8, 8, 8)
    assert overlap(moving, moving, identity, (low, low + 1)) == 1.0
    assert (
        overlap(moving, maps((low + 1, slice(0, 4)), (low, slice(4, 8))), identity, (low, low + 1))
        == 0.0
    )


def test_a_pair_that_has_none_of_the_labels_has_no_dice(pack):
    """The first two cases have both labels; in the others they are called 7 and 8."""

    class Renamed(type(pack)):
        def labels(self, case):
            found = super().labels(case)
            return found if case < 2 else torch.where(found > 0, found + 6, 0)

    renamed = Renamed(pack.path)
    assert (
        "dice" not in validate(None, *stored(renamed, [(2, 3)]), (1, 2), LossOptions(), Team())[0]
    )
    alone = validate(None, *stored(renamed, [(0, 1)]), (1, 2), LossOptions(), Team())[0]
    assert (
        validate(None, *stored(renamed, [(0, 1), (2, 3)]), (1, 2), LossOptions(), Team())[0]["dice"]
        == alone["dice"]
    )


def test_the_pairs_are_shared_over_the_team(pack):
    class Half(Team):
        def gather(self, value):
            return [value]

    pairs = [(0, 1), (2, 3), (4, 5), (1, 0)]
    whole = validate(None, *stored(pack, pairs), (1, 2), LossOptions(), Team())[0]
    halves = [
        validate(None, *stored(pack, pairs), (1, 2), LossOptions(), Half(rank, 2))[0]
        for rank in (0, 1)
    ]
    assert whole["dice"] == pytest.approx((halves[0]["dice"] + halves[1]["dice"]) / 2)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"similarity": "mind", "scales": 2, "smoothness": "bending", "smoothness_weight": 0.3},
        {"jacobian_weight": 2.0, "dice_weight": 1.5, "inverse_consistency_weight": 0.5},
        {"similarity_weight": 0.0, "dice_weight": 1.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_loss_that_is_reported_is_the_loss_that_is_trained(pack, symmetric, options, precision):
    """To the bit, on the same pair, with every term, and as `Objective` has it in training."""
    loss = LossOptions(**options)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(SACBNetConfig(base_channels=2, symmetric=symmetric)).eval()
    batch = replace(stored_pair(pack, 0, 1), labelled=1.0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        trained = Objective(network, loss)(batch, (1, 2))
    reported, _ = validate(network, lambda n: batch, 1, (1, 2), loss, Team(), precision)
    assert reported["loss"] == float(trained["loss"])
    if loss.similarity_weight:
        assert reported["similarity"] == float(trained["similarity"])
    assert -1 <= reported["similarity"] <= 1 and reported["similarity"] != 0
