"""Weights by name: of sacbnet, of further distributions, and in the folders of SACBNET_WEIGHTS.

sacbnet itself holds only weights under its own licence. Weights under other licences come with the
distribution sacbnet-weights-research. An entry point of the group "sacbnet.weights" names its
package; a checkout finds it without an installation. This module imports no torch.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacbnet.config.choices import NONE
from sacbnet.errors import WeightsError

from .entry import FOLDER, Entry

if TYPE_CHECKING:
    from .info import WeightsInfo

# packaging/weights/add.py of a checkout writes into this folder and into FOLDER
CHECKOUT = (
    Path(__file__).parents[4] / "packaging/weights-research/src/sacbnet_weights_research/files"
)
GROUP = "sacbnet.weights"
RESEARCH = "sacbnet-weights-research"
CATALOGUE = "catalogue.json"
SUFFIX = ".safetensors"
# environment variable: further folders, joined as in PATH, for sites without internet access
PLACES = "SACBNET_WEIGHTS"


def folders() -> tuple[Path, ...]:
    """List the folders that hold a catalogue.

    Returns
    -------
    tuple[Path, ...]
        That of sacbnet first; then that of a checkout, then those of installed distributions.
    """
    further = [folder for folder in (CHECKOUT, *_installed()) if (folder / CATALOGUE).is_file()]
    return tuple(dict.fromkeys([FOLDER, *further]))


@functools.cache
def _installed() -> tuple[Path, ...]:
    """The folder `files` of each package that an entry point names. The package is not imported."""
    specs = [importlib.util.find_spec(point.module) for point in entry_points(group=GROUP)]
    return tuple(
        Path(place) / "files"
        for spec in specs
        for place in (spec and spec.submodule_search_locations) or ()
    )


def entries() -> tuple[Entry, ...]:
    """List the weights of all catalogues.

    Returns
    -------
    tuple[Entry, ...]
        All entries, in order of name; of two of one name the one in the first folder.
    """
    found: dict[str, Entry] = {}
    for folder in folders():
        for name, facts in _read(folder)["weights"].items():
            found.setdefault(name, Entry(name=name, **facts, folder=folder))
    return tuple(found[name] for name in sorted(found))


def missing() -> dict[str, str]:
    """List known weights that are not installed.

    Returns
    -------
    dict[str, str]
        The distribution that brings them, by name of the weights.
    """
    here = {entry.name for entry in entries()}
    elsewhere: dict[str, list[str]] = _read(FOLDER).get("elsewhere", {})
    return {name: d for d, names in elsewhere.items() for name in names if name not in here}


def _read(folder: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((folder / CATALOGUE).read_text(encoding="utf-8"))
    return tree


def find(name: str) -> Entry:
    """Find an entry by name.

    Parameters
    ----------
    name : str
        The name.

    Returns
    -------
    Entry
        The entry.

    Raises
    ------
    WeightsError
        If there is none; the message names those that are alike.
    """
    for entry in entries():
        if entry.name == name:
            return entry
    raise WeightsError(_unknown(name))


def default() -> str:
    """Name the weights that are taken where none are named.

    Returns
    -------
    str
        The name of the default entry; "none" as long as no entry is the default.
    """
    return next((entry.name for entry in entries() if entry.default), NONE)


def otherwise() -> Entry | None:
    """Find the weights that take the place of the default ones where those do not suit a pair.

    Returns
    -------
    Entry or None
        The entry; None where there is none.
    """
    return next((entry for entry in entries() if entry.otherwise), None)


def local() -> dict[str, Path]:
    """List the weights in the folders of SACBNET_WEIGHTS.

    Returns
    -------
    dict[str, Path]
        Files by name; of two files of one name the one in the first folder. Names of the catalogue
        always mean the catalogue's own files.
    """
    taken = {entry.name for entry in entries()}
    found: dict[str, Path] = {}
    for folder in filter(None, os.environ.get(PLACES, "").split(os.pathsep)):
        for path in sorted(Path(folder).glob(f"*{SUFFIX}")):
            if path.stem not in taken:
                found.setdefault(path.stem, path.absolute())
    return found


def resolve(weights: str | Path) -> Path:
    """Find the file, or the folder of a training run, that a text or path means.

    Text without a separator and without .safetensors is a name: of the catalogue, else of the
    folders of SACBNET_WEIGHTS. Only then it means a file or folder of that name in the working
    directory, which therefore never stands in for the weights of that name ("./name" means it).
    All other text, and every Path, is a place.

    Parameters
    ----------
    weights : str or Path
        A name or a place.

    Returns
    -------
    Path
        A file or folder that exists.

    Raises
    ------
    WeightsError
        If there is nothing of that name or at that place.
    """
    name = str(weights)
    if isinstance(weights, str) and _is_name(name) and (found := _named(name)):
        return found
    path = Path(weights)
    if isinstance(weights, str) and name in missing():
        raise WeightsError(_unknown(name))
    if name and os.path.exists(path):  # Path("") would be the working directory
        return path
    if _is_name(name):
        raise WeightsError(_unknown(name))
    raise WeightsError(
        f"the weights {path} do not exist; give a {SUFFIX} file, the folder of a training run, or a"
        " name that `sacbnet weights list` shows"
    )


def lasting(weights: str) -> str:
    """Name weights so that a process started elsewhere finds the same.

    Parameters
    ----------
    weights : str
        A name or a place.

    Returns
    -------
    str
        A name as it is, a place as an absolute path. Text that means neither stays as it is:
        whoever loads it reports it.
    """
    known = _is_name(weights) and (_named(weights) or weights in missing())
    if known or (_is_name(weights) and not os.path.exists(weights)):
        return weights
    return str(Path(weights).absolute())


def entry_of(path: Path) -> Entry | None:
    """Find the entry whose file a path is.

    Parameters
    ----------
    path : Path
        A file.

    Returns
    -------
    Entry or None
        The entry; None for any other file.
    """
    place = path.resolve()
    return next((entry for entry in entries() if entry.path.resolve() == place), None)


def entry_with(sha256: str) -> Entry | None:
    """Find the entry with a hash: what the catalogue says of a file counts wherever a copy lies.

    Parameters
    ----------
    sha256 : str
        Hash of a file, hexadecimal.

    Returns
    -------
    Entry or None
        The entry; None for any other file.
    """
    return next((entry for entry in entries() if entry.sha256 == sha256), None)


def check_hash(path: Path, sha256: str) -> None:
    """Check a file of the catalogue against the catalogue.

    Parameters
    ----------
    path : Path
        A file.
    sha256 : str
        Hash of its contents, hexadecimal.

    Raises
    ------
    WeightsError
        If the file is one of the catalogue, but with other contents.
    """
    entry = entry_of(path)
    if entry is not None and entry.sha256 != sha256:
        distribution = "sacbnet" if entry.folder == FOLDER else RESEARCH
        raise WeightsError(
            f"the weights {entry.name} are damaged: {path} has the sha256 {sha256[:12]}..., and"
            f" {entry.sha256[:12]}... was expected; install {distribution} again"
        )


def licence_notice(info: WeightsInfo | None) -> str | None:
    """Say once that a licence forbids some use.

    Parameters
    ----------
    info : WeightsInfo or None
        What the weights say of themselves, with what the catalogue says of their file; None
        without weights.

    Returns
    -------
    str or None
        A line to show; None where the licence forbids nothing.
    """
    if info is None or not info.restricted:
        return None
    told = f"the licence of the weights {info.name} restricts their use: {info.licence}"
    return told.replace("  ", " ")


def _is_name(text: str) -> bool:
    return text == Path(text).name and not text.endswith(SUFFIX)


def _named(name: str) -> Path | None:
    known = {entry.name: entry.path for entry in entries()}
    return known.get(name) or local().get(name)


def _unknown(name: str) -> str:
    if distribution := missing().get(name):
        return (
            f"the weights {name!r} are under another licence than sacbnet and come apart; run"
            f" `pip install {distribution}`, or give a file"
        )
    known = [*(entry.name for entry in entries()), *local(), *missing()]
    near = difflib.get_close_matches(name.lower(), known, cutoff=0.4)
    guess = f" (did you mean {' or '.join(near)}?)" if near else ""
    return (
        f"the weights {name!r} are neither a file nor a known name{guess}; `sacbnet weights list`"
        " shows the names"
    )
