"""What kernels.py runs: our call, the published one and a convolution, by kernel and shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import naive
import roofline
import torch
import torch.nn.functional as F
from timing import Call
from torch import Tensor, nn

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.losses import gradient_loss, ncc_loss
from sacbnet.networks.sacbnet.encoder import Block
from sacbnet.networks.sacbnet.network import SACBNet
from sacbnet.ops.adaptive_conv import adaptive_conv
from sacbnet.ops.kmeans import kmeans
from sacbnet.ops.matching import match
from sacbnet.ops.mixed_conv import mixed_conv, mixed_conv_plain
from sacbnet.spatial.warp import compose, warp

NAMES = (
    "adaptive_conv",
    "mixed_conv",
    "kmeans",
    "match",
    "warp",
    "compose",
    "ncc_loss",
    "block",
    "network",
)
LEVELS = (2, 3, 4, 5)
LAST = torch.channels_last_3d
Size = tuple[int, ...]
Operator = Callable[..., Tensor]


@dataclass(frozen=True)
class Setting:
    """The device and the precision. The published formulation is always float32."""

    device: torch.device
    precision: torch.dtype = torch.float32

    @property
    def width(self) -> int:
        return self.precision.itemsize

    def autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16
        )

    def smooth(self, b: int, c: int, size: Size, noise: float = 0.2) -> Tensor:
        """Blobs of about eight voxels and a little noise, so that K-means behaves as on anatomy."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.randn(b, c, *(max(2, n // 8) for n in size), generator=generator)
        x = F.interpolate(coarse, size=size, mode="trilinear", align_corners=True)
        return x.add_(torch.randn(x.shape, generator=generator), alpha=noise).to(self.device)

    def features(self, b: int, c: int, size: Size) -> Tensor:
        """(b, c, i, j, k) float32, as they leave a block."""
        return F.leaky_relu(F.instance_norm(self.smooth(b, c, size)), 0.1)

    def pair(self, size: Size) -> tuple[Tensor, Tensor]:
        """Two images (1, 1, i, j, k) in [0, 1], an ellipsoid on black."""
        axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij")
        inside = (sum(a.square() for a in axes) < 0.8).to(self.device)
        moving, fixed = (self.smooth(2, 1, size, 0.1).sigmoid() * inside).split(1)
        return moving.contiguous(), fixed.contiguous()

    def displacement(self, size: Size) -> Tensor:
        return 2 * self.smooth(1, 3, size, 0.0)


@dataclass(frozen=True)
class Case:
    """One row of the result.

    shape: of the input tensor. costs: what the roofline counts. calls: makes the inputs and returns
    the functions to time, by who computes. smaller: the same case at half the sides, for a forecast
    where there is none.
    """

    name: str
    shape: Size
    clusters: int | None
    passes: str
    costs: list[roofline.Cost]
    calls: Callable[[], dict[str, Call]]
    smaller: Callable[[], Case | None]

    @property
    def voxels(self) -> int:
        return self.shape[2] * self.shape[3] * self.shape[4]


def cases(
    names: Sequence[str],
    sizes: Sequence[Size],
    clusters: Sequence[int],
    setting: Setting,
    training: bool = True,
) -> Iterator[Case]:
    """All cases, small sizes first.

    Level 2, and the forward pass of the smallest network, get every number of clusters; the other
    cases get 7.
    """
    usual = 7 if 7 in clusters else clusters[0]
    sizes = sorted(sizes, key=lambda s: s[0] * s[1] * s[2])
    for size in sizes:
        for name in (n for n in NAMES if n in names):
            for level in (
                LEVELS if name in ("adaptive_conv", "mixed_conv", "kmeans", "match") else (1,)
            ):
                for backward in (False, True) if training and name != "kmeans" else (False,):
                    counts: Sequence[int | None] = [None]
                    if name in ("adaptive_conv", "mixed_conv", "kmeans", "network"):
                        swept = level == 2 or (
                            name == "network" and size == sizes[0] and not backward
                        )
                        counts = clusters if swept else [usual]
                    for n in counts:
                        yield make(name, size, level, n, backward, setting)


