"""The choices that options offer by name, each named once: types for mypy, tuples for messages."""

from __future__ import annotations

from typing import Literal, get_args

AffineKind = Literal["none", "rigid", "affine"]
Alignment = Literal["header", "centre"]
Pairing = Literal["all", "cyclic", "atlas", "listed"]
Precision = Literal["float32", "bfloat16"]
Preset = Literal["fast", "balanced", "accurate"]
Schedule = Literal["polynomial", "cosine", "constant"]

AFFINES: tuple[AffineKind, ...] = get_args(AffineKind)
ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
PRESETS: tuple[Preset, ...] = get_args(Preset)
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)

DEFAULT = "default"  # as weights: those that the catalogue marks as the default
NONE = "none"  # as weights: no network
