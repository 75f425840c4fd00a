"""The loop: that it learns, resumes to the bit, is shared by processes, and stops when told to."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sacbnet.data.packing import build_pack
from sacbnet.data.source import read_cases
from sacbnet.errors import InputError, OutputError, RegistrationError
from sacbnet.networks.weights.load import describe_weights
from sacbnet.training import checkpoint, session
from sacbnet.training.checkpoint import CHECKPOINT, read_checkpoint
from sacbnet.training.loop import descend, train
from sacbnet.training.pairs import choose
from sacbnet.training.stop import Stop
from sacbnet.training.team import Team

QUIET = {"say": lambda line: None}


def rows(out):
    return list(csv.DictReader((out / "metrics.csv").open()))


def numbers(out):
    """metrics.csv without the seconds."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows(out)]


def same_weights(a, b, name="last.safetensors"):
    x, y = load_file(a / name), load_file(b / name)
    return x.keys() == y.keys() and all(torch.equal(x[n], y[n]) for n in x)


@pytest.fixture(scope="module")
def stretch(pack, tmp_path_factory):
    """A run of eight steps in one go."""
    return tmp_path_factory.mktemp("stretch")


@pytest.fixture
def undisturbed(recipe, pack, stretch):
    if not (stretch / "run.json").exists():
        train(recipe, pack, stretch, Team(), **QUIET)
    return stretch


def stops_after(steps, monkeypatch):
    """Makes the loop stop after so many steps of this session."""
    asked = iter([False] * steps + [True] * 100)
    monkeypatch.setattr(Stop, "due", lambda self, seconds: next(asked))


def test_a_run_describes_itself(undisturbed, recipe):
    names = {p.name for p in undisturbed.iterdir()} - {"tensorboard"}
    assert names == {
        "best.safetensors",
        "last.safetensors",
        CHECKPOINT,
        "recipe.toml",
        "run.json",
        "metrics.csv",
    }
    report = json.loads((undisturbed / "run.json").read_text())
    assert report["state"]["step"] == 8 and report["state"]["sessions"] == 1
    assert report["data"] == {
        "cases": 6,
        "training_pairs": 12,
        "validation_pairs": 2,
        "labels": [1, 2],
    }
    told = describe_weights(undisturbed)
    assert told.licence == "CC0" and told.trained_on == "four shapes" and told.spacing_mm == 1
    assert told.affine == "affine" and told.box == "whole"
    assert told.recipe == recipe.to_dict()
    # weights travel: no path of this machine in them
    assert str(undisturbed.parent) not in json.dumps(told.to_json())
    assert told.validation["dice"] == report["state"]["best"]["dice"]
    trained = [row for row in rows(undisturbed) if row["loss"]]
    assert [int(row["step"]) for row in trained] == [2, 4, 6, 8]
    assert [int(row["step"]) for row in rows(undisturbed) if row["validation_dice"]] == [4, 8]


def test_resuming_is_exact_to_the_bit(undisturbed, recipe, pack, tmp_path, monkeypatch):
    for steps in (3, 2, 3):
        stops_after(steps, monkeypatch)
        outcome = train(recipe, pack, tmp_path, Team(), **QUIET)
    assert outcome.finished and outcome.state.sessions == 3
    assert same_weights(undisturbed, tmp_path) and same_weights(
        undisturbed, tmp_path, "best.safetensors"
    )
    a, b = (read_checkpoint(p / CHECKPOINT) for p in (undisturbed, tmp_path))
    for of_a, of_b in zip(
        a["optimiser"]["state"].values(), b["optimiser"]["state"].values(), strict=True
    ):
        assert all(torch.equal(of_a[name], of_b[name]) for name in of_a)
    assert numbers(undisturbed) == numbers(tmp_path)


def test_a_finished_run_is_left_as_it_is(undisturbed, recipe, pack):
    before = {
        path: path.stat().st_mtime_ns
        for path in undisturbed.glob("*.*")
        if path.name != "metrics.csv"
    }
    outcome = train(recipe, pack, undisturbed, Team(), **QUIET)
    assert outcome.finished and outcome.state.step == 8
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(rows(undisturbed)) == 6


def test_another_recipe_may_not_go_on(undisturbed, recipe, pack):
    with pytest.raises(InputError, match=r"optimiser\.learning_rate"):
        train(
            recipe.with_changes(["optimiser.learning_rate=1"]), pack, undisturbed, Team(), **QUIET
        )


def test_no_global_random_state_is_changed(recipe, pack, tmp_path):
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    train(recipe.with_changes(["run.steps=1"]), pack, tmp_path, Team(), **QUIET)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1], states[2]) == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002