def make(
    name: str, size: Size, level: int, clusters: int | None, backward: bool, setting: Setting
) -> Case:
    """The case of one kernel at a level of a pair of images of `size`."""
    here = tuple(n // 2 ** (level - 1) for n in size)
    c = (
        1
        if name in ("ncc_loss", "network")
        else 3
        if name == "compose"
        else SACBNetConfig().channels(level)
    )
    b = 2 if name in ("adaptive_conv", "mixed_conv", "kmeans", "block") else 1
    shape = (b, c, *here)
    voxels = b * here[0] * here[1] * here[2]
    w = setting.width
    n = clusters or 1
    calls, costs = {
        "adaptive_conv": (_adaptive_conv, lambda: [roofline.conv(voxels, c, c, w, backward)]),
        "mixed_conv": (_mixed_conv, lambda: [roofline.conv(voxels, c, c, w, backward)]),
        "kmeans": (_kmeans, lambda: [roofline.kmeans(voxels, c, n)]),
        "match": (_match, lambda: [roofline.match(voxels, c, w, backward)]),
        "warp": (_warp, lambda: [roofline.warp(voxels, c, w, backward)]),
        "compose": (_compose, lambda: [roofline.warp(voxels, c, 4, backward)]),
        "ncc_loss": (_ncc_loss, lambda: [roofline.ncc(voxels, backward)]),
        "block": (_block, lambda: [roofline.conv(voxels, c, c, w, backward)]),
        "network": (
            _network,
            lambda: roofline.network(size, SACBNetConfig(clusters=(n,) * 4), w, backward),
        ),
    }[name]

    def smaller() -> Case | None:
        half = tuple(16 * -(-a // 32) for a in size)
        if size[0] * size[1] * size[2] <= 64**3 or half == size:
            return None
        return make(name, half, level, clusters, backward, setting)

    passes = (
        "forward" if not backward else "training step" if name == "network" else "forward+backward"
    )
    return Case(
        name, shape, clusters, passes, costs(), lambda: calls(shape, n, backward, setting), smaller
    )


def _call(
    operator: Operator, inputs: Sequence[Tensor], backward: bool, wanted: Sequence[Tensor] = ()
) -> Call:
    """Run the operator, without gradients or with those of `wanted` (default: the first input)."""
    if not backward:

        def forward() -> Tensor:
            with torch.inference_mode():
                return operator(*inputs)

        return forward

    leaves = [x.requires_grad_() for x in wanted or inputs[:1]]
    slopes: list[Tensor] = []

    def both() -> tuple[Tensor, ...]:
        y = operator(*inputs)
        if not slopes:  # laid out as the output is, once
            slopes.append(torch.ones_like(y))
        return torch.autograd.grad(y, leaves, slopes[0])

    return both


def _apart(calls: Sequence[Call]) -> Call:
    """One image after the other, each with its own backward pass.

    This takes less memory than the original, which holds both.
    """

    def run() -> None:
        for call in calls:
            call()

    return run


def _convolutions(z: Tensor, weight: Tensor, bias: Tensor, backward: bool) -> dict[str, Call]:
    """Plain conv3d on both layouts."""
    calls = {}
    for name, layout in (
        ("conv contiguous", torch.contiguous_format),
        ("conv channels last", LAST),
    ):
        inputs = [_leaf(z, layout), _leaf(weight, layout), _leaf(bias)]
        calls[name] = _call(lambda x, w, b: F.conv3d(x, w, b, padding=1), inputs, backward, inputs)
    return calls


def _leaf(x: Tensor, layout: torch.memory_format = torch.preserve_format) -> Tensor:
    return x.detach().clone(memory_format=layout)


def _clustered(
    shape: Size, n: int, setting: Setting
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Features, labels in regions, taps, kernel, bias."""
    b, c, size = shape[0], shape[1], shape[2:]
    z = setting.features(b, c, size)
    bands = (setting.smooth(b, 1, size)[:, 0] + 1) * (n / 2)  # regions, as clusters are
    labels = bands.floor().clamp_(0, n - 1).long()
    torch.manual_seed(0)
    kernel = torch.randn(c, c, 27, device=setting.device) / (27 * c) ** 0.5
    taps, bias = (
        torch.rand(b, n, 27, device=setting.device),
        torch.randn(b, n, c, device=setting.device),
    )
    return z, labels, taps, kernel, bias


def _adaptive_conv(shape: Size, n: int, backward: bool, setting: Setting) -> dict[str, Call]:
    b, c = shape[:2]
    z, labels, taps, kernel, bias = _clustered(shape, n, setting)

    def ours(z: Tensor, taps: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        with setting.autocast():
            return adaptive_conv(z, labels, taps, kernel, bias)

    p = setting.precision
    fast = [_leaf(z.to(p), LAST), _leaf(taps.to(p)), _leaf(kernel), _leaf(bias.to(p))]
    slow = []
    for s in range(b):
        parts = [_leaf(z[s : s + 1]), _leaf(taps[s]), _leaf(kernel), _leaf(bias[s])]

        def published(
            z: Tensor, taps: Tensor, kernel: Tensor, bias: Tensor, labels: Tensor = labels[s]
        ) -> Tensor:
            return naive.adaptive_conv(z, labels, taps, kernel, bias)

        slow.append(_call(published, parts, backward, parts))
    plain = _convolutions(z.to(p), kernel.view(c, c, 3, 3, 3).to(p), bias[0, 0].to(p), backward)
    return {"ours": _call(ours, fast, backward, fast), "naive": _apart(slow), **plain}


def _mixed_conv(shape: Size, n: int, backward: bool, setting: Setting) -> dict[str, Call]:
    """The naive form is the definition, because nobody published this operator.

    The adaptive convolution takes the place of the plain convolution.
    """
    z, labels, taps, kernel, bias = _clustered(shape, n, setting)
    membership = (
        F.one_hot(labels, n).movedim(-1, 1) + setting.smooth(shape[0], n, shape[2:])
    ).softmax(1)

    def soft(z: Tensor, membership: Tensor, taps: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        with setting.autocast():
            return mixed_conv(z, membership, taps, kernel, bias)

    def hard(z: Tensor, taps: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        with setting.autocast():
            return adaptive_conv(z, labels, taps, kernel, bias)

    z, slow = z.to(setting.precision), [_leaf(t) for t in (z, membership, taps, kernel, bias)]
    ours = [_leaf(z, LAST), *(_leaf(t) for t in (membership, taps, kernel, bias))]
    theirs = [_leaf(z, LAST), *(_leaf(t) for t in (taps, kernel, bias))]
    return {
        "ours": _call(soft, ours, backward, ours),
        "naive": _call(mixed_conv_plain, slow, backward, slow),
        "conv adaptive": _call(hard, theirs, backward, theirs),
    }


def _kmeans(shape: Size, n: int, backward: bool, setting: Setting) -> dict[str, Call]:
    # descriptors
    x = F.avg_pool3d(F.pad(setting.features(*shape[:2], shape[2:]), (1,) * 6), 3, stride=1)
    # (b, p, c): contiguous, as the layout makes it
    rows = x.contiguous(memory_format=LAST).flatten(2).transpose(1, 2)

    def published() -> None:
        generator = torch.Generator().manual_seed(0)
        for sample in x:
            naive.kmeans(sample.flatten(1).T, n, generator)

    return {"ours": lambda: kmeans(rows, n), "naive": published}


def _match(shape: Size, n: int, backward: bool, setting: Setting) -> dict[str, Call]:
    # Features are of size 1 or so, as after instance norm, but alike: the scores are those of
    # images that nearly agree.
    fixed = setting.features(*shape[:2], shape[2:])
    moving = fixed.roll(1, dims=2)

    def ours(moving: Tensor, fixed: Tensor) -> Tensor:
        with setting.autocast():
            return match(moving, fixed)

    fast = [_leaf(x.to(setting.precision), LAST) for x in (moving, fixed)]
    slow = [_leaf(x) for x in (moving, fixed)]
    return {
        "ours": _call(ours, fast, backward, fast),
        "naive": _call(naive.match, slow, backward, slow),
    }


def _warp(shape: Size, n: int, backward: bool, setting: Setting) -> dict[str, Call]:
    image, u = setting.features(*shape[:2], shape[2:]), setting.displacement(shape[2:])
    fast, slow = [_leaf(image.to(setting.precision), LAST), _leaf(u)], [_leaf(image), _leaf(u)]
    return {
        "ours": _call(warp, fast, backward, fast),
        "naive": _call(naive.warp, slow, backward, slow),
    }


def _compose(shape: Size, n: int, backward: bool, setting: Setting) -> dict[str, Call]:
    fast, slow = ([_leaf(setting.displacement(shape[2:])) for _ in range(2)] for _ in range(2))
    return {
        "ours": _call(compose, fast, backward, fast),
        "naive": _call(naive.compose, slow, backward, slow),
    }


def _ncc_loss(shape: Size, n: int, backward: bool, setting: Setting) -> dict[str, Call]:
    moved, fixed = setting.pair(shape[2:])
    slow = [_leaf(moved), _leaf(fixed)]
    return {
        "ours": _call(ncc_loss, [moved, fixed], backward),
        "naive": _call(naive.ncc_loss, slow, backward),
    }


def _block(shape: Size, n: int, backward: bool, setting: Setting) -> dict[str, Call]:
    c = shape[1]
    x = setting.features(*shape[:2], shape[2:])
    torch.manual_seed(0)
    ours, theirs = Block(c, c).to(setting.device), naive.block(c, c).to(setting.device)

    def fused(x: Tensor) -> Tensor:
        with setting.autocast():
            return ours(x)

    fast = _leaf(x.to(setting.precision), LAST)
    slow = [_leaf(x[s : s + 1]) for s in range(shape[0])]
    weight, bias = (p.detach().to(setting.precision) for p in theirs[0].parameters())
    return {
        "ours": _call(fused, [fast], backward, [fast, *ours.parameters()]),
        "naive": _apart(
            [_call(theirs, [part], backward, [part, *theirs.parameters()]) for part in slow]
        ),
        **_convolutions(x.to(setting.precision), weight, bias, backward),
    }


def _network(shape: Size, n: int, backward: bool, setting: Setting) -> dict[str, Call]:
    moving, fixed = setting.pair(shape[2:])
    torch.manual_seed(0)
    model = SACBNet(SACBNetConfig(clusters=(n,) * 4)).to(setting.device)
    published = naive.NaiveSACBNet.like(model)

    def ours(moving: Tensor, fixed: Tensor) -> Tensor:
        with setting.autocast():
            return model(moving, fixed)

    if not backward:
        return {
            who: _call(net, (moving, fixed), False)
            for who, net in (("ours", ours), ("naive", published))
        }
    return {
        "ours": _step(model, ours, (warp, ncc_loss, gradient_loss), moving, fixed),
        "naive": _step(
            published, published, (naive.warp, naive.ncc_loss, naive.gradient_loss), moving, fixed
        ),
    }


def _step(
    model: nn.Module, run: Operator, parts: Sequence[Operator], moving: Tensor, fixed: Tensor
) -> Call:
    """Forward, loss, backward, Adam.

    The rate is 0, so that every repeat does the same work with the same weights.
    """
    adam = torch.optim.Adam(model.parameters(), lr=0.0)
    move, likeness, roughness = parts

    def step() -> None:
        adam.zero_grad()
        u = run(moving, fixed)
        (likeness(move(moving, u), fixed) + roughness(u)).backward()
        adam.step()

    return step
