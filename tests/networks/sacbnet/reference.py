"""The published SACB-Net by its definitions alone, and a recorded forward pass of this package's.

The first half is the network in plain PyTorch, one image at a time, with a loop where the
definition has a sum. It imports nothing of sacbnet. It is slow and serves one purpose:
`test_reference.py` compares the package's network with it.

The second half makes `recorded.npz`: the displacements of several forms of the network, for one
small pair. Weights and images come from numpy's `RandomState`, whose numbers do not change between
versions. Run this file to record again, after a change of the numbers that is meant:

    python tests/networks/sacbnet/reference.py
"""

from __future__ import annotations

import hashlib
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

OFFSETS = list(product((-1, 0, 1), repeat=3))  # of a 3×3×3 window, row-major
State = dict[str, Tensor]


# -- the definitions; an image or its features are (c, i, j, k), a displacement is (3, i, j, k)


def displacement(
    state: State,
    moving: Tensor,
    fixed: Tensor,
    seeds: dict[str, list[int]],
    levels: tuple[int, ...] = (2, 3, 4, 5),
    descriptor: str = "spatial",
) -> Tensor:
    """The displacement in voxels for a pair of images (1, i, j, k).

    seeds: for "fixed5", "moving5", "fixed4", ..: the voxels that are the first centres of K-means.
    levels: those with a SACB.
    """
    i, j, k = fixed.shape[1:]
    f, m = encoder(state, padded(fixed)), encoder(state, padded(moving))

    phi = None
    for level in (5, 4, 3, 2):
        f_s = f[level]
        m_s = m[level] if phi is None else warp(m[level], phi)
        if level in levels:
            f_s = sacb(state, f"sacb{level}", f_s, seeds[f"fixed{level}"], descriptor)
            m_s = sacb(state, f"sacb{level}", m_s, seeds[f"moving{level}"], descriptor)
        d = match(m_s, f_s)
        phi = up(d if phi is None else warp(phi, d) + d)

    f_1, m_1 = f[1], warp(m[1], phi)
    for n in (0, 1):
        f_1, m_1 = block(state, f"refine.{n}", f_1), block(state, f"refine.{n}", m_1)
    d = torch.cat([f_1, m_1])
    d = block(state, "head.1", block(state, "head.0", d))
    d = convolution(state["head.2.weight"].flatten(2), d) + per_channel(state["head.2.bias"])
    return (warp(phi, d) + d)[:, :i, :j, :k]


def padded(image: Tensor) -> Tensor:
    """Zeros at the high ends, up to multiples of 16."""
    return F.pad(image, [side for n in reversed(image.shape[1:]) for side in (0, -n % 16)])


def encoder(state: State, image: Tensor) -> dict[int, Tensor]:
    x = image
    for n in (0, 1, 2):
        x = block(state, f"encoder.level1.{n}", x)
    features = {1: x}
    for level in (2, 3, 4, 5):
        eighths = [x[:, a::2, b::2, c::2] for a, b, c in product((0, 1), repeat=3)]
        x = sum(eighths) / 8
        for n in (1, 2):
            x = block(state, f"encoder.level{level}.{n}", x)
        features[level] = x
    return features


