"""The numbers of the page: likeness, Dice, seconds, images, versions, and the command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import nibabel as nib

from sacbnet.config.registration import Options
from sacbnet.registration.report import ImageFacts, RunReport
from sacbnet.reporting.console import STAGES
from sacbnet.reporting.rows import step_rows

from .markup import Html, element, table

_NO_FILE = "array"  # the name of an image that came from no file
_SHOWN = 12  # labels whose Dice is shown without a click


def steps_table(report: RunReport) -> Html:
    """Tabulate likeness, Dice and landmarks at the three steps.

    Parameters
    ----------
    report : RunReport
        The account.

    Returns
    -------
    Html
        A table.
    """
    head = ("", "before", "after the affine", "result")
    cells = (
        [name, *(f"{value:.3f}" for value in values)] for name, values in step_rows(report).items()
    )
    caption = "Likeness of the images at three steps: local correlation 0 to 1, information 1 to 2"
    return table(head, cells, caption)


def dice_tables(report: RunReport) -> list[Html]:
    """Tabulate Dice by label, the worst label first.

    Parameters
    ----------
    report : RunReport
        The account.

    Returns
    -------
    list of Html
        A table of the worst labels, and one of all others behind a click; nothing without labels.
    """
    d = report.dice
    if d is None:
        return []
    names = sorted(
        d.final.nearest_per_label, key=lambda name: (d.final.nearest_per_label[name], name)
    )
    each = (d.start, d.affine, d.final)
    linear = d.final.onehot_per_label
    rows = [
        [
            name,
            *(_number(x.nearest_per_label.get(name)) for x in each),
            _number(linear.get(name)),
        ]
        for name in names
    ]
    mean = ["mean", *(_number(x.nearest) for x in each), _number(d.final.onehot)]
    head = ("label", "before", "after the affine", "result", "result, one-hot linear")
    if len(rows) <= _SHOWN:
        return [table(head, [mean, *rows], "Dice by label, nearest neighbour; the worst first")]
    rest = table(head, rows[_SHOWN:], "Dice of the other labels, nearest neighbour")
    return [
        table(
            head,
            [mean, *rows[:_SHOWN]],
            f"Dice of the {_SHOWN} worst of {len(rows)} labels, nearest neighbour",
        ),
        element("details", element("summary", f"The other {len(rows) - _SHOWN} labels"), rest),
    ]


def seconds_table(report: RunReport) -> Html:
    """Tabulate the seconds of each stage.

    Parameters
    ----------
    report : RunReport
        The account.

    Returns
    -------
    Html
        A table with bars.
    """
    stages = {name: s for name, s in report.seconds.items() if name != "total"}
    most = max(stages.values(), default=0.0)
    rows = [
        [
            STAGES.get(name, name).partition(" (")[0],
            f"{seconds:.2f}",
            element("div", class_="share", style=f"width:{100 * seconds / (most or 1):.1f}%"),
        ]
        for name, seconds in stages.items()
    ]
    if "total" in report.seconds:
        rows.append(["total, without files", f"{report.seconds['total']:.2f}", ""])
    return table(("stage", "seconds", ""), rows, "Seconds of each stage")


def images_table(report: RunReport) -> Html:
    """Tabulate the images that were read.

    Parameters
    ----------
    report : RunReport
        The account.

    Returns
    -------
    Html
        A table.
    """
    images = {"fixed": report.fixed, "moving": report.moving, **report.companions}
    head = ("", "file", "voxels", "spacing, mm", "axes", "sha256")
    rows = ([name.replace("_", " "), *_facts(image)] for name, image in images.items())
    return table(head, rows, "The images", numbers=False)


def _facts(image: ImageFacts) -> list[str]:
    return [
        image.name,
        " × ".join(map(str, image.shape)),
        " × ".join(f"{s:.4g}" for s in image.spacing_mm),
        "".join(nib.aff2axcodes(image.grid.affine)),
        image.sha256,
    ]


def facts_table(report: RunReport) -> Html:
    """Tabulate what was measured of the transform.

    Parameters
    ----------
    report : RunReport
        The account.

    Returns
    -------
    Html
        A table of two columns.
    """
    grid, folds, inverse = report.working_grid, report.folding, report.inverse
    shape = " × ".join(map(str, grid.shape))
    found = {
        "working grid": f"{shape} voxels of {grid.spacing_mm:.4g} mm ({grid.box})",
        "folded voxels": folds.folded_voxels,
        "non-diffeomorphic volume, %": folds.non_diffeomorphic_percent,
        "det J": f"{folds.jacobian_min:.3f} to {folds.jacobian_max:.3f}",
        "SD of log J": folds.sd_log_jacobian,
        "inverse: mean error, mm": inverse.round_trip_mean_mm,
        "inverse: largest error, mm": inverse.round_trip_max_mm,
        "peak memory, GiB": f"{report.peak_memory_mb / 1024:.2f}",
    }
    return pairs_table(found, "The transform and the run")


def used_tables(report: RunReport) -> list[Html]:
    """Tabulate what went into a registration: images, versions and options.

    Parameters
    ----------
    report : RunReport
        The account.

    Returns
    -------
    list of Html
        The tables; the options are behind a click.
    """
    weights = report.weights
    used: dict[str, Any] = {}
    if weights is not None:
        used = {
            "weights": weights.name,
            "licence of the weights": weights.licence,
            "trained on": weights.trained_on,
            "sha256 of the weights": weights.sha256,
        }
    options = pairs_table(vars(report.options), "Options, with defaults filled in")
    return [
        images_table(report),
        pairs_table(used | dict(report.environment), "Versions"),
        element("details", element("summary", "All options"), options),
    ]


def pairs_table(values: Mapping[str, Any], caption: str) -> Html:
    """Tabulate values by name.

    Parameters
    ----------
    values : mapping of str to object
        The values; lists and mappings become one line.
    caption : str
        What the table shows.

    Returns
    -------
    Html
        A table of two columns.
    """
    rows = [[name, _plain(value)] for name, value in values.items()]
    return table(("name", "value"), rows, caption, numbers=False)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(x)}" for name, x in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def again(report: RunReport) -> str:
    """The command, or the Python call, that repeats a registration.

    Parameters
    ----------
    report : RunReport
        The account.

    Returns
    -------
    str
        A line for a shell if a command was given, else a call in Python.

    Examples
    --------
    A path with a space is put in quotes: ``sacbnet register --fixed 'my scan.nii'``.
    """
    if report.command:
        program = Path(report.command[0]).name
        name = ["python", "-m", "sacbnet"] if program == "__main__.py" else [program]
        return shlex.join([*name, *report.command[1:]])
    images = {"fixed": report.fixed, "moving": report.moving, **report.companions}
    given = [
        f"{name}={'...' if image.name == _NO_FILE else repr(image.name)}"
        for name, image in images.items()
    ]
    if report.initial:
        given.append(f"initial={[one.name for one in report.initial]!r}")
    if report.landmarks is not None:
        given += ["fixed_points=...", "moving_points=..."]
    plain = Options()
    for field in fields(Options):
        value = getattr(report.options, field.name)
        if value != getattr(plain, field.name):
            given.append(f"{field.name}={value!r}")
    return "sacbnet.register(\n    " + ",\n    ".join(given) + ",\n)"
