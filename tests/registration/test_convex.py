"""The discrete search: it finds large motion, in any contrast, and only where the images count."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from sacbnet.registration import convex
from sacbnet.registration.convex import convex_start

SIZE = 48
INNER = (slice(None), slice(None), *[slice(8, -8)] * 3)


def texture(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = [gaussian_filter(rng.normal(size=(SIZE,) * 3), s) for s in (2, 4)]
    data = noise[0] * 6 + noise[1] * 12
    return np.clip(0.5 + 0.25 * data / data.std(), 0, 1)


def truth(peak: float = 9.0) -> np.ndarray:
    """(3, i, j, k) voxels: farther than the reach of local correlation, and smooth."""
    x = np.indices((SIZE,) * 3) / SIZE * 2 * np.pi
    return peak * np.stack([np.cos(x[1] / 2), -0.6 * np.sin(x[0] / 2), 0.5 * np.cos(x[0] / 2)])


def pair() -> tuple[Tensor, Tensor, Tensor]:
    """fixed, moving and the displacement between them."""
    u = truth()
    moving = texture()
    fixed = map_coordinates(moving, np.indices((SIZE,) * 3) + u, order=3, mode="nearest")
    return tensor(fixed.clip(0, 1)[None]), tensor(moving[None]), tensor(u)


def tensor(x: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x)).float()[None]


def error(u: Tensor, expected: Tensor) -> float:
    return float((u - expected)[INNER].norm(dim=1).mean())


def test_large_motion_is_found_to_about_a_voxel():
    fixed, moving, expected = pair()
    u = convex_start(fixed=fixed, moving=moving)
    assert error(torch.zeros_like(u), expected) > 5
    assert error(u, expected) < 1.2


def test_in_another_contrast_as_well():
    fixed, moving, expected = pair()
    u = convex_start(fixed=fixed, moving=1 - 0.8 * moving)
    assert error(u, expected) < 1.5


def test_an_image_onto_itself_moves_nothing():
    fixed = pair()[0]
    assert float(convex_start(fixed=fixed, moving=fixed).abs().max()) == 0


def test_what_lies_outside_the_masks_has_no_say():
    fixed, moving, expected = pair()
    mask = torch.ones_like(fixed)
    mask[..., 30:] = 0
    other = tensor(texture(5)[None])
    for name in ("fixed", "moving"):
        images = {"fixed": fixed, "moving": moving}
        images[name] = torch.where(mask > 0, images[name], other)  # another anatomy beyond it
        masked = convex_start(**images, **{f"{name}_mask": mask})
        blind = convex_start(**images)
        near = (slice(None), slice(None), slice(8, -8), slice(8, -8), slice(18, 26))
        errors = [float((u - expected)[near].norm(dim=1).mean()) for u in (masked, blind)]
        assert errors[0] < errors[1]
        assert errors[0] < 2


def test_a_large_volume_has_a_coarser_lattice(monkeypatch):
    fixed, moving, _ = pair()
    steps: list[int] = []

    def search(*given: object) -> Tensor:
        steps.append(given[5])
        return torch.zeros(1, 3, 4, 4, 4)

    monkeypatch.setattr(convex, "_search", search)
    convex_start(fixed=fixed, moving=moving)
    monkeypatch.setattr(convex, "LARGE", 1000)
    convex_start(fixed=fixed, moving=moving)
    assert steps == [8, 4, 2, 8, 4]  # 16 would leave three points along an axis


def test_a_volume_without_room_for_a_lattice_is_left_alone():
    x = torch.rand(1, 1, 5, 6, 7)
    assert float(convex_start(fixed=x, moving=x.flip(2)).abs().max()) == 0
