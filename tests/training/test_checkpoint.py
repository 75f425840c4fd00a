import copy

import numpy as np
import pytest
import torch

from sacbnet.errors import InputError, OutputError
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.training.checkpoint import CHECKPOINT, State, load_checkpoint, save_checkpoint


def trained(recipe, steps=2):
    torch.manual_seed(1)
    network = SACBNet(recipe.model)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        sum(p.square().sum() for p in network.parameters()).backward()
        optimiser.step()
    return network, optimiser


def test_everything_comes_back(recipe, pack, tmp_path):
    network, optimiser = trained(recipe)
    state = State(
        step=2, seconds=1.5, best={"dice": 0.5, "step": 2}, sums={"loss": 1 / 3}, summed=1
    )
    with torch.random.fork_rng():
        torch.manual_seed(11)
        save_checkpoint(tmp_path, recipe, pack, state, network, optimiser)
        expected = torch.rand(3)
        other, its_optimiser = trained(recipe, steps=1)
        torch.manual_seed(99)  # a state that the run never had
        found = load_checkpoint(tmp_path, recipe, pack, other, its_optimiser)
        assert torch.equal(torch.rand(3), expected)
    assert (
        found.step == 2
        and found.best == state.best
        and found.sums == state.sums
        and found.sessions == 2
    )
    for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for p, q in zip(network.parameters(), other.parameters(), strict=True):
        for name in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(optimiser.state[p][name], its_optimiser.state[q][name])


def test_a_folder_without_one(recipe, pack, tmp_path):
    assert load_checkpoint(tmp_path, recipe, pack, *trained(recipe, 0)) is None


def test_another_recipe_is_refused(recipe, pack, tmp_path):
    network, optimiser = trained(recipe)
    save_checkpoint(tmp_path, recipe, pack, State(), network, optimiser)
    with pytest.raises(InputError, match=r"loss\.window"):
        load_checkpoint(tmp_path, recipe.with_changes(["loss.window=5"]), pack, network, optimiser)
    assert (
        load_checkpoint(tmp_path, recipe.with_changes(["run.steps=99"]), pack, network, optimiser)
        is not None
    )


def test_other_data_are_refused(recipe, pack, tmp_path):
    network, optimiser = trained(recipe)
    save_checkpoint(tmp_path, recipe, pack, State(), network, optimiser)
    other = copy.copy(pack)
    other.metadata = pack.metadata | {"names": pack.metadata["names"].replace("case_1", "case_9")}
    with pytest.raises(InputError, match="other data"):
        load_checkpoint(tmp_path, recipe, other, network, optimiser)
    brighter = copy.copy(pack)
    brighter.image = lambda case: pack.image(case) * (0.5 if case == 0 else 1)
    with pytest.raises(InputError, match="other data"):
        load_checkpoint(tmp_path, recipe, brighter, network, optimiser)


def test_damaged_files_are_named(recipe, pack, tmp_path):
    network, optimiser = trained(recipe)
    save_checkpoint(tmp_path, recipe, pack, State(), network, optimiser)
    whole = (tmp_path / CHECKPOINT).read_bytes()
    for content in (whole[: len(whole) // 2], b"nonsense", b""):
        (tmp_path / CHECKPOINT).write_bytes(content)
        with pytest.raises(InputError, match="no checkpoint"):
            load_checkpoint(tmp_path, recipe, pack, network, optimiser)


@pytest.mark.parametrize(
    "part", ["recipe", "data", "network", "optimiser", "random", "state", "parameter", "steps"]
)
def test_contents_that_lie(recipe, pack, tmp_path, part):
    network, optimiser = trained(recipe)
    save_checkpoint(tmp_path, recipe, pack, State(), network, optimiser)
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    if part == "parameter":
        content["network"][next(iter(content["network"]))] = torch.zeros(1)
    elif part == "steps":
        content["state"] = {"step": 1, "unknown": 2}
    else:
        del content[part]
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match=r"checkpoint\.pt is no whole checkpoint"):
        load_checkpoint(tmp_path, recipe, pack, network, optimiser)


def test_nothing_in_a_checkpoint_is_executed(recipe, pack, tmp_path):
    class Evil:
        def __reduce__(self):
            return (np.testing.assert_, (False,))

    torch.save({"format_version": 1, "network": Evil()}, tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match="no checkpoint"):
        load_checkpoint(tmp_path, recipe, pack, *trained(recipe, 0))


def test_a_failed_write_keeps_the_one_before(recipe, pack, tmp_path, monkeypatch):
    network, optimiser = trained(recipe)
    save_checkpoint(tmp_path, recipe, pack, State(step=1), network, optimiser)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(content, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="free some space"):
        save_checkpoint(tmp_path, recipe, pack, State(step=2), network, optimiser)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]
