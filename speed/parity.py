"""Compare the network, stage by stage, with a recorded forward pass of the authors' published one.

    python speed/parity.py VECTORS.npz

Shapes and numbers of clusters are those of the file. The exit code is 1 if any stage is past its
tolerance.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sacbnet.config.sacbnet import LEVELS, SACBNetConfig
from sacbnet.losses import gradient_loss, ncc_loss
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.networks.weights.convert import from_official
from sacbnet.spatial.warp import warp

PARAMETERS = 1_105_591
IMAGES = ("fixed", "moving")  # the order of the network's batches
# largest error allowed: features are of size 1, displacements in voxels; "warped" is a displacement
# error times an edge
TOLERANCE = {
    "encoder": 1e-3,
    "kmeans": 1e-3,
    "sacb": 2e-3,
    "matching": 1e-3,
    "displacement": 1e-3,
    "warped": 1e-3,
}
TOLERANCE |= {"flow1": 1e-3, "loss": 1e-5}


@dataclass(frozen=True)
class Row:
    """One compared stage: the largest error seen and allowed."""

    stage: str
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance  # False for NaN


def build(vectors: dict[str, np.ndarray]) -> SACBNet:
    """The network with the recorded state and numbers of clusters."""
    clusters = tuple(len(vectors[f"kmeans/fixed{level}/init"]) for level in LEVELS)
    # the recorded run went to convergence
    model = SACBNet(SACBNetConfig(clusters=clusters, kmeans_rounds=4000))
    state = {
        name.removeprefix("state/"): torch.tensor(v)
        for name, v in vectors.items()
        if name.startswith("state/")
    }
    model.load_state_dict(from_official(state))
    return model.eval()


def watch(model: SACBNet, vectors: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Hook the network, so that K-means starts from the recorded voxels.

    Returns the dict that a forward pass will fill.
    """
    seen: dict[str, Tensor] = {}

    def both(name: Callable[[str], str]) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            seen.update(
                {name(image): half for image, half in zip(IMAGES, output.chunk(2), strict=True)}
            )

        return hook

    def watch_encoder(_module: nn.Module, _inputs: Any, output: list[Tensor]) -> None:
        for level, features in enumerate(output, start=1):
            both(lambda image, level=level: f"encoder/{image}{level}")(_module, _inputs, features)  # type: ignore[misc]

    model.encoder.register_forward_hook(watch_encoder)
    for level in LEVELS:
        block = model.get_submodule(f"sacb{level}")
        block.register_forward_hook(both(lambda image, level=level: f"sacb/{image}{level}"))  # type: ignore[misc]
        steer_clustering(block.get_submodule("cluster"), level, vectors, seen)
    order = iter(sorted(LEVELS, reverse=True))
    model.matching.register_forward_hook(
        lambda _m, _i, out: seen.update({f"matching/{next(order)}": out})
    )
    model.head.register_forward_hook(lambda _m, _i, out: seen.update({"flow1": out}))
    return seen


def steer_clustering(
    module: nn.Module, level: int, vectors: dict[str, np.ndarray], seen: dict[str, Tensor]
) -> None:
    """Give the clustering of a level its seeds, and record its labels and centres."""
    seeds = torch.stack([torch.tensor(vectors[f"kmeans/{image}{level}/init"]) for image in IMAGES])

    def give(_module: nn.Module, inputs: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return inputs, {**kwargs, "seeds": seeds}

    def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
        for n, image in enumerate(IMAGES):
            seen[f"kmeans/{image}{level}/labels"] = output.labels[n]
            seen[f"kmeans/{image}{level}/centroids"] = output.centres[n]

    module.register_forward_pre_hook(give, with_kwargs=True)
    module.register_forward_hook(record)


def compare(vectors: dict[str, np.ndarray]) -> list[Row]:
    """Run the network on the recorded pair and compare whatever was recorded."""
    model = build(vectors)
    seen = watch(model, vectors)
    moving, fixed = torch.tensor(vectors["moving"]), torch.tensor(vectors["fixed"])
    with torch.inference_mode():
        seen["displacement"] = model(moving, fixed)
        seen["warped"] = warp(moving, seen["displacement"])
        seen["loss/ncc9(warped,fixed)"] = ncc_loss(seen["warped"], fixed)
        seen["loss/grad_l2(displacement)"] = gradient_loss(seen["displacement"])
    rows = [Row("parameters", abs(sum(p.numel() for p in model.parameters()) - PARAMETERS), 0)]
    for name, recorded in vectors.items():
        if name in ("moving", "fixed") or name.startswith("state/") or name.endswith("/init"):
            continue
        rows.append(compare_stage(name, recorded, seen, vectors))
    return rows


def compare_stage(
    name: str, recorded: np.ndarray, seen: dict[str, Tensor], vectors: dict[str, np.ndarray]
) -> Row:
    """Largest absolute difference of one stage; for labels, the number of voxels that differ."""
    if name not in seen or tuple(seen[name].shape) != recorded.shape:
        return Row(f"{name} (not computed, or of another shape)", float("nan"), 0)
    ours = seen[name].numpy()
    if name.endswith("/labels"):
        return Row(name, float((ours != recorded).sum()), 0)
    # clusters without voxels are left out; the published code has zeros there
    if name.endswith("/centroids"):
        used = np.unique(vectors[name.replace("centroids", "labels")])
        ours, recorded = ours[used], recorded[used]
    return Row(name, float(np.abs(ours - recorded).max()), TOLERANCE[name.split("/")[0]])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("vectors", type=Path, help="recorded forward pass (.npz)")
    with np.load(parser.parse_args().vectors) as file:
        rows = compare(dict(file))
    print(f"{'stage':<36} {'largest error':>14} {'tolerance':>10}")
    for row in rows:
        verdict = "" if row.ok else "PAST TOLERANCE"
        print(f"{row.stage:<36} {row.error:>14.3g} {row.tolerance:>10.1g}  {verdict}")
    failed = sum(not row.ok for row in rows)
    print(f"{len(rows)} stages, {failed} past tolerance")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
