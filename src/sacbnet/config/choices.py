"""The choices that options offer by name, each named once: types for the checker, tuples for the messages."""

from __future__ import annotations

from typing import Literal, get_args

AffineKind = Literal["none", "rigid", "affine"]
Alignment = Literal["header", "centre"]
Pairing = Literal["all", "cyclic", "atlas", "listed"]
Precision = Literal["float32", "bfloat16"]
Preset = Literal["fast", "balanced", "accurate"]

AFFINES: tuple[AffineKind, ...] = get_args(AffineKind)
ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
PRESETS: tuple[Preset, ...] = get_args(Preset)

DEFAULT = "default"  # of weights: those that the catalogue marks as the default
NONE = "none"  # of weights: no network
