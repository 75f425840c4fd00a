"""What a catalogue says of the weights in one file. This module imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sacbnet.config.choices import AffineKind

FOLDER = Path(__file__).parent / "files"  # the weights that sacbnet itself holds


@dataclass(frozen=True)
class Entry:
    """Weights of a catalogue.

    Parameters
    ----------
    name, file : str
        Name of the weights; name of their file in `folder`.
    sha256 : str
        Hash of the file, hexadecimal.
    about : str
        What the weights are for.
    licence, licence_text : str
        Short name of the licence; what it asks for, and where it is written.
    restricted : bool
        Whether the licence forbids some use.
    parameters : int
        Number of parameters.
    spacing_mm : float or None
        Spacing of the training images, mm. None: unknown.
    trained_on : str
        Training data.
    validation : Mapping[str, float]
        Figures that the training measured.
    default : bool, default False
        Whether these weights are taken where none are named.
    affine : {"none", "rigid", "affine"} or None, default None
        Alignment that the images need before the network; None: an affine one.
    folder : Path, default `FOLDER`
        The folder of the catalogue and of the file.
    longest_mm : float or None, default None
        Longest body that the weights know, mm. None: any.
    otherwise : bool, default False
        Whether these weights take the place of the default ones where those do not suit a pair.
    """

    name: str
    file: str
    sha256: str
    about: str
    licence: str
    licence_text: str
    restricted: bool
    parameters: int
    spacing_mm: float | None
    trained_on: str
    validation: Mapping[str, float]
    default: bool = False
    affine: AffineKind | None = None
    folder: Path = FOLDER
    longest_mm: float | None = None
    otherwise: bool = False

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / self.file
