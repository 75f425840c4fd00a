"""Weights by name: those that come with the package, and those in the folders of SACBNET_WEIGHTS. Imports no torch."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacbnet.errors import WeightsError

FOLDER = Path(__file__).parent / "files"  # packaging/weights/add.py of a checkout writes into it
CATALOGUE = "catalogue.json"
SUFFIX = ".safetensors"
PLACES = "SACBNET_WEIGHTS"  # environment: further folders, joined as in PATH, for sites without a network


@dataclass(frozen=True)
class Entry:
    """Weights that come with the package.

    about: what they are for. licence: its short name; licence_text: what it asks for, and where it is written.
    restricted: some use is forbidden. parameters: their number. spacing_mm: of the images they were trained on, None
    where unknown. validation: figures, as training measured them. default: taken where none are named. flags: options
    of `sacbnet register` that the images they were trained on call for.
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
    flags: str = ""

    @property
    def path(self) -> Path:
        return FOLDER / self.file


def entries() -> tuple[Entry, ...]:
    """What comes with the package, by name."""
    listed = json.loads((FOLDER / CATALOGUE).read_text(encoding="utf-8"))["weights"]
    return tuple(Entry(name=name, **listed[name]) for name in sorted(listed))


def find(name: str) -> Entry:
    """The entry of that name. WeightsError names those that are alike."""
    for entry in entries():
        if entry.name == name:
            return entry
    raise WeightsError(_unknown(name))


def default() -> str:
    """The name of the weights to take where none are named: "none" as long as no entry is the default."""
    return next((entry.name for entry in entries() if entry.default), "none")


def local() -> dict[str, Path]:
    """Weights in the folders of SACBNET_WEIGHTS by name, the first folder first; names of the catalogue are its own."""
    taken = {entry.name for entry in entries()}
    found: dict[str, Path] = {}
    for folder in filter(None, os.environ.get(PLACES, "").split(os.pathsep)):
        for path in sorted(Path(folder).glob(f"*{SUFFIX}")):
            if path.stem not in taken:
                found.setdefault(path.stem, path.absolute())
    return found


def resolve(weights: str | Path) -> Path:
    """The file, or the folder of a training run, that `weights` means.

    Text without a separator and without .safetensors is a name: of the catalogue, else of the folders of
    SACBNET_WEIGHTS, and only then what bears it in the working directory: such a file never stands in for the weights
    of that name ("./name" means it). All else, and every Path, is a place. WeightsError where there is nothing.
    """
    name = str(weights)
    if isinstance(weights, str) and _is_name(name) and (found := _named(name)):
        return found
    path = Path(weights)
    if name and path.exists():  # Path("") would be the working directory
        return path
    if _is_name(name):
        raise WeightsError(_unknown(name))
    raise WeightsError(
        f"the weights {path} do not exist; give a {SUFFIX} file, the folder of a training run, or a name that"
        " `sacbnet weights list` shows"
    )


def lasting(weights: str) -> str:
    """The same weights, wherever a later process is started: a name as it is, a place as an absolute path.

    What is neither stays as it is, for whoever loads it to report.
    """
    if _is_name(weights) and (_named(weights) or not Path(weights).exists()):
        return weights
    return str(Path(weights).absolute())


def entry_of(path: Path) -> Entry | None:
    """The entry whose file this is."""
    place = path.resolve()
    return next((entry for entry in entries() if entry.path.resolve() == place), None)


def check_hash(path: Path, sha256: str) -> None:
    """WeightsError where `path` is a file of the catalogue, but not with these contents."""
    entry = entry_of(path)
    if entry is not None and entry.sha256 != sha256:
        raise WeightsError(
            f"the weights {entry.name} are damaged: {path} has the sha256 {sha256[:12]}..., and {entry.sha256[:12]}..."
            " was expected; install sacbnet again"
        )


def licence_notice(metadata: Mapping[str, Any]) -> str | None:
    """A line to show once where the licence of weights forbids some use; None where it does not.

    metadata: as `load_weights` and `describe_weights` return it. What the catalogue says of a file counts wherever a
    copy of it lies (by sha256); of other files what they say themselves (`restricted`).
    """
    entry = next((entry for entry in entries() if entry.sha256 == metadata.get("sha256")), None)
    if entry is None and str(metadata.get("restricted", "")).lower() != "true":
        return None
    name, licence = (
        (entry.name, entry.licence) if entry else (metadata.get("name"), metadata.get("licence"))
    )
    if entry is not None and not entry.restricted:
        return None
    return f"the licence of the weights {name or ''} restricts their use: {licence}".replace(
        "  ", " "
    )


def _is_name(text: str) -> bool:
    return text == Path(text).name and not text.endswith(SUFFIX)


def _named(name: str) -> Path | None:
    known = {entry.name: entry.path for entry in entries()}
    return known.get(name) or local().get(name)


def _unknown(name: str) -> str:
    known = [*(entry.name for entry in entries()), *local()]
    near = difflib.get_close_matches(name.lower(), known, cutoff=0.4)
    guess = f" (did you mean {' or '.join(near)}?)" if near else ""
    return f"the weights {name!r} are neither a file nor a known name{guess}; `sacbnet weights list` shows the names"