def block(state: State, name: str, x: Tensor) -> Tensor:
    """Convolution → instance norm → leaky ReLU."""
    x = convolution(state[f"{name}.0.weight"].flatten(2), x) + per_channel(state[f"{name}.0.bias"])
    mean = x.mean((1, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((1, 2, 3), keepdim=True)
    return leaky((x - mean) / (variance + 1e-5).sqrt())


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def per_channel(bias: Tensor) -> Tensor:
    return bias[:, None, None, None]


def neighbours(x: Tensor) -> list[Tensor]:
    """x(v + t) for each offset t of the window; 0 beyond the edge."""
    _, i, j, k = x.shape
    wide = F.pad(x, (1,) * 6)
    return [wide[:, 1 + a : 1 + a + i, 1 + b : 1 + b + j, 1 + c : 1 + c + k] for a, b, c in OFFSETS]


def convolution(kernel: Tensor, x: Tensor) -> Tensor:
    """kernel (c_out, c_in, 27): the sum over t of W[:, :, t] · x(v + t)."""
    return sum(
        torch.einsum("oc,cijk->oijk", kernel[:, :, t], near) for t, near in enumerate(neighbours(x))
    )


def sacb(state: State, name: str, x: Tensor, seeds: list[int], descriptor: str) -> Tensor:
    z = block(state, f"{name}.project", x)
    spatial = sum(neighbours(z)) / 27  # (c, i, j, k)
    channel = torch.stack([near.mean(0) for near in neighbours(z)])  # (27, i, j, k)
    described = {"spatial": spatial, "channel": channel, "both": torch.cat([spatial, channel])}
    labels, centres = kmeans(described[descriptor].flatten(1).T, seeds)
    labels = labels.view(z.shape[1:])

    y = torch.zeros_like(z)
    for n, centre in enumerate(centres):
        taps = torch.sigmoid(mlp(state, f"{name}.to_taps", centre))  # (27,)
        bias = mlp(state, f"{name}.to_bias", centre)  # (c,)
        of_cluster = convolution(state[f"{name}.kernel"] * taps, z) + per_channel(bias)
        y = torch.where(labels == n, of_cluster, y)
    return leaky(y) + x


def mlp(state: State, name: str, x: Tensor) -> Tensor:
    for n in (0, 2, 4):
        x = state[f"{name}.{n}.weight"] @ x + state[f"{name}.{n}.bias"]
        x = x.clamp_min(0) if n < 4 else x
    return x


def kmeans(rows: Tensor, seeds: list[int]) -> tuple[Tensor, Tensor]:
    """Lloyd's rounds on rows (p, d) from the rows `seeds`, until the centres stand still."""
    centres = rows[seeds]
    while True:
        distances = torch.stack([((rows - centre) ** 2).sum(1) for centre in centres])
        labels = distances.argmin(0)
        assert len(labels.unique()) == len(seeds), "choose seeds by which no cluster gets empty"
        means = torch.stack([rows[labels == n].mean(0) for n in range(len(seeds))])
        shift, centres = ((means - centres) ** 2).sum(), means
        if shift <= 1e-10:
            return labels, centres


def match(moving: Tensor, fixed: Tensor) -> Tensor:
    """The expected offset under the softmax of the 27 dot products."""
    scores = torch.stack([(fixed * near).sum(0) for near in neighbours(moving)])  # (27, i, j, k)
    weights = scores.exp() / scores.exp().sum(0)
    return sum(
        weights[t] * torch.tensor(offset, dtype=weights.dtype).view(3, 1, 1, 1)
        for t, offset in enumerate(OFFSETS)
    )


def coordinates(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.stack(
        torch.meshgrid(*[torch.arange(n, dtype=dtype) for n in shape], indexing="ij")
    )


def warp(image: Tensor, u: Tensor) -> Tensor:
    """image(p + u(p))."""
    return sample(image, coordinates(tuple(u.shape[1:]), u.dtype) + u)


def up(u: Tensor) -> Tensor:
    """2·u, interpolated to twice as many voxels, whose first and last lie on those of u."""
    fine = coordinates(tuple(2 * n for n in u.shape[1:]), u.dtype)
    ratio = [(n - 1) / (2 * n - 1) for n in u.shape[1:]]
    return sample(2 * u, fine * torch.tensor(ratio, dtype=u.dtype).view(3, 1, 1, 1))


def sample(image: Tensor, at: Tensor) -> Tensor:
    """Trilinear: the eight voxels around a point, each times its weights; 0 outside the image."""
    low = at.floor()
    out = 0
    for corner in product((0, 1), repeat=3):
        voxel = low + torch.tensor(corner, dtype=at.dtype).view(3, 1, 1, 1)
        weight = (1 - (at - voxel).abs()).prod(0)
        inside = torch.ones_like(weight, dtype=torch.bool)
        for axis in range(3):
            inside &= (voxel[axis] >= 0) & (voxel[axis] <= image.shape[1 + axis] - 1)
        i, j, k = (voxel[axis].clamp(0, image.shape[1 + axis] - 1).long() for axis in range(3))
        out = out + torch.where(inside, weight, 0) * image[:, i, j, k]
    return out


# -- a small pair, weights, and what is recorded


RECORDED = Path(__file__).with_name("recorded.npz")
SHAPE = (24, 40, 20)  # padded to 32×48×32, so that level 5 has 12 voxels
STRIDE = 2  # every second voxel of a displacement is recorded
# The numbers of clusters differ, so that their order matters.
# `least_share` would merge most clusters, and must do nothing where their number is fixed.
PUBLISHED = {"base_channels": 1, "clusters": [7, 5, 6, 3], "least_share": 0.3}
FORMS = {
    "published": PUBLISHED,
    "beyond": PUBLISHED
    | {
        "descriptor": "both",
        "assignment": "soft",
        "number": "image",
        "least_share": 0.05,
        "scores": "scaled",
        "window": 5,
        "iterations": 2,
        "level1": "both",
        "diffeomorphic": True,
    },
    "symmetric": PUBLISHED | {"symmetric": True},
    "symmetric and diffeomorphic": PUBLISHED
    | {"symmetric": True, "diffeomorphic": True, "scores": "scaled", "level1": "both"},
}


def draw_state(shapes: dict[str, tuple[int, ...]], seed: int = 1) -> State:
    """Parameters of these shapes: whole numbers over 4096 times a scale, the same everywhere.

    The kernel of a SACB is small: at full scale the matching of raw dot products gets so sharp that
    rounding counts four times as much.
    """
    random = np.random.RandomState(seed)
    state = {}
    for name, shape in sorted(shapes.items()):
        fan_in = prod(shape[1:])
        scale = 0.5 if name.endswith("bias") or not shape else (6 / fan_in) ** 0.5
        scale *= 0.25 if name.endswith("kernel") else 1
        whole = random.randint(-4096, 4097, size=shape)
        state[name] = torch.tensor(np.asarray(whole / 4096 * scale, np.float32))
    return state


def draw_pair(shape: tuple[int, ...] = SHAPE, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """moving and fixed, uint8: smooth images, of which one is the other shifted and mixed."""
    random = np.random.RandomState(seed)
    coarse = torch.tensor(random.randint(0, 256, size=(2, 1, 7, 9, 7)).astype(np.float64))
    wide = tuple(n + 4 for n in shape)
    whole = F.interpolate(coarse, wide, mode="trilinear", align_corners=True)[:, 0]
    i, j, k = shape
    fixed, own = whole[0, 2 : 2 + i, 2 : 2 + j, 2 : 2 + k], whole[1, :i, :j, :k]
    moving = 0.8 * whole[0, 4 : 4 + i, 1 : 1 + j, 3 : 3 + k] + 0.2 * own
    return moving.round().byte().numpy(), fixed.round().byte().numpy()


def images(pair: tuple[np.ndarray, np.ndarray] | list[np.ndarray]) -> list[Tensor]:
    """moving and fixed as the network takes them: (1, 1, i, j, k) in [0, 1]."""
    return [torch.tensor(image).float()[None, None] / 255 for image in pair]


def digest(state: State) -> str:
    """A hash of the parameters, which tells a change of the weights from one of the network."""
    return hashlib.sha256(b"".join(state[n].numpy().tobytes() for n in sorted(state))).hexdigest()


def build_form(form: str) -> torch.nn.Module:
    """The package's network in one of the forms that are recorded, with the drawn weights."""
    from sacbnet.config.sacbnet import SACBNetConfig
    from sacbnet.networks.registry import build

    network = build(SACBNetConfig.from_dict(FORMS[form]))
    network.load_state_dict(
        draw_state({n: tuple(p.shape) for n, p in network.state_dict().items()})
    )
    return network.eval()


def main() -> None:
    pair = draw_pair()
    content = {"moving": pair[0], "fixed": pair[1]}
    for form in FORMS:
        network = build_form(form)
        with torch.inference_mode():
            u = network(*images(pair))[0]
        content[f"{form}/displacement"] = u[:, ::STRIDE, ::STRIDE, ::STRIDE].numpy()
        content[f"{form}/weights"] = np.array(digest(network.state_dict()))
        print(f"{form}: |u| {u.abs().mean():.3f} mean, {u.abs().max():.3f} largest")
    np.savez_compressed(RECORDED, **content)
    print(f"{RECORDED.name}: {RECORDED.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
