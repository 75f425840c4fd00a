"""sacbnet: learned 3-D medical image registration.

`sacbnet.register(fixed, moving)` is the whole job; see `sacbnet.pipeline.Options` for what may be chosen. Names are
imported when first used, so that `import sacbnet` and the command line's help do not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Registration", "Warper", "__version__", "load_image", "load_points", "load_transform", "register"]

if TYPE_CHECKING:
    from .apply import Warper
    from .io.images import load_image
    from .io.points import load_points
    from .io.transforms import load_transform
    from .pipeline import register
    from .result import Registration

_HOMES = {
    "Registration": "result",
    "Warper": "apply",
    "load_image": "io.images",
    "load_points": "io.points",
    "load_transform": "io.transforms",
    "register": "pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sacbnet' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
