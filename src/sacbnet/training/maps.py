"""Pairs of images that are made from the label maps of a packed set."""

from __future__ import annotations

import numpy as np
import torch

from sacbnet.data.pack import Pack
from sacbnet.data.synthesis import Anatomy, SynthesisOptions, synthesise
from sacbnet.errors import InputError

from .objective import Batch

MOST_VALUES = 255


class Maps:
    """The label maps of a packed set, kept on the device once they are read (one byte a voxel).

    Parameters
    ----------
    pack : Pack
        The packed set of label maps.
    options : SynthesisOptions
        How images are made.
    device : torch.device
        Where they are made.

    Raises
    ------
    InputError
        For more than 255 labels.
    """

    def __init__(self, pack: Pack, options: SynthesisOptions, device: torch.device) -> None:
        if len(pack.label_values) > MOST_VALUES:
            raise InputError(
                f"the maps hold {len(pack.label_values)} labels; at most {MOST_VALUES} were"
                " expected"
            )
        self.pack, self.options, self.device = pack, options, device
        self.values = (0, *pack.label_values)
        self._kept: dict[int, Anatomy] = {}

    def pair(self, moving: int, fixed: int, seed: tuple[int, ...]) -> Batch:
        """Make the pair of two cases that belongs to a seed.

        Parameters
        ----------
        moving, fixed : int
            Numbers of the cases. With the probability `SynthesisOptions.noise_share` a noise map
            takes their place.
        seed : tuple of int
            The seed.

        Returns
        -------
        Batch
            Images, labels and views.
        """
        drawn = np.random.default_rng((*seed, 0))
        noise = self.pack.noise
        if noise and drawn.random() < self.options.noise_share:
            moving = fixed = noise[int(drawn.integers(len(noise)))]
        spacing = self.pack.spacing_mm[0]  # cubes: `pairs.choose` refuses others
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
            assert labels is not None  # `packing` stores every map
            numbers = np.searchsorted(self.values, labels[0, 0].numpy()).astype(np.uint8)
            self._kept[case] = Anatomy(torch.from_numpy(numbers).to(self.device), self.values)
        return self._kept[case]
