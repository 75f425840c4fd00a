"""The choices that options offer by name: types for the checker, tuples for the messages.

Each choice is named once, here.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

AffineKind = Literal["none", "rigid", "affine"]
AffineChoice = Literal["auto", "none", "rigid", "affine"]
Alignment = Literal["header", "centre"]
Box = Literal["whole", "foreground"]
BoxChoice = Literal["auto", "whole", "foreground"]
Fill = float | Literal["auto"]  # "auto": the image's own background
Schedule = Literal["polynomial", "cosine", "constant"]
Metric = Literal["lncc", "mind", "mi", "mse"]
MapName = Literal["jacobian", "uncertainty", "clusters", "grid"]
Pairing = Literal["all", "cyclic", "atlas", "listed"]
Precision = Literal["float32", "bfloat16"]
Preset = Literal["fast", "balanced", "accurate"]

AFFINES: tuple[AffineKind, ...] = get_args(AffineKind)
ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)
BOXES: tuple[Box, ...] = get_args(Box)
MAPS: tuple[MapName, ...] = get_args(MapName)
METRICS: tuple[Metric, ...] = get_args(Metric)
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
PRESETS: tuple[Preset, ...] = get_args(Preset)

AUTO: Final = "auto"  # of affine and box: what the weights need; of fill: the background
DEFAULT: Final = "default"  # of weights: those that the catalogue marks as the default
NONE: Final = "none"  # of weights: no network
