"""Pictures of the worst pairs of a list, drawn while their images are in memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path
from typing import Any

from sacbnet.data.subjects import Subject
from sacbnet.evaluation.scoring import Found
from sacbnet.files import atomic_file, writing

from .thumbnail import thumbnail

Names = tuple[str, str]  # of the moving and the fixed case
Badness = tuple[float, str, str]


def badness(row: Mapping[str, Any]) -> Badness:
    """Rank a pair: the larger, the worse.

    Parameters
    ----------
    row : mapping of str to object
        Its scores.

    Returns
    -------
    tuple of (float, str, str)
        Minus the Dice; without Dice the distance of the landmarks in mm; -inf without either. Names
        of the moving and the fixed case follow, so that no two pairs are equally bad.
    """
    dice, tre = row.get("dice_nearest"), row.get("tre_mm")
    bad = tre if isinstance(tre, float) and isfinite(tre) else -inf
    if isinstance(dice, float) and isfinite(dice):
        bad = -dice
    return bad, str(row.get("moving")), str(row.get("fixed"))


@dataclass
class Worst:
    """Keeps the pictures of the worst pairs (`evaluation.scoring.Watch`).

    Parameters
    ----------
    most : int, default 12
        How many pictures are kept of each method.
    folder : Path or None, default None
        A folder in which they are kept, too, so that a later session has them. None: in memory
        only.
    pictures : dict, default empty
        By method, and by the names of the moving and the fixed case, how bad the pair is and its
        JPEG.
    """

    most: int = 12
    folder: Path | None = None
    pictures: dict[str, dict[Names, tuple[Badness, bytes]]] = field(default_factory=dict)

    def __call__(
        self, row: Mapping[str, Any], *, fixed: Subject, moving: Subject, found: Found
    ) -> None:
        """Draw a pair if it is one of the worst so far."""
        method, names = str(row["method"]), (str(row["moving"]), str(row["fixed"]))
        kept, bad = self.pictures.setdefault(method, {}), badness(row)
        if names in kept and kept[names][0] >= bad:  # a worse seed of the same pair is there
            return
        if names not in kept and len(kept) >= self.most:
            best = min(kept, key=lambda pair: kept[pair][0])
            if kept[best][0] >= bad:
                return
            del kept[best]
            if self.folder is not None:
                self._file(method, best).unlink(missing_ok=True)
        jpeg = thumbnail(
            fixed=fixed.image,
            moving=moving.image,
            transform=found.transform,
            fixed_labels=fixed.labels,
            moving_labels=moving.labels,
            both=True,
        )
        kept[names] = bad, jpeg
        if self.folder is not None:
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(self._file(method, names)) as part:
                part.write_bytes(jpeg)

    def picture(self, method: str, names: Names) -> bytes | None:
        """Look for the picture of a pair.

        Parameters
        ----------
        method : str
            The method.
        names : tuple[str, str]
            Names of the moving and the fixed case.

        Returns
        -------
        bytes or None
            A JPEG; None where none was drawn.
        """
        kept = self.pictures.get(method, {})
        if names in kept:
            return kept[names][1]
        if self.folder is not None and (file := self._file(method, names)).is_file():
            return file.read_bytes()
        return None

    def _file(self, method: str, names: Names) -> Path:
        assert self.folder is not None
        words = [re.sub(r"[^\w.+@-]+", "-", word)[:60] for word in (method, *names)]
        return self.folder / f"{words[0]}_{words[1]}_to_{words[2]}.jpg"
