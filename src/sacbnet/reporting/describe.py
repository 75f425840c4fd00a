"""What `sacbnet info` says of a file: by its kind, the facts that a user asks for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from sacbnet.data.pack import open_pack
from sacbnet.errors import WeightsError
from sacbnet.evaluation.tables import SUMMARY
from sacbnet.io.format import PointsFormat, TransformFormat
from sacbnet.io.images import load_image
from sacbnet.io.points import load_points
from sacbnet.io.table import suffixes
from sacbnet.io.tools import format_of
from sacbnet.io.transforms import is_transform, load_transform
from sacbnet.metrics.folding import folding
from sacbnet.networks.weights.catalogue import entry_of
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
from .trained import training_facts, weights_facts


def describe(file: Path) -> dict[str, Any]:
    """Find out what a file is, and the facts about it.

    Parameters
    ----------
    file : Path
        An image, a transform, weights, points, a pack, or the folder of `register`, `train`,
        `evaluate`, `benchmark` or `cohort`.

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
    return {"kind": "weights", **weights_facts(info, entry_of(file))}


def _training(folder: Path) -> dict[str, Any]:

    told = training_facts(folder)
    try:
        weights = str(weights_file(folder))
    except WeightsError as error:  # none before the first checkpoint
        weights = str(error)
    return told | {"weights": weights}


def _pack(file: Path) -> dict[str, Any]:

    pack = open_pack(file)
    o, noise = pack.options, len(pack.noise)
    changed = pack.changed_sources()
    told = {
        "kind": "pack for training",
        "cases": f"{len(pack)}, from {pack.names[0]} to {pack.names[-1]}",
        "holds": f"images of {o.bits} bits" if pack.pictured else "label maps, no images",
        "random shapes": f"the last {noise} cases" if noise else "",
        **_grid(pack.grid),
        "brought together": f"by {'their headers' if o.align == 'header' else 'their centres'}"
        if pack.pictured
        else "by the centres of mass of their labels",
        "labels": ", ".join(map(str, pack.label_values)) or "none",
        "pairs": f"{len(pack.pairs)} named by the data" if pack.pairs else "",
        "size": f"{file.stat().st_size / 2**20:.0f} MiB",
        "made of": f"{len(pack.sources)} files"
        + (f"; {len(changed)} have changed since, such as {changed[0]}" if changed else ""),
    }
    return {name: value for name, value in told.items() if value}


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
        "verdict": "unknown (an earlier version)"
        if report.verdict is None
        else str(report.verdict),
        "fixed": report.fixed.name,
        "moving": report.moving.name,
        "version": report.environment["sacbnet"],
        "started": report.started or "unknown",
        "weights": "none" if report.weights is None else report.weights.name,
        "quality": "\n".join(opinion_of(report).reasons),
        "account": "\n".join(registration_lines(report)),
        "maps": "\n".join(f"{name}: {what}" for name, what in report.maps.items()) or "none",
        "repeat it": again(report),
        "pictures": f"{page} (open it in a browser)" if page.is_file() else "none (no report.html)",
    }
