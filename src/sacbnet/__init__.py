"""sacbnet: learned 3-D medical image registration.

`sacbnet.register(fixed=..., moving=...)` is the whole job; `sacbnet.Registrar` does it for many
pairs. Names are imported when they are first used, so that `import sacbnet` and the help of the
command line do not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sacbnet.environment import VERSION as __version__

__all__ = [
    "Options",
    "Registrar",
    "Registration",
    "RunReport",
    "Warper",
    "__version__",
    "load_image",
    "load_points",
    "load_transform",
    "progress_bar",
    "register",
    "report",
]

if TYPE_CHECKING:
    from sacbnet.config.registration import Options
    from sacbnet.io.images import load_image
    from sacbnet.io.points import load_points
    from sacbnet.io.transforms import load_transform
    from sacbnet.registration.apply import Warper
    from sacbnet.registration.registrar import Registrar, register
    from sacbnet.registration.report import RunReport
    from sacbnet.registration.result import Registration
    from sacbnet.reporting.console import progress_bar
    from sacbnet.reporting.page.build import report

_HOMES = {
    "Options": "config.registration",
    "Registrar": "registration.registrar",
    "Registration": "registration.result",
    "RunReport": "registration.report",
    "Warper": "registration.apply",
    "load_image": "io.images",
    "load_points": "io.points",
    "load_transform": "io.transforms",
    "progress_bar": "reporting.console",
    "register": "registration.registrar",
    "report": "reporting.page.build",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sacbnet' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    if name in ("Registrar", "Registration", "register"):
        # A notebook shows a result with a picture. Pictures are no business of the room that
        # registers, so the method is added where the name is given out.
        result = import_module(".registration.result", __name__).Registration
        result._repr_html_ = _in_a_notebook
    return value


def _in_a_notebook(result: Any) -> str:
    """The verdict and a small picture of a registration, as HTML."""
    from importlib import import_module

    html: str = import_module(".reporting.page.notebook", __name__).notebook_html(result)
    return html