def test_it_learns(recipe, pack, tmp_path):
    changes = [
        "run.steps=60",
        "run.validate_every=60",
        "run.checkpoint_every=60",
        "loss.dice_weight=1",
    ]
    outcome = train(recipe.with_changes(changes), pack, tmp_path, Team(), **QUIET)
    losses = [float(row["loss"]) for row in rows(tmp_path) if row["loss"]]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1
    assert outcome.state.best["dice"] > outcome.state.baseline["dice"] + 0.01


class Slope(torch.nn.Module):
    """A loss whose gradient is the batch itself."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([3.0, -1.0]))

    def forward(self, batch, labels):
        assert labels == (1, 2)
        return {"loss": (self.weight * batch).sum(), "other": batch.sum()}


class Batches:
    """In place of the loader: the batches of one step."""

    data = SimpleNamespace(labels=(1, 2))

    def __init__(self, *batches: torch.Tensor) -> None:
        self.batches = batches

    def step(self, number: int) -> tuple[torch.Tensor, ...]:
        assert number == 7
        return self.batches


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_one_step_goes_by_the_rate_along_the_mean_gradient(recipe, clip):
    """w - rate * g, where g is the mean over the batches, not longer than the clip."""
    slope, batches = (
        Slope(),
        (torch.tensor([1.0, 2]), torch.tensor([4.0, -1]), torch.tensor([1, 2])),
    )
    optimiser = torch.optim.SGD(slope.parameters(), lr=99.0)  # the schedule's rate replaces it
    before = slope.weight.detach().clone()
    clipped = recipe.with_changes([f"optimiser.clip={clip}"])
    for _ in range(2):  # the second step adds nothing of the first one's gradient
        told = descend(slope, optimiser, Batches(*batches), 7, 0.1, Team(), clipped)
    mean = torch.tensor([2.0, 1])
    norm = float(mean.norm())
    step = 0.1 * mean * (clip / norm if clip else 1)
    torch.testing.assert_close(slope.weight.detach(), before - 2 * step, atol=1e-5, rtol=0)
    assert told["gradient_norm"] == pytest.approx(norm)
    assert told["other"] == pytest.approx(3.0)
    assert told["loss"] == pytest.approx(float(((before - step) * mean).sum()), abs=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.25])
def test_the_optimiser_is_the_recipes(recipe, pack, tmp_path, decay):
    changed = recipe.with_changes([f"optimiser.weight_decay={decay}"])
    run = session.Session(changed, choose(changed, pack), tmp_path, Team(), QUIET["say"])
    run.close()
    assert type(run.optimiser) is (torch.optim.AdamW if decay else torch.optim.Adam)
    (group,) = run.optimiser.param_groups
    assert group["weight_decay"] == decay and group["lr"] == recipe.optimiser.learning_rate
    assert len(group["params"]) == len(list(run.network.parameters()))


def test_pairs_at_once_and_accumulation_agree(recipe, half_labelled, tmp_path):
    """Four pairs one by one, or two by two: the same gradient but for rounding."""
    wide = recipe.with_changes(["run.batch=4", "run.steps=2", "run.log_every=1"])
    pack, wide = half_labelled, wide.with_changes(["loss.dice_weight=0.5", "loss.dice_labels=1"])
    for name, at_once in (("one", 1), ("two", 2)):
        train(
            wide.with_changes([f"run.pairs_at_once={at_once}"]),
            pack,
            tmp_path / name,
            Team(),
            **QUIET,
        )
    for a, b in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        if a["loss"]:
            assert float(a["loss"]) == pytest.approx(float(b["loss"]), abs=1e-5)


def test_every_term_of_the_loss_runs_and_is_told(recipe, pack, tmp_path):
    changes = [f"loss.{term}_weight=0.1" for term in ("dice", "jacobian", "inverse_consistency")]
    changes += [
        "loss.smoothness=bending",
        "loss.similarity=mind",
        "loss.dice_labels=1",
        "run.precision=bfloat16",
    ]
    changes += ["augment.flip=[0]", "augment.affine_degrees=5", "augment.noise=0.02", "run.steps=2"]
    train(recipe.with_changes(changes), pack, tmp_path, Team(), **QUIET)
    first = rows(tmp_path)[0]
    for term in (
        "similarity",
        "smoothness",
        "jacobian",
        "dice",
        "inverse_consistency",
        "gradient_norm",
    ):
        assert np.isfinite(float(first[term])), term


def test_without_labels_the_smallest_loss_is_best(recipe, shapes, tmp_path):
    """Image term and smoothness together: the image term alone would favour the wildest network."""
    shutil.copytree(shapes / "images", tmp_path / "set" / "images")
    bare = build_pack(read_cases(tmp_path / "set").cases, tmp_path / "bare.pack")
    often = recipe.with_changes(["run.validate_every=1"])
    outcome = train(often, bare, tmp_path / "run", Team(), **QUIET)
    losses = {
        int(row["step"]): float(row["validation_loss"])
        for row in rows(tmp_path / "run")
        if row["validation_loss"]
    }
    assert len(losses) == 8 and outcome.state.best["step"] == min(losses, key=losses.get)
    assert "dice" not in outcome.state.best


def test_a_run_that_learns_nothing_says_so_loudly(recipe, pack, tmp_path):
    heard = []
    stiff = recipe.with_changes(
        ["optimiser.learning_rate=1e-9", "run.steps=2", "run.validate_every=1"]
    )
    outcome = train(stiff, pack, tmp_path, Team(), say=heard.append)
    assert sum("WARNING" in line for line in heard) == 1  # at the first validation only
    told = json.loads((tmp_path / "run.json").read_text())["state"]["warnings"]
    assert outcome.state.warnings == told and re.search(
        "worse than doing nothing|no gain yet", told[0]
    )


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(recipe, pack, tmp_path):
    wild = recipe.with_changes(
        ["optimiser.learning_rate=1e30", "run.checkpoint_every=1", "run.validate_every=8"]
    )
    with pytest.raises(RegistrationError, match="not finite at step"):
        train(wild, pack, tmp_path, Team(), **QUIET)
    for value in read_checkpoint(tmp_path / CHECKPOINT)["network"].values():
        assert bool(torch.isfinite(value).all())


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    recipe, pack, tmp_path, monkeypatch
):
    stops_after(4, monkeypatch)
    train(recipe, pack, tmp_path, Team(), **QUIET)
    monkeypatch.undo()
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(content, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    heard = []
    # at the end; before the end a failure is reported, and the next step tries again
    with pytest.raises(OutputError, match="free some space"):
        train(recipe, pack, tmp_path, Team(), say=heard.append)
    assert sum("training goes on" in line for line in heard) == 3  # steps 6, 7, 8
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    undisturbed, recipe, pack, tmp_path, monkeypatch
):
    """Checkpoint, best weights and curve fail once each; the run ends as if nothing had been."""
    for name in ("save_checkpoint", "save_run_weights"):
        once = iter([OutputError("no space")])
        real = getattr(session, name)

        def fails_once(*arguments, real=real, once=once):
            if error := next(once, None):
                raise error
            return real(*arguments)

        monkeypatch.setattr(session, name, fails_once)
    heard = []
    train(recipe, pack, tmp_path, Team(), say=heard.append)
    assert sum("training goes on" in line for line in heard) == 2
    assert same_weights(undisturbed, tmp_path) and numbers(undisturbed) == numbers(tmp_path)


def test_start_from_weights(undisturbed, recipe, pack, tmp_path):
    again = recipe.with_changes(
        [f"run.start_from={undisturbed}", "run.steps=1", "optimiser.learning_rate=1e-12"]
    )
    outcome = train(again, pack, tmp_path, Team(), **QUIET)
    before = json.loads((undisturbed / "run.json").read_text())["state"]["best"]["dice"]
    told = describe_weights(tmp_path).recipe["run"]["start_from"]
    assert told == undisturbed.name
    assert outcome.state.best["dice"] == pytest.approx(before, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.train=7:9"], "7:9"),
        (["data.labels=[9]"], "9"),
        (["run.batch=3", "run.pairs_at_once=2"], "run.batch is 3; a multiple of run.pairs_at_once"),
    ],
)
def test_data_that_do_not_fit(recipe, pack, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        train(recipe.with_changes(changes), pack, tmp_path, Team(), **QUIET)


def test_weights_of_another_network_are_refused_by_name(undisturbed, recipe, pack, tmp_path):
    other = recipe.with_changes([f"run.start_from={undisturbed}", "model.sacb_levels=[4, 5]"])
    with pytest.raises(InputError, match=r"sacb_levels is \[4, 5\], there \[5\]"):
        train(other, pack, tmp_path, Team(), **QUIET)


@pytest.fixture(scope="module")
def half_labelled(shapes, tmp_path_factory):
    """Labels for four of the six cases; two of the four that are trained on have none."""
    folder = tmp_path_factory.mktemp("half")
    shutil.copytree(shapes / "images", folder / "images")
    shutil.copytree(shapes / "labels", folder / "labels")
    for n in (1, 2):
        (folder / "labels" / f"case_{n}.nii.gz").unlink()
    return build_pack(read_cases(folder).cases, folder / "half.pack")


def test_a_partly_labelled_set(recipe, half_labelled, tmp_path):
    """The Dice of a row is the mean over the pairs with labels; the loss counts 0 for others."""
    semi = recipe.with_changes(
        ["loss.dice_weight=1", "run.steps=12", "run.log_every=12", "run.validate_every=12"]
    )
    train(semi, half_labelled, tmp_path, Team(), **QUIET)
    row = rows(tmp_path)[0]
    labelled = sum(
        half_labelled.labels(m) is not None and half_labelled.labels(f) is not None
        for m, f in choose(semi, half_labelled).training
    )
    assert labelled == 2  # of the twelve pairs of one epoch
    parts = float(row["similarity"]) + float(row["smoothness"]) + float(row["dice"]) * labelled / 12
    assert float(row["loss"]) == pytest.approx(parts, abs=1e-4) and 0.02 < float(row["dice"]) < 1


# ---- the command, in processes of its own


def command(recipe, pack, out, *options):
    toml = out.parent / f"{out.name}.toml"
    toml.write_text(recipe.to_toml(), encoding="utf-8")
    return ["train", str(toml), "--data", str(pack.path), "--out", str(out), *options]


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def start(arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "sacbnet", *arguments],
        env=environment(),
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def test_killed_at_random_moments_it_ends_as_if_undisturbed(recipe, pack, tmp_path):
    """SIGKILL, which no handler sees, at any moment: while starting, in a step, while writing."""
    long = recipe.with_changes(["run.steps=40", "run.checkpoint_every=1", "run.validate_every=5"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(long, pack, tmp_path / "calm", Team(), **QUIET)
    finally:
        torch.set_num_threads(threads)
    chance = np.random.default_rng(0)
    reached = []
    for _ in range(3):
        process = start(command(long, pack, tmp_path / "rough"))
        for line in process.stderr:  # wait until it trains, then for a moment of chance
            if line.startswith("step"):
                break
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.wait()
        if (tmp_path / "rough" / CHECKPOINT).exists():
            reached.append(read_checkpoint(tmp_path / "rough" / CHECKPOINT)["state"]["step"])
    assert reached and max(reached) < 40  # it was indeed killed on its way
    process = start(command(long, pack, tmp_path / "rough"))
    process.communicate()
    assert process.returncode == 0
    assert same_weights(tmp_path / "calm", tmp_path / "rough") and numbers(
        tmp_path / "calm"
    ) == numbers(tmp_path / "rough")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_makes_a_checkpoint_and_ends(recipe, pack, tmp_path, number):
    process = start(
        command(
            recipe.with_changes(["run.steps=100000", "run.checkpoint_every=100000"]),
            pack,
            tmp_path / "r",
        )
    )
    for line in process.stderr:
        if line.startswith("step 2/"):
            break
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert read_checkpoint(tmp_path / "r" / CHECKPOINT)["state"]["step"] >= 2
    assert "the same command goes on" in told and "Traceback" not in told


def test_max_minutes_stops_in_time(recipe, pack, tmp_path):
    began = time.monotonic()
    outcome = train(
        recipe.with_changes(["run.steps=100000"]), pack, tmp_path, Team(), max_minutes=0.05, **QUIET
    )
    assert not outcome.finished and outcome.signal == 0 and outcome.state.step > 0
    assert time.monotonic() - began < 30
    assert read_checkpoint(tmp_path / CHECKPOINT)["state"]["step"] == outcome.state.step


def test_two_processes_give_the_curve_of_one(recipe, half_labelled, tmp_path):
    pack = half_labelled  # so that the two do not have the same terms to add up
    pair = recipe.with_changes(["run.batch=2", "run.log_every=1", "loss.dice_weight=0.5"])
    train(pair, pack, tmp_path / "one", Team(), **QUIET)
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    arguments = command(pair, pack, tmp_path / "two")
    done = subprocess.run(
        [*torchrun, "-m", "sacbnet", *arguments],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2
    for a, b in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert a["step"] == b["step"]
        for name in ("loss", "similarity", "smoothness", "dice", "validation_dice"):
            assert bool(a[name]) == bool(b[name])
            if a[name] and a[name] != "nan":
                assert float(a[name]) == pytest.approx(
                    float(b[name]), abs=2e-3 if name == "validation_dice" else 1e-4
                )
