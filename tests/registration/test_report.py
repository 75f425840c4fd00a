"""The account of a run: what run.json says, and what is read of earlier versions."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version

import numpy as np
import pytest

import sacbnet
from sacbnet.errors import InputError
from sacbnet.registration.report import RunReport
from sacbnet.registration.result import RUN


def test_run_json(registered, result) -> None:
    report = json.loads((result / RUN).read_text())
    again = RunReport.from_text((result / RUN).read_text())
    assert again.to_json() == report
    same = replace(again, seconds=registered.report.seconds, wall_seconds=0.0)
    assert same == registered.report
    assert report["format_version"] == 2
    assert report["wall_seconds"] >= report["seconds"]["total"] and report["seconds"]["write"] > 0
    assert datetime.fromisoformat(report["started"]).utcoffset() is not None
    assert report["command"] == [] and len(report["fixed"]["sha256"]) == 64
    environment = report["environment"]
    assert environment["sacbnet"] == sacbnet.__version__ and environment["torch"] == version(
        "torch"
    )
    assert environment["numpy"] == np.__version__ and environment["device"]
    assert report["options"] == {
        "weights": "none",
        "affine": "affine",
        "preset": "balanced",
        "refine": 15,
        "device": "auto",
        "spacing": None,
        "save": [],
        "box": "foreground",
        "repair": True,
        "accept": False,
        "precision": "float32",
        "fill": "auto",
        "metric": "lncc",
        "smoothness": None,
    }
    there = registered.transform(
        registered.fixed_grid.world(np.moveaxis(np.indices((40, 48, 40)), 0, -1))
    )
    outside = ~registered.moving_grid.contains(there, 0.5 + 1e-6)
    assert report["filled"] == {
        "voxels": outside.sum(),
        "percent": round(100 * outside.mean(), 3),
        "value": 0.0,
    }
    assert report["weights"] is None
    assert report["fixed"]["shape"] == [40, 48, 40] and report["moving"]["shape"] == [54, 50, 28]
    seconds = report["seconds"]
    stages = {"prepare", "affine", "refine", "transform", "measure", "inverse", "resample"}
    assert stages < set(seconds) and all(seconds[s] > 0 for s in stages)
    total = sum(v for k, v in seconds.items() if k not in ("read", "write", "total"))
    assert seconds["total"] == pytest.approx(total, abs=0.01)
    assert 100 < report["peak_memory_mb"] < 16_000
    for key, rise in (("local_correlation", 0.15), ("mutual_information", 0.1)):
        start, affine, final = (report["similarity"][s][key] for s in ("start", "affine", "final"))
        assert start < affine < final and final > start + rise
    folding = report["folding"]
    assert folding["folded_voxels"] == 0 and 0 <= folding["non_diffeomorphic_percent"] < 0.01
    assert 0 < folding["jacobian_min"] < 1 < folding["jacobian_max"]
    assert [level["level"] for level in report["refinement"]] == [2, 1]
    for level in report["refinement"]:
        assert (
            set(level) == {"level", "steps", "loss_before", "loss_after"}
            and 1 <= level["steps"] <= 15
        )
        assert -1 <= level["loss_after"] <= level["loss_before"]
    inverse = report["inverse"]
    assert 0 < inverse["round_trip_mean_mm"] < 0.1 and inverse["residual_mean_mm"] <= 0.01
    assert any("no network was used" in sentence for sentence in report["warnings"])


def test_run_json_is_json_to_everybody(result) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    json.loads((result / RUN).read_text(), parse_constant=refuse)


def test_accounts_of_format_1_are_read(result, tmp_path) -> None:
    """The version before: the repair inside the folding, texts of the weights' file, no hashes."""
    new = json.loads((result / RUN).read_text())
    old = {
        k: v
        for k, v in new.items()
        if k not in ("repair", "notes", "started", "command", "wall_seconds")
    }
    old |= {"format_version": 1, "weights": {"name": "none"}}
    old["folding"] = new["folding"] | {"repair": new["repair"]}
    for side in ("fixed", "moving"):
        old[side] = {k: v for k, v in new[side].items() if k != "sha256"}
    old["options"] = {k: v for k, v in new["options"].items() if k not in ("box", "repair")}
    found, now = RunReport.from_json(old), RunReport.from_json(new)
    assert found.repair == now.repair and found.folding == now.folding and found.weights is None
    assert found.fixed.grid == now.fixed.grid and found.similarity == now.similarity


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"format_version": 99}', '{"format_version": 2}', '{"format_version": "x"}'],
)
def test_what_is_no_account(text) -> None:
    with pytest.raises(InputError):
        RunReport.from_text(text)
