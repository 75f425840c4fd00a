"""One small pair of heads with a known warp, registered once a session.

Most tests of the pipeline look at its result. The pair is the phantom of `sacbnet demo`, sampled
coarsely and shrunk to the size of a fist, so that its voxels measure about 1 mm.
"""

from __future__ import annotations

import locale
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

import sacbnet
from sacbnet.config.recipe import Recipe, recipe_from_dict
from sacbnet.data import phantom
from sacbnet.data.pack import Pack
from sacbnet.data.packing import build_pack
from sacbnet.data.source import read_cases
from sacbnet.imaging.image import Image
from sacbnet.io.images import save_image
from sacbnet.registration.result import Registration
from sacbnet.spatial.grid import Grid

SHRINK = 4.4
SHAPES_GRID = (32, 32, 32)
STEPS = 15  # of refinement, at each level
QUICK = {"weights": "none", "affine": "none", "refine": 2}  # enough where only the plumbing matters


@dataclass(frozen=True, eq=False)
class SmallPair:
    """fixed: 40 × 48 × 40 at 1 mm, oblique. moving: 54 × 50 × 28 at 0.9 × 0.9 × 1.5 mm, oblique.

    true_map: fixed world points (n, 3) -> moving world points. landmarks: (n, 3), fixed world mm.
    aligned: the moving image with a header that undoes the rotation and shift; only the bend
    remains.
    """

    fixed: Image
    fixed_labels: Image
    moving: Image
    moving_labels: Image
    aligned: Image
    aligned_labels: Image
    true_map: Callable[[NDArray[np.floating]], NDArray[np.float64]] = field(repr=False)
    landmarks: NDArray[np.float64] = field(repr=False)

    @property
    def in_head(self) -> NDArray[np.float64]:
        """(n, 3) fixed world mm: voxels of the brain."""
        return self.fixed.grid.world(np.argwhere(self.fixed_labels.data > 3))


def relocated(image: Image, matrix: NDArray[np.floating]) -> Image:
    """The same voxels, with `matrix` (4x4, world -> world) put before the affine of the header."""
    return Image(image.data, Grid(image.grid.shape, matrix @ image.grid.affine), image.name)


def _make_pair(seed: int = 0) -> SmallPair:
    rng = np.random.default_rng(seed)
    anatomy, warp = phantom.Anatomy.random(rng), phantom.KnownWarp.random(rng, 9.0)
    centre = phantom.HEAD_CENTRE
    fixed_grid = phantom.oblique_grid(
        (40, 48, 40), (SHRINK,) * 3, "LAS", (6, -3, 4), centre + np.array([1, 2, 0])
    )
    at = warp.affine(centre + np.array([-3, 2, 4]))
    moving_grid = phantom.oblique_grid((54, 50, 28), (4.0, 4.0, 6.6), "PIR", (-5, 4, -7), at)
    shrink = np.diag([1 / SHRINK] * 3 + [1.0])

    def image(values: NDArray[np.generic], grid: Grid, name: str) -> Image:
        return relocated(Image(values, grid, name), shrink)

    fixed, fixed_labels = phantom._acquire(anatomy, None, fixed_grid, rng, blur_mm=SHRINK)
    moving, moving_labels = phantom._acquire(anatomy, warp, moving_grid, rng, blur_mm=SHRINK)
    fixed_image = image(np.rint(fixed * 1050), fixed_grid, "fixed")
    images = [
        image(moving**0.9 * 80, moving_grid, "moving"),
        image(moving_labels, moving_grid, "moving labels"),
    ]
    inverse = np.linalg.inv(shrink @ warp.affine.matrix @ np.linalg.inv(shrink))
    rotation, translation = np.eye(4), np.eye(4)
    u, _, vt = np.linalg.svd(inverse[:3, :3])
    rotation[:3, :3] = u @ vt
    middle = images[0].grid.centre
    translation[:3, 3] = (inverse[:3, :3] @ middle + inverse[:3, 3]) - u @ vt @ middle
    rigid = translation @ rotation
    return SmallPair(
        fixed_image,
        image(fixed_labels, fixed_grid, "fixed labels"),
        *images,
        *(relocated(i, rigid) for i in images),
        lambda p: warp(np.asarray(p) * SHRINK) / SHRINK,
        anatomy.landmarks() / SHRINK,
    )


@pytest.fixture(autouse=True)
def _locale() -> Iterator[None]:
    """Put the locale back: SimpleITK's writer of DICOM leaves "C", which reads text as ASCII."""
    place = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, place)


@pytest.fixture(scope="session")
def pair() -> SmallPair:
    return _make_pair()


@pytest.fixture(scope="session")
def registered(pair: SmallPair) -> Registration:
    """The pair through every stage but the network."""
    return sacbnet.register(
        fixed=pair.fixed,
        moving=pair.moving,
        fixed_labels=pair.fixed_labels,
        moving_labels=pair.moving_labels,
        weights="none",
        refine=STEPS,
    )


@pytest.fixture(scope="session")
def near(pair: SmallPair) -> Registration:
    """The pair without the rigid part in its headers; two steps of refinement, no affine."""
    return sacbnet.register(
        fixed=pair.fixed, moving=pair.aligned, moving_labels=pair.aligned_labels, **QUICK
    )


