"""What is said of weights and of a training run, for people.

It imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from sacbnet.config.recipe import Recipe
from sacbnet.errors import InputError
from sacbnet.networks.weights.entry import Entry
from sacbnet.networks.weights.info import WeightsInfo

_SCORES = {
    "dice": ("Dice", "{:.4f}"),
    "loss": ("loss", "{:.4f}"),
    "similarity": ("similarity", "{:.4f}"),
    "folded_percent": ("folded voxels", "{:.3g} %"),
}
_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 40


def weights_facts(info: WeightsInfo, entry: Entry | None = None) -> dict[str, str]:
    """Describe weights.

    Parameters
    ----------
    info : WeightsInfo
        What their file states.
    entry : Entry or None, default None
        What the catalogue says of them; None: they are in no catalogue.

    Returns
    -------
    dict[str, str]
        Facts by name, in the order in which a user asks for them.
    """
    facts = {"name": info.name}
    if entry is not None:
        same = entry.sha256 == info.sha256
        facts["for"] = entry.about + (" (the default)" if entry.default else "")
        facts["catalogue"] = (
            "this is the file of the catalogue"
            if same
            else "this file differs from the one of the catalogue; install sacbnet again"
        )
    facts["licence"] = info.licence + (" (restricts the use)" if info.restricted else "")
    if entry is not None:
        facts["terms"] = entry.licence_text
    spent = "" if info.training_seconds is None else f" in {duration(info.training_seconds)}"
    facts |= {
        "trained on": info.trained_on,
        "training": "" if info.steps is None else f"{info.steps} steps{spent}",
        "source": info.source,
        "before training": scores_line(info.baseline),
        "validation": scores_line(info.validation),
        "spacing": "unknown" if info.spacing_mm is None else f"{info.spacing_mm:g} mm",
        "intensity": info.intensity,
        "affine before it": info.affine or "affine",
        "part of the image": info.box or "",
        "is run": " and ".join(_runs(info)),
        "network": f"{info.architecture}, {info.parameters:,} parameters",
        "its options": ", ".join(f"{k} {_plain(v)}" for k, v in info.options.to_dict().items()),
        **info.more,
    }
    if info.recipe is not None:  # the file holds all of it; shown is what differs from the defaults
        named = (str(info.recipe.get(name, "")) for name in ("name", "about"))
        facts["recipe"] = ": ".join(word for word in named if word)
        facts["its changes"] = "\n".join(differences(info.recipe))
    facts |= {"made by sacbnet": info.sacbnet_version, "sha256": info.sha256}
    return {name: value for name, value in facts.items() if value}


def training_facts(folder: Path) -> dict[str, str]:
    """Describe a training run, finished or not.

    Parameters
    ----------
    folder : Path
        The run folder.

    Returns
    -------
    dict[str, str]
        Facts by name: how far it is, how long the rest takes, scores, data.

    Raises
    ------
    InputError
        If the folder is no whole training run.
    """
    try:
        report = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        state, recipe, data = report["state"], report["recipe"], report.get("data", {})
        done, steps, seconds = state["step"], recipe["run"]["steps"], state["seconds"]
        rest = max(steps - done, 0) * seconds / max(done, 1)
        sessions = state["sessions"]
        told = {
            "kind": "training run",
            "recipe": ": ".join(x for x in (recipe["name"], recipe["about"]) if x),
            "steps": f"{done} of {steps}"
            + (f"; the rest takes about {duration(rest)}" if 0 < done < steps else ""),
            "time": f"{duration(seconds)} in {sessions} session{'s' if sessions != 1 else ''}"
            + (f", {seconds / done:.2f} s a step" if done else ""),
            "before training": scores_line(state["baseline"] or {}),
            "best validation": scores_line(state["best"] or {}),
            "validations": _curve(folder / "metrics.csv"),
            "data": _data(data),
            "peak memory": f"{report['peak_memory_mb']:.0f} MiB"
            if report.get("peak_memory_mb")
            else "",
            "device": str(report.get("environment", {}).get("device", "")),
            "its changes": "\n".join(differences(recipe)),
            "warnings": "\n".join(state["warnings"]) or "none",
        }
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise InputError(
            f"{folder} is no whole training run ({error}); train again, or into another folder"
        ) from error
    return {name: value for name, value in told.items() if value}


def scores_line(scores: Mapping[str, Any]) -> str:
    """Write scores of a validation in one line.

    Parameters
    ----------
    scores : mapping of str to float
        Scores by name, and perhaps "step".

    Returns
    -------
    str
        Such as "Dice 0.6259, loss 0.2436, after 3300 steps"; "" without scores.
    """
    parts = [
        f"{name} {how.format(scores[key])}"
        for key, (name, how) in _SCORES.items()
        if isinstance(scores.get(key), int | float) and isfinite(scores[key])
    ]
    if parts and "step" in scores:
        parts.append(f"after {scores['step']:.0f} steps")
    return ", ".join(parts)


def differences(recipe: Mapping[str, Any]) -> list[str]:
    """List the options of a recipe that are not the defaults.

    Parameters
    ----------
    recipe : mapping of str to object
        The recipe as plain values.

    Returns
    -------
    list of str
        A line for each section: "section: option value, option value".
    """
    plain, lines = Recipe().to_dict(), []
    for section, values in recipe.items():
        if isinstance(values, dict):
            usual = plain.get(section) or {}
            changed = {name: x for name, x in values.items() if usual.get(name) != x}
            if changed:
                told = ", ".join(f"{name} {_plain(x)}" for name, x in changed.items())
                lines.append(f"{section}: {told}")
    return lines


def duration(seconds: float) -> str:
    """Write a time so that people grasp it.

    Parameters
    ----------
    seconds : float
        The time, s.

    Returns
    -------
    str
        In seconds, minutes or hours, such as "45 s", "12 min" or "3.4 h".

    Examples
    --------
    >>> duration(44.6), duration(700), duration(12_240)
    ('45 s', '12 min', '3.4 h')
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


def _runs(info: WeightsInfo) -> list[str]:
    return [
        *(["both ways"] if info.symmetric else []),
        *(["on the mirror images"] if info.mirrored else []),
    ]


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        nested = (isinstance(x, list | tuple) for x in value)
        words = (
            f"[{_plain(x)}]" if inner else _plain(x) for x, inner in zip(value, nested, strict=True)
        )
        return " ".join(words) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _data(data: Mapping[str, Any]) -> str:
    names = {
        "cases": "cases",
        "training_pairs": "training pairs",
        "validation_pairs": "validation pairs",
    }
    parts = [f"{data[key]} {words}" for key, words in names.items() if key in data]
    if data.get("labels"):
        parts.append(f"{len(data['labels'])} labels")
    return ", ".join(parts)


def _curve(file: Path) -> str:
    """The validation Dice over the run as a row of bars, with both ends as numbers."""
    import csv

    if not file.is_file():
        return ""
    with file.open(newline="", encoding="utf-8") as text:
        found = [
            (row["step"], float(row["validation_dice"]))
            for row in csv.DictReader(text)
            if row.get("validation_dice")
        ]
    found = [(step, dice) for step, dice in found if isfinite(dice)]
    if not found:
        return ""
    shown = found[:: -(-len(found) // _MOST_BARS)]
    bars = _bars([dice for _, dice in shown])
    (first, low), (last, high) = found[0], found[-1]
    return f"Dice {low:.4f} at step {first} {bars} {high:.4f} at step {last}"


def _bars(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in values)
