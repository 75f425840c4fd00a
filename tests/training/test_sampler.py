from collections import Counter

import pytest

from sacbnet.training.sampler import pair_number, samples_of


def test_each_epoch_shows_every_pair_once_in_another_order():
    first, second = (
        [pair_number(n + epoch * 12, 12, seed=3) for n in range(12)] for epoch in (0, 1)
    )
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second and first != [pair_number(n, 12, seed=4) for n in range(12)]


def test_a_sample_does_not_depend_on_what_was_asked_before():
    forwards = [pair_number(n, 7, 0) for n in range(40)]
    assert [pair_number(n, 7, 0) for n in reversed(range(40))] == forwards[::-1]


@pytest.mark.parametrize(("at_once", "world"), [(1, 1), (2, 1), (1, 2), (2, 2), (1, 4), (4, 1)])
def test_every_number_of_processes_sees_the_same_samples_in_a_step(at_once, world):
    batch = 4
    seen = Counter()
    for rank in range(world):
        groups = samples_of(5, batch, at_once, rank, world)
        assert len(groups) == batch // (at_once * world) and all(len(g) == at_once for g in groups)
        seen.update(n for group in groups for n in group)
    assert seen == Counter(range(20, 24))
