"""The default weights give way to others where a pair is not what they know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.networks.weights import catalogue
from sacbnet.networks.weights.info import WeightsInfo
from sacbnet.registration import engine
from sacbnet.registration.registrar import Registrar

SIDE, MOVED = 40, 3


def image(spacing: float, shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A textured ball of 30 voxels' diameter."""
    at = np.indices((SIDE,) * 3) - (SIDE - 1) / 2
    at[0] -= shift
    inside = np.linalg.norm(at, axis=0) < 15
    texture = 500 + 100 * np.sin(at[0] / 2) + 100 * np.cos(at[1] / 3) + 100 * np.sin(at[2] / 2.5)
    return (inside * texture).astype(np.float32), np.diag([spacing] * 3 + [1.0])


class Shift(torch.nn.Module):
    """A network that moves everything by so many voxels along the first axis."""

    def __init__(self, voxels: float) -> None:
        super().__init__()
        self.voxels = voxels

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        u = torch.zeros(1, 3, *fixed.shape[2:])
        u[:, 0] = self.voxels
        return u


@pytest.fixture
def loaded(monkeypatch) -> list[str]:
    """The names of what is loaded. "usual" shifts the wrong way, "other" the right way."""
    names: list[str] = []

    def load(name, device):
        names.append(name)
        info = WeightsInfo("sacbnet", SACBNetConfig(), "CC0", "nothing", "a test", "[0, 1]")
        info = replace(info, spacing_mm=1.0, name=name, affine="none")
        return Shift(MOVED if name == "other" else -MOVED), info

    entry = replace(catalogue.entries()[0], longest_mm=80.0)
    both = {n: replace(entry, name=n, otherwise=n == "other") for n in ("usual", "other")}
    monkeypatch.setattr(engine, "load_weights", load)
    monkeypatch.setattr(catalogue, "default", lambda: "usual")
    monkeypatch.setattr(catalogue, "otherwise", lambda: both["other"])
    monkeypatch.setattr(catalogue, "find", both.__getitem__)
    return names


def found(registrar: Registrar, spacing: float = 1.0):
    return registrar.register(fixed=image(spacing), moving=image(spacing, MOVED))


@pytest.mark.parametrize("preset", ["fast", "balanced"])
def test_where_the_default_is_worse_than_none(loaded, preset):
    registrar = Registrar(preset=preset, accept=True)
    result = found(registrar)
    assert result.report.weights.name == result.report.options.weights == "other"
    assert any("usual was worse than none: the weights other" in n for n in result.report.notes)
    assert not any("is not used" in w for w in result.report.warnings)
    assert result.transform.displacement_mm[20, 20, 20] == pytest.approx([MOVED, 0, 0], abs=0.3)
    found(registrar)
    assert loaded == ["usual", "other"]  # each is loaded once


def test_where_the_body_is_longer_than_the_default_knows(loaded):
    result = found(Registrar(preset="fast", accept=True), spacing=3.0)
    assert result.report.weights.name == "other"
    assert any("usual know up to 80 mm: the weights other" in n for n in result.report.notes)


def test_weights_that_the_user_chose_stay(loaded):
    result = found(Registrar(weights="usual", accept=True), spacing=3.0)
    assert result.report.weights.name == "usual" and loaded == ["usual"]
    assert any("is not used" in w for w in result.report.warnings)
