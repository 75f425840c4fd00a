import pytest
import torch

from sacbnet.training.recipe import LossOptions
from sacbnet.training.team import Team
from sacbnet.training.validate import overlap, validate


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


def test_the_identity_scores_the_overlap_of_the_sets_own_labels(pack):
    a, b = pack.labels(0), pack.labels(1)
    scores, slices = validate(None, pack, [(0, 1)], (1, 2), LossOptions(), Team())
    expected = [2 * float(((a == n) & (b == n)).sum()) / float((a == n).sum() + (b == n).sum()) for n in (1, 2)]
    assert scores["dice"] == pytest.approx(sum(expected) / 2) and scores["folded_percent"] == 0
    assert torch.equal(slices.moved[1], slices.moving[1]) and slices.fixed[0].shape == (32, 32)


def test_a_case_with_itself_is_perfect_and_a_shift_is_not(pack):
    assert validate(None, pack, [(0, 0)], (1, 2), LossOptions(), Team())[0]["dice"] == 1.0
    assert 0.5 < validate(Shift(2), pack, [(0, 0)], (1, 2), LossOptions(), Team())[0]["dice"] < 0.95
    assert validate(Shift(0, fold=True), pack, [(0, 0)], (1,), LossOptions(), Team())[0]["folded_percent"] > 0


def test_the_warp_moves_labels_the_right_way():
    moving = torch.zeros(1, 1, 8, 8, 8, dtype=torch.uint8)
    moving[0, 0, 4] = 1
    fixed = torch.roll(moving, -1, dims=2)
    u = Shift(1)(moving, fixed)
    assert overlap(moving, fixed, u, (1,)) == 1.0 and overlap(moving, fixed, -u, (1,)) == 0.0


def test_the_pairs_are_shared_over_the_team(pack):
    class Half(Team):
        def gather(self, value):
            return [value]

    pairs = [(0, 1), (2, 3), (4, 5), (1, 0)]
    whole = validate(None, pack, pairs, (1, 2), LossOptions(), Team())[0]
    halves = [validate(None, pack, pairs, (1, 2), LossOptions(), Half(rank, 2))[0] for rank in (0, 1)]
    assert whole["dice"] == pytest.approx((halves[0]["dice"] + halves[1]["dice"]) / 2)
