"""Compare a GPU with the CPU: results, determinism, and the seconds of training steps.

    python speed/gpu.py [--size 96x112x96] [--train RECIPE --data PACK] [--steps 20] [--profile]

The table has the largest difference between the GPU and the CPU's plain forms, in float32 without
TF32: of K-means, of the displacement of a network with random weights, of its gradients, and of
refinement. Its last column compares the bits of two runs on the GPU. With `--train`, steps of a
recipe are timed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from sacbnet.config.recipe import read_recipe
from sacbnet.config.registration import RefineOptions
from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.data.pack import open_pack
from sacbnet.kernels.dispatch import plain_kernels
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.ops.kmeans import kmeans
from sacbnet.registration.refine import refine
from sacbnet.spatial.exponential import exponential
from sacbnet.spatial.warp import warp
from sacbnet.training.loop import descend
from sacbnet.training.pairs import choose
from sacbnet.training.session import Session
from sacbnet.training.team import Team

GPU, CPU = torch.device("cuda"), torch.device("cpu")
OPTIONS = {
    "paper": SACBNetConfig(),
    "shipped": SACBNetConfig(scores="scaled", level1="both", diffeomorphic=True),
}


def smooth_noise(shape: tuple[int, ...], channels: int, seed: int, coarse: int = 8) -> Tensor:
    """Random volumes (1, channels, i, j, k) without detail below `coarse` voxels."""
    g = torch.Generator().manual_seed(seed)
    small = torch.randn(1, channels, *(n // coarse for n in shape), generator=g)
    return torch.nn.functional.interpolate(small, shape, mode="trilinear", align_corners=True)


def pair(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """A fixed and a moving image in [0, 1] that differ by a smooth warp of a few voxels."""
    fixed = torch.sigmoid(smooth_noise(shape, 1, 0) + 0.5 * smooth_noise(shape, 1, 1, 4))
    return fixed, warp(fixed, exponential(2 * smooth_noise(shape, 3, 2, 16)), padding="border")


def network(config: SACBNetConfig) -> SACBNet:
    """A network with random weights, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SACBNet(config)


def gradients(config: SACBNetConfig, images: tuple[Tensor, Tensor], device: torch.device) -> Tensor:
    """The gradients of all weights in one row, of the squared displacement's mean."""
    net = network(config).to(device)
    net(fixed=images[0].to(device), moving=images[1].to(device)).square().mean().backward()
    rows = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
    return torch.cat(rows).detach()


@torch.no_grad()
def displacement(
    config: SACBNetConfig, images: tuple[Tensor, Tensor], device: torch.device
) -> Tensor:
    """The displacement of a network with random weights."""
    return network(config).to(device)(fixed=images[0].to(device), moving=images[1].to(device))


def refined(images: tuple[Tensor, Tensor], device: torch.device) -> Tensor:
    """The displacement of refinement from zero."""
    fixed, moving = (x.to(device) for x in images)
    return refine(fixed=fixed, moving=moving, options=RefineOptions())[0]


def centres(images: tuple[Tensor, Tensor], device: torch.device) -> Tensor:
    """The centres of K-means over smooth vectors of 16 channels."""
    x = smooth_noise(tuple(images[0].shape[2:]), 16, 3).flatten(2).mT.contiguous()
    return kmeans(x.to(device), 7).centres


def compare(images: tuple[Tensor, Tensor]) -> None:
    """Print how far the GPU is from the CPU, and from itself."""
    stages: dict[str, Callable[[torch.device], Tensor]] = {
        "K-means, centres": lambda d: centres(images, d)
    }
    for name, config in OPTIONS.items():
        stages[f"displacement, {name}"] = lambda d, c=config: displacement(c, images, d)
        stages[f"gradients, {name}"] = lambda d, c=config: gradients(c, images, d)
    stages["refinement"] = lambda d: refined(images, d)
    print(
        f"{'stage':<26}{'largest':>11}{'mean |x|':>11}{'relative':>11}{'same bits':>11}", flush=True
    )
    for name, stage in stages.items():
        with plain_kernels():
            expected = stage(CPU).double()
        first, second = stage(GPU), stage(GPU)
        found = first.cpu().double()
        apart = torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected)
        same = "yes" if torch.equal(first, second) else f"{float((first - second).abs().max()):.1e}"
        print(
            f"{name:<26}{float((found - expected).abs().max()):>11.2e}"
            f"{float(expected.abs().mean()):>11.2e}{float(apart):>11.2e}{same:>11}",
            flush=True,
        )


def steps_of(recipe_file: str, data: str, steps: int, profile: bool) -> None:
    """Time steps of a recipe, after five that warm up; `profile` prints what takes the time."""
    recipe = read_recipe(recipe_file)
    recipe = replace(
        recipe,
        data=replace(recipe.data, source=data),
        run=replace(recipe.run, validation_limit=1, start_from=""),
    )
    with TemporaryDirectory() as folder:
        team = Team(device=GPU)
        run = Session(recipe, choose(recipe, open_pack(Path(data))), Path(folder), team, print)

        def step(n: int) -> dict[str, float]:
            return descend(run.objective, run.optimiser, run.loader, n, 1e-4, team, recipe)

        for n in range(5):
            step(n)
        torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        for n in range(5, 5 + steps):
            step(n)
        each = (time.perf_counter() - began) / steps
        batch = run.loader.step(5 + steps)[0]
        began = time.perf_counter()
        with torch.no_grad():
            for _ in range(5):
                run.network(moving=batch.moving, fixed=batch.fixed)
            torch.cuda.synchronize()
        forward = (time.perf_counter() - began) / 5
        memory = torch.cuda.max_memory_allocated() / 2**20
        print(
            f"{recipe.name}: {each * 1e3:.0f} ms a step, forward pass {forward * 1e3:.0f} ms,"
            f" {memory:.0f} MiB",
            flush=True,
        )
        if profile:
            activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
            with torch.profiler.profile(activities=activities) as seen:
                for n in range(5 + steps, 8 + steps):
                    step(n)
            rows = seen.key_averages()
            print(
                rows.table(sort_by="self_cuda_time_total", row_limit=28, max_name_column_width=60)
            )
            print(rows.table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=40))
        run.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="96x112x96", help="of the compared images")
    parser.add_argument("--train", nargs="*", default=(), help="recipes whose steps are timed")
    parser.add_argument("--data", nargs="*", default=(), help="a pack for each of them")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--no-compare", action="store_true")
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}, {os.cpu_count()} cores")
    if not given.no_compare:
        kept = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        compare(pair(tuple(int(n) for n in given.size.split("x"))))
        torch.backends.cudnn.allow_tf32 = kept
    for recipe, data in zip(given.train, given.data, strict=True):
        steps_of(recipe, data, given.steps, given.profile)


if __name__ == "__main__":
    main()
