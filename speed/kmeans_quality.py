"""Does the fast K-means change the result? Compare its Dice with that of converged rounds.

    python speed/kmeans_quality.py LPBA40-FOLDER [--steps 200] [--pairs 5] [--state FILE.pt]
                                   [--json FILE]

The network is first trained for some steps at 2 mm on S11-S35, so that its regions mean something.
Then it runs at 1 mm on pairs of S36-S40, several times with the same weights, which --state keeps
for the next time. Converged means: every voxel takes part, and Lloyd's rounds start from random
voxels, as in the published code, until the squared shift of the centres is <= 1e-10. Dice is that
of 54 labels, nearest neighbour; the result is the mean difference over the pairs.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from sets import LPBA_54, SETS
from torch import Tensor, nn

from sacbnet.losses import gradient_loss, ncc_loss
from sacbnet.metrics.overlap import dice
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.ops.kmeans import KMeans, kmeans
from sacbnet.spatial.warp import warp

SEEDS = 4
LEVELS = ("sacb2", "sacb3", "sacb4", "sacb5")


class Converged(nn.Module):
    """K-means as the paper has it: random voxels to start from, all voxels, until nothing moves."""

    def __init__(self, clusters: int, seed: int) -> None:
        super().__init__()
        self.clusters, self.seed = clusters, seed

    def forward(self, descriptor: Tensor) -> KMeans:
        features = descriptor.flatten(2).transpose(1, 2)
        generator = torch.Generator().manual_seed(self.seed)
        seeds = torch.stack(
            [
                torch.randperm(features.shape[1], generator=generator)[: self.clusters]
                for _ in features
            ]
        )
        return kmeans(features, self.clusters, seeds=seeds, max_rounds=10_000, tolerance=1e-10)


def image(folder: Path, name: str) -> Tensor:
    return torch.from_numpy(
        nib.load(folder / "images" / f"{name}.nii.gz").get_fdata(dtype=np.float32)
    )[None, None]


def train(folder: Path, steps: int) -> SACBNet:
    """Steps on random pairs at 2 mm: NCC + gradient, Adam 1e-3."""
    torch.manual_seed(0)
    model, rng = SACBNet(), np.random.default_rng(0)
    images = [F.avg_pool3d(image(folder, f"S{n}"), 2) for n in range(11, 36)]
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    start = time.perf_counter()
    for step in range(steps):
        m, f = (images[i] for i in rng.choice(len(images), 2, replace=False))
        u = model(m, f)
        loss = ncc_loss(warp(m, u), f) + gradient_loss(u)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 20 == 0:
            print(
                f"step {step}: loss {loss.item():.3f}, {time.perf_counter() - start:.0f} s",
                flush=True,
            )
    return model.eval()


@torch.no_grad()
def run(model: SACBNet, folder: Path, moving: str, fixed: str) -> tuple[Tensor, float]:
    """Displacement (voxels of 1 mm) and Dice."""
    u = model(image(folder, moving), image(folder, fixed))
    of = {
        n: nib.load(folder / "labels" / f"{n}.nii.gz").get_fdata().astype(np.int16)
        for n in (moving, fixed)
    }
    moved = (
        warp(torch.from_numpy(of[moving]).float()[None, None], u, mode="nearest")[0, 0]
        .numpy()
        .astype(np.int16)
    )
    return u, dice(moved, of[fixed], LPBA_54).mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of LPBA40")
    parser.add_argument("--steps", type=int, default=200, help="steps of the training; default 200")
    parser.add_argument("--pairs", type=int, default=5, help="number of pairs; default 5")
    parser.add_argument("--state", type=Path, help="file that keeps the trained weights")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    model = SACBNet().eval()
    if arguments.state and arguments.state.exists():
        model.load_state_dict(torch.load(arguments.state, weights_only=True))
    else:
        model = train(arguments.folder, arguments.steps)
        if arguments.state:
            torch.save(model.state_dict(), arguments.state)
    fast = {name: getattr(model, name).cluster for name in LEVELS}
    forms = {"fast": None, "fast, bfloat16": None} | {
        f"converged, seed {n}": n for n in range(SEEDS)
    }
    rows = []
    for moving, fixed in SETS["lpba40"].pairs[: arguments.pairs]:
        fields, row = {}, {"pair": f"{moving} -> {fixed}"}
        for form, seed in forms.items():
            for name in LEVELS:
                own = fast[name]
                getattr(model, name).cluster = (
                    own if seed is None else Converged(own.clusters, seed)
                )
            with torch.autocast("cpu", torch.bfloat16, enabled="bfloat16" in form):
                fields[form], row[form] = run(model, arguments.folder, moving, fixed)
        for a, b in combinations(forms, 2):
            row[f"mm {a} | {b}"] = float((fields[a] - fields[b]).norm(dim=1).mean())
        rows.append(row)
        print(json.dumps(row), flush=True)
    for key in rows[0]:
        if key != "pair":
            print(f"{key}: mean {np.mean([r[key] for r in rows]):.4f}")
    gap = {p: np.mean([abs(r[p[0]] - r[p[1]]) for r in rows]) for p in combinations(forms, 2)}
    for form in ("fast", "fast, bfloat16"):
        to_converged = [v for (a, b), v in gap.items() if a == form and "seed" in b]
        print(f"|Dice of {form} - converged|: {np.mean(to_converged):.5f}")
    print(f"|Dice of two seeds|: {np.mean([v for (a, _), v in gap.items() if 'seed' in a]):.5f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
