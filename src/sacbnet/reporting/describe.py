"""What `sacbnet info` says of a file: by its kind, the facts that a user asks for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from sacbnet.config.recipe import Recipe
from sacbnet.data.pack import open_pack
from sacbnet.errors import InputError
from sacbnet.evaluation.tables import SUMMARY
from sacbnet.io.format import PointsFormat, TransformFormat
from sacbnet.io.images import load_image
from sacbnet.io.points import load_points
from sacbnet.io.table import suffixes
from sacbnet.io.tools import format_of
from sacbnet.io.transforms import is_transform, load_transform
from sacbnet.metrics.folding import folding
from sacbnet.networks.weights.load import describe_weights, weights_file
from sacbnet.registration.apply import load_report
from sacbnet.registration.result import PAGE, RUN
from sacbnet.spatial.composition import parts_of
from sacbnet.spatial.transforms import Affine, Chain, DisplacementField
from sacbnet.training.folder import RECIPE

from .console import registration_lines
from .page.numbers import again
from .page.opinion import opinion_of
from .scores import scores


def describe(file: Path) -> dict[str, Any]:
    """Find out what a file is, and the facts about it.

    Parameters
    ----------
    file : Path
        An image, a transform, weights, points, a pack, or the folder of `register`, `train` or
        `evaluate`.

    Returns
    -------
    dict[str, Any]
        Facts by name; "kind" is what the file is.

    Raises
    ------
    InputError
        If the file cannot be read.
    WeightsError
        If weights cannot be used.
    """

    name = file.name.lower()
    if os.path.isdir(file) and (file / RECIPE).is_file():
        return _training(file)
    if name.endswith(".pack"):
        return _pack(file)
    if os.path.isdir(file) and (file / RUN).is_file():
        return _run(file / RUN)
    if name == RUN:
        return _run(file)
    if os.path.isdir(file) and (file / SUMMARY).is_file():
        return scores(file)
    if name.endswith(".safetensors"):
        return _weights(file)
    if name.endswith(suffixes(PointsFormat)):
        return _points(file)
    return _transform(file) if is_transform(file) else _image(file)


def _grid(grid: Any) -> dict[str, Any]:

    return {
        "shape": " × ".join(map(str, grid.shape)),
        "spacing": " × ".join(f"{s:.4g}" for s in grid.spacing) + " mm",
        "axes": "".join(nib.aff2axcodes(grid.affine))
        + ("" if grid.is_orthogonal else " (sheared)"),
        "centre (RAS)": ", ".join(f"{c:.1f}" for c in grid.centre) + " mm",
    }


def _image(file: Path) -> dict[str, Any]:

    image = load_image(file)
    facts = {"kind": "image", **_grid(image.grid)}
    facts["intensities"] = (
        f"{image.data.min():.6g} to {image.data.max():.6g}, mean {image.data.mean():.6g}"
    )
    return facts | {f"warning {n}": text for n, text in enumerate(image.warnings, 1)}


def _transform(file: Path) -> dict[str, Any]:

    found = format_of(file)
    assert found is not None
    c = found.convention
    said = {"direction": c.direction, "unit": c.unit, "frame": c.frame}
    if isinstance(found, TransformFormat) and found.needs_images:
        more = "the grids of both images: sacbnet convert FILE --fixed F --moving M --to itk"
        return {"kind": f"transform ({type(found).__name__})", **said, "needs": more}
    transform = load_transform(file)
    if isinstance(transform, Chain):
        parts = [_part(part) for part in reversed(parts_of(transform))]
        told = {f"part {n}": text for n, text in enumerate(parts, 1)}
        return {"kind": "transform of several parts, in the order of use", **said, **told}
    return _one_transform(transform, said)


def _part(part: Affine | DisplacementField) -> str:
    if isinstance(part, Affine):
        rows = "; ".join(" ".join(f"{value:.5g}" for value in row) for row in part.matrix[:3])
        return f"affine (RAS, mm): {rows}"
    length = np.linalg.norm(part.displacement_mm, axis=-1)
    shape = " × ".join(map(str, part.grid.shape))
    return f"displacement field, {shape}, mean {length.mean():.3f} mm, largest {length.max():.3f}"


def _one_transform(transform: Affine | DisplacementField, said: dict[str, str]) -> dict[str, Any]:

    if isinstance(transform, Affine):
        scale = float(np.linalg.det(transform.matrix[:3, :3]))
        rows = "\n".join("  ".join(f"{value:10.5f}" for value in row) for row in transform.matrix)
        return {
            "kind": "affine transform",
            **said,
            "matrix (RAS, mm)": rows,
            "volume change": f"{scale:.4f}",
        }
    length = np.linalg.norm(transform.displacement_mm, axis=-1)
    fold = folding(transform)
    return {
        "kind": "displacement field",
        **said,
        **_grid(transform.grid),
        "displacement": f"mean {length.mean():.3f} mm, largest {length.max():.3f} mm",
        "det J": f"{fold.jacobian_min:.3f} to {fold.jacobian_max:.3f},"
        f" SD of log {fold.sd_log_jacobian:.3f}",
        "folding": f"{fold.folded_voxels} voxels,"
        f" non-diffeomorphic volume {fold.non_diffeomorphic_percent:.4g} %",
    }


def _weights(file: Path) -> dict[str, Any]:

    info = describe_weights(file)
    out: dict[str, Any] = {
        "kind": "weights",
        "name": info.name,
        "licence": info.licence + (" (restricts the use)" if info.restricted else ""),
        "trained on": info.trained_on,
        "source": info.source,
        "spacing": "unknown" if info.spacing_mm is None else f"{info.spacing_mm:g} mm",
        "intensity": info.intensity,
        "affine before it": info.affine or "affine",
        "run both ways": info.symmetric,
        "run on mirror images": info.mirrored,
        "before training": json.dumps(dict(info.baseline)),
        "validation": json.dumps(dict(info.validation)),
        "steps": info.steps,
        "network": f"{info.architecture}, {info.parameters:,} parameters",
        "options": json.dumps(info.options.to_dict()),
        **info.more,
        "sha256": info.sha256,
    }
    if info.recipe is not None:  # the file holds all of it; shown is what differs from the defaults
        out["recipe"] = _differences(dict(info.recipe))
    return {name: value for name, value in out.items() if value not in ("", None, "{}")}


def _differences(recipe: dict[str, Any]) -> str:
    """The options of a recipe that are not the defaults."""

    plain = Recipe().to_dict()
    found = [
        f"{section}.{name} = {value}"
        for section, values in recipe.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if plain.get(section, {}).get(name) != value
    ]
    return ", ".join(found)


def _training(folder: Path) -> dict[str, Any]:

    try:
        report = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        state, recipe = report["state"], report["recipe"]
        told = {
            "kind": "training run",
            "recipe": f"{recipe['name']}: {recipe['about']}",
            "steps": f"{state['step']} of {recipe['run']['steps']}",
            "hours": f"{state['seconds'] / 3600:.2f} in {state['sessions']} session(s)",
            "before training": json.dumps(state["baseline"]),
            "best validation": json.dumps(state["best"]),
            "warnings": "; ".join(state["warnings"]) or "none",
        }
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise InputError(
            f"{folder} is no whole training run ({error}); train again, or into another folder"
        ) from error
    return told | {"weights": str(weights_file(folder))}


def _pack(file: Path) -> dict[str, Any]:

    pack = open_pack(file)
    return {
        "kind": "pack for training",
        "cases": f"{len(pack)}, from {pack.names[0]} to {pack.names[-1]}",
        **_grid(pack.grid),
        "labels": ", ".join(map(str, pack.label_values)) or "none",
    }


def _points(file: Path) -> dict[str, Any]:

    points = load_points(file)
    low, high = points.xyz.min(axis=0), points.xyz.max(axis=0)
    box = ", ".join(f"{a:.1f} to {b:.1f}" for a, b in zip(low, high, strict=True))
    return {"kind": "points", "number": len(points.xyz), "box (RAS, mm)": box}


def _run(file: Path) -> dict[str, Any]:

    report = load_report(file)
    page = file.parent / PAGE
    return {
        "kind": "registration",
        "fixed": report.fixed.name,
        "moving": report.moving.name,
        "version": report.environment["sacbnet"],
        "started": report.started or "unknown",
        "weights": "none" if report.weights is None else report.weights.name,
        "quality": "\n".join(opinion_of(report).reasons),
        "account": "\n".join(registration_lines(report)),
        "repeat it": again(report),
        "pictures": f"{page} (open it in a browser)" if page.is_file() else "none (no report.html)",
    }
