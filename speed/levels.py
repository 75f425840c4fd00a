"""How fast are the compiled kernels at each level of instructions, compared with one library?

    make kernels LEVELS=all; python speed/levels.py [--against FILE.so] [--rounds 15]

The calls take turns in one process, with one thread. The least processor time of each counts, which
other programs on the machine disturb least. `--against` is another library of kernels with the same
signatures; without it, the plain forms of torch are compared. A ratio above 1 means that the level
is faster.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from sacbnet.kernels.cpu import levels, native
from sacbnet.kernels.cpu.library import Library
from sacbnet.ops.conv import conv3d
from sacbnet.spatial.warp import warp


def calls() -> dict[str, Callable[[], Tensor]]:
    """Some kernels at the sizes that a registration has."""
    torch.manual_seed(0)
    full, half = torch.randn(1, 8, 64, 64, 64), torch.randn(1, 32, 32, 32, 32)
    small, wide = torch.randn(8, 8, 3, 3, 3) / 15, torch.randn(32, 32, 3, 3, 3) / 30
    image, displacement = torch.randn(1, 1, 96, 96, 96), torch.randn(1, 3, 96, 96, 96)

    def with_gradient() -> Tensor:
        x = half.clone().requires_grad_()
        conv3d(x, wide, torch.zeros(32)).sum().backward()
        return x

    return {
        "convolution, 8 channels, 64³": lambda: conv3d(full, small, torch.zeros(8)),
        "convolution, 32 channels, 32³": lambda: conv3d(half, wide, torch.zeros(32)),
        "the same with the gradient": with_gradient,
        "warp of one image, 96³": lambda: warp(image, displacement),
    }


def seconds(call: Callable[[], Tensor]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path)
    parser.add_argument("--rounds", type=int, default=15, help="default 15")
    options = parser.parse_args()
    torch.set_num_threads(1)
    forms: dict[str, tuple[str, Library | None]] = {
        "against": ("", Library(options.against) if options.against else None)
    }
    for level in levels.runnable():
        if (levels.FOLDER / f"kernels_{level}.so").is_file():
            forms[level] = levels.load(level)
    for name, call in calls().items():
        least = dict.fromkeys(forms, float("inf"))
        for _ in range(options.rounds + 1):  # the first round warms up
            for form, loaded in forms.items():
                native._loaded = lambda loaded=loaded: loaded  # type: ignore[assignment]
                with nullcontext() if loaded[1] else native.plain_kernels():
                    least[form] = min(least[form], seconds(call))
        against = least.pop("against")
        rows = [f"{form} {1e3 * s:.1f} ms ({against / s:.2f})" for form, s in least.items()]
        print(f"{name}: {1e3 * against:.1f} ms; {', '.join(rows)}", flush=True)


if __name__ == "__main__":
    main()
