"""Pairs made from the label maps of a pack, as the network is to see them."""

from __future__ import annotations

import numpy as np
import torch

from sacbnet.data.pack import Pack
from sacbnet.data.synthesis import Anatomy, SynthesisOptions, synthesise
from sacbnet.errors import InputError

from .objective import Batch

MOST_VALUES = 255


class Maps:
    """The anatomies of a pack of label maps, kept on the device once they were seen (uint8, one byte a voxel)."""

    def __init__(self, pack: Pack, options: SynthesisOptions, device: torch.device) -> None:
        if len(pack.label_values) > MOST_VALUES:
            raise InputError(
                f"the maps hold {len(pack.label_values)} labels; at most {MOST_VALUES} were expected"
            )
        self.pack, self.options, self.device = pack, options, device
        self.values = (0, *pack.label_values)
        self._kept: dict[int, Anatomy] = {}

    def pair(self, moving: int, fixed: int, seed: tuple[int, ...]) -> Batch:
        """The pair of two cases that belongs to the seed; now and then, as the options say, one of a noise map."""
        drawn = np.random.default_rng((*seed, 0))
        noise = self.pack.noise
        if noise and drawn.random() < self.options.noise_share:
            moving = fixed = noise[int(drawn.integers(len(noise)))]
        spacing = self.pack.spacing_mm[0]  # cubes: `loader.choose` takes no others
        made = synthesise(
            self.options, (*seed, 1), self._anatomy(moving), self._anatomy(fixed), spacing
        )
        return Batch(
            made.moving, made.fixed, made.moving_labels, made.fixed_labels, labelled=1.0,
            moving_view=made.moving_view, fixed_view=made.fixed_view,
        )  # fmt: skip

    def _anatomy(self, case: int) -> Anatomy:
        if case not in self._kept:
            labels = self.pack.labels(case)
            assert labels is not None  # `packing` leaves no map out
            numbers = np.searchsorted(self.values, labels[0, 0].numpy()).astype(np.uint8)
            self._kept[case] = Anatomy(torch.from_numpy(numbers).to(self.device), self.values)
        return self._kept[case]
