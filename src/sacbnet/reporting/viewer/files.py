"""The table of what the viewer serves: by name, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from threading import Lock
from typing import Any

import numpy as np

from sacbnet.reporting.page import pictures as p
from sacbnet.reporting.page.deformation import nearly_largest
from sacbnet.reporting.page.pictures import GRID
from sacbnet.reporting.page.scales import nice, step_of

from . import layers
from .page import page_of
from .scene import Outline, Scene, Shown

INDEX, SCENE = "", "scene.json"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
    "nii": "application/octet-stream",
    "bin": "application/octet-stream",
}
_STATIC = ("viewer.js", "planes.js", "viewer.css", "niivue.js", "NOTICES.txt")


class File:
    """One file that is served; it is made when it is first asked for, and kept.

    Parameters
    ----------
    kind : str
        What the name of such a file ends with: "html".
    make : callable () -> bytes
        Makes it.
    """

    def __init__(self, kind: str, make: Callable[[], bytes]) -> None:
        self.type = _TYPES[kind]
        self._make = make
        self._lock = Lock()
        self._data: bytes | None = None

    def read(self) -> bytes:
        """Make the file, or take the one that was made before.

        Returns
        -------
        bytes
            What it holds.

        Raises
        ------
        SacbnetError
            If it cannot be made.
        """
        with self._lock:
            if self._data is None:
                self._data = self._make()
            return self._data


def table_of(scene: Scene) -> dict[str, File]:
    """List what is served of a scene.

    Parameters
    ----------
    scene : Scene
        What is shown.

    Returns
    -------
    dict of str to File
        The files by name; "" is the page itself.
    """
    found = {
        INDEX: File("html", lambda: page_of(scene, error_end(scene)).encode()),
        SCENE: File("json", lambda: json.dumps(description(scene)).encode()),
        "page.css": File("css", partial(_packaged, "sacbnet.reporting.page", "page.css")),
    }
    for name in _STATIC:
        found[name] = File(name.rpartition(".")[2], partial(_packaged, __package__, name))
    for role in ("first", "second", "other"):
        shown: Shown | None = getattr(scene, role)
        if shown is not None:
            found[f"{role}.nii"] = File("nii", partial(layers.volume, shown))
    frame = scene.first.frame
    for name, outline in _outlines(scene).items():
        over = scene.other.frame if name.startswith("other") and scene.other else frame
        found[name] = File("bin", partial(layers.label_texture, over, outline.labels))
    if scene.warper is not None:
        found["bend.bin"] = File("bin", partial(layers.bend_texture, frame, scene.warper))
    if scene.error is not None:
        found["error.bin"] = File("bin", partial(layers.error_texture, frame, scene.error))
    return found


def _packaged(package: str, name: str) -> bytes:
    where = files(package)
    return (where if name == "page.css" else where / "static").joinpath(name).read_bytes()


def _outlines(scene: Scene) -> Mapping[str, Outline]:
    found = {f"labels{n}.bin": x for n, x in enumerate(scene.outlines)}
    # the moving image's labels have the colour that they have after they were moved
    return found | {f"other_labels{n}.bin": x for n, x in enumerate(scene.other_outlines, start=1)}


def error_end(scene: Scene) -> float | None:
    """Choose the end of the scale of the expected error.

    Parameters
    ----------
    scene : Scene
        What is shown.

    Returns
    -------
    float or None
        A round number of mm; None without a map of the error.
    """
    if scene.error is None:
        return None
    first = scene.first.image
    thin = (slice(None, None, 2),) * 3
    body = first.scaling.foreground(first.data)[thin]  # outside it the error is large and idle
    return nice(nearly_largest([scene.error.data[thin][body]])) or 1.0


def description(scene: Scene) -> dict[str, Any]:
    """Describe a scene to the script of the page.

    Parameters
    ----------
    scene : Scene
        What is shown.

    Returns
    -------
    dict[str, Any]
        Plain values for JSON: names of files, sizes, colours.
    """
    grid = scene.first.frame.grid
    extent = np.array(grid.shape) * grid.spacing
    bend = layers.bend_grid(scene.first.frame).shape
    return {
        "names": scene.names,
        "shown": {role: _described(getattr(scene, role)) for role in ("first", "second", "other")},
        "labels": {
            "first": [name for name in _outlines(scene) if name.startswith("labels")],
            "other": [name for name in _outlines(scene) if name.startswith("other")],
        },
        "bend": None if scene.warper is None else {"file": "bend.bin", "shape": bend},
        "error": None if scene.error is None else {"file": "error.bin", "end": error_end(scene)},
        "step_mm": step_of(float(extent.max())),
        "colours": {
            "ramp": p.SEQUENTIAL,
            "first": p.FIRST,
            "second": p.SECOND,
            "both": p.BOTH,
            "grid": GRID,
        },
    }


def _described(shown: Shown | None) -> dict[str, Any] | None:
    if shown is None:
        return None
    grid = shown.frame.grid
    return {
        "name": shown.name,
        "ends": [float(x) for x in shown.ends],
        "shape": grid.shape,
        "spacing": [float(x) for x in grid.spacing],
    }