@pytest.fixture(scope="session")
def files(pair: SmallPair, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The images of the pair as NIfTI, by name; only to be read."""
    folder = tmp_path_factory.mktemp("input")
    names = ("fixed", "fixed_labels", "moving", "moving_labels", "aligned", "aligned_labels")
    for name in names:
        image = getattr(pair, name)
        save_image(folder / f"{name}.nii.gz", image.data, image, labels=name.endswith("labels"))
    return {name: folder / f"{name}.nii.gz" for name in names}


@pytest.fixture(scope="session")
def result(registered: Registration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `registered` was saved; only to be read."""
    folder = tmp_path_factory.mktemp("result")
    registered.save(folder)
    return folder


@dataclass(frozen=True)
class Command:
    """A finished `sacbnet register` and the folder it wrote."""

    out: Path
    process: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def commands(
    files: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Command, Command]:
    """The same registration by the command in two fresh processes; the second one quiet."""
    folder = tmp_path_factory.mktemp("commands")
    finished = []
    for n, more in enumerate([[], ["--quiet"]]):
        arguments = [
            f"--{name.replace('_', '-')}={files[name]}"
            for name in ("fixed", "moving", "moving_labels")
        ]
        arguments += [f"--out={folder / str(n)}", "--refine=2", *more]
        process = subprocess.run(
            [sys.executable, "-m", "sacbnet", "register", *arguments],
            env={**os.environ, "PYTHONHASHSEED": str(n), "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        finished.append(Command(folder / str(n), process))
    return finished[0], finished[1]


@pytest.fixture
def turn() -> NDArray[np.float64]:
    """A rigid motion of the world, 4x4: 21° about an oblique axis, and a shift of some cm."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(21) * np.array([0.48, -0.6, 0.64])).as_matrix()
    matrix[:3, 3] = 12.0, -35.0, 8.0
    return matrix


# ---- for training: a set of six small shapes, packed, and a recipe that takes a second


def _write_set(folder: Path, cases: int = 6, seed: int = 0) -> Path:
    """images/ and labels/ of a ball in a box, both of which differ from case to case."""
    rng = np.random.default_rng(seed)
    at = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPES_GRID], indexing="ij"), -1).astype(
        float
    )
    grid = Grid(SHAPES_GRID, np.diag([1.0, 1.0, 1.0, 1.0]))
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for n in range(cases):
        centre = 15.5 + rng.uniform(-2, 2, 3)
        labels = np.zeros(SHAPES_GRID, np.uint8)
        labels[np.abs(at - centre).max(-1) < 11] = 1
        labels[np.linalg.norm(at - centre - rng.uniform(-1, 1, 3), axis=-1) < 6] = 2
        data = (100 * labels + rng.normal(0, 3, SHAPES_GRID)).astype(np.float32)
        save_image(folder / "images" / f"case_{n}.nii.gz", data, Image(data, grid))
        save_image(folder / "labels" / f"case_{n}.nii.gz", labels, Image(labels, grid), labels=True)
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_set(tmp_path_factory.mktemp("shapes"))


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
            "run": {
                "steps": 8,
                "validate_every": 4,
                "checkpoint_every": 3,
                "log_every": 2,
                "device": "cpu",
            },
        }
    )


# ---- for benchmarks: a Python that "has" other makers' tools, and answers as peers/worker.py does

FAKE = """#!{python}
import json, sys
import nibabel as nib, numpy as np
worker, tool, *options = sys.argv[1:]
assert worker.endswith("worker.py") and options[:2] == ["--threads", "3"], sys.argv
if {broken!r} and tool in {broken!r}:
    print("a line before\\nModuleNotFoundError: No module named 'it'\\n")
    sys.exit(1)
account = {{"tool": f"fake-{{tool}} 1.0"}}
if "--version" not in options:
    fixed, moving = nib.load("fixed.nii"), nib.load("moving.nii")
    u = np.zeros((*fixed.shape, 1, 3), np.float32)
    u[..., 0] = {shift} * -1  # mm, along L: a shift along R the other way
    field = nib.Nifti1Image(u, fixed.affine)
    field.header["intent_code"] = 1007
    nib.save(field, "warp.nii.gz")
    if "--aligned" not in options:
        np.savetxt("affine_ras.txt", [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]])
    labels = nib.load("labels.nii")
    # on the grid of the tests, whose voxels are 1 mm
    moved = np.roll(np.asarray(labels.dataobj), -{moves}, 0)
    if "--aligned" not in options:
        moved = np.roll(moved, -1, 1)
    nib.save(nib.Nifti1Image(moved, fixed.affine), "moved_labels.nii.gz")
    account |= {{"seconds": 1.5, "processor_seconds": 1.0, "peak_memory_mb": 77.0}}
json.dump(account, open("worker.json", "w"))
"""


@pytest.fixture
def fake_python(tmp_path) -> Callable[..., str]:
    """A Python with other tools, which shift an image by a number of voxels along i.

    shift: of the field. moves: of the labels, if they do not move with the field. broken: tools
    that this Python does not have.
    """

    def make(shift: int = 2, moves: int | None = None, broken: str = "") -> str:
        path = Path(tmp_path / f"python{shift}{moves}{broken}")
        moves = shift if moves is None else moves
        path.write_text(FAKE.format(python=sys.executable, shift=shift, moves=moves, broken=broken))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make
