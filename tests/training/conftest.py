"""A set of six small shapes with labels, packed, and a recipe for a network small enough to train in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sacbnet.data.cases import read_cases
from sacbnet.data.pack import Pack, build_pack
from sacbnet.io.images import Image, save_image
from sacbnet.spatial.grid import Grid
from sacbnet.training.recipe import Recipe, recipe_from_dict

SHAPE = (32, 32, 32)


def write_set(folder: Path, cases: int = 6, seed: int = 0) -> Path:
    """images/ and labels/ of a ball in a box, both of which differ from case to case."""
    rng = np.random.default_rng(seed)
    at = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1).astype(float)
    grid = Grid(SHAPE, np.diag([1.0, 1.0, 1.0, 1.0]))
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for n in range(cases):
        centre = 15.5 + rng.uniform(-2, 2, 3)
        labels = np.zeros(SHAPE, np.uint8)
        labels[np.abs(at - centre).max(-1) < 11] = 1
        labels[np.linalg.norm(at - centre - rng.uniform(-1, 1, 3), axis=-1) < 6] = 2
        data = (100 * labels + rng.normal(0, 3, SHAPE)).astype(np.float32)
        save_image(folder / "images" / f"case_{n}.nii.gz", data, Image(data, grid))
        save_image(folder / "labels" / f"case_{n}.nii.gz", labels, Image(labels, grid), labels=True)
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="session")
def pack(shapes: Path) -> Pack:
    return build_pack(read_cases(shapes).cases, shapes / "shapes.pack")


@pytest.fixture
def recipe() -> Recipe:
    return recipe_from_dict(
        {
            "name": "shapes",
            "licence": "CC0",
            "trained_on": "four shapes",
            "model": {"base_channels": 1, "clusters": 2, "sacb_levels": [5]},
            "data": {"train": "0:4", "validation": "4:"},
            "loss": {"noise": 0.02},
            "optimiser": {"learning_rate": 3e-3, "schedule": "cosine", "warmup_steps": 2},
            "run": {"steps": 8, "validate_every": 4, "checkpoint_every": 3, "log_every": 2, "device": "cpu"},
        }
    )
