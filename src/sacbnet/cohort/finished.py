"""Whether a folder holds the finished result of a pair: by the hashes of what went in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from sacbnet.errors import InputError, OutputError
from sacbnet.io.voxels import Kind
from sacbnet.registration.engine import Engine, options_for
from sacbnet.registration.inputs import hash_of
from sacbnet.registration.report import RunReport
from sacbnet.registration.result import AFFINE, INVERSE, MOVED, MOVED_LABELS, RUN, TRANSFORM

from .pairs import CohortPair


@dataclass(frozen=True)
class Earlier:
    """A finished result.

    Parameters
    ----------
    report : RunReport
        Its account.
    transform_sha256 : str
        Hash of its transform as it lies there now.
    """

    report: RunReport
    transform_sha256: str


@dataclass(frozen=True)
class Other:
    """A result that is not the one that is asked for.

    Parameters
    ----------
    sentence : str
        What stands in the folder.
    """

    sentence: str


def earlier_result(
    pair: CohortPair, engine: Engine, folder: Path, known_sha256: str = ""
) -> Earlier | Other | None:
    """Look whether a folder holds the result of a pair.

    It does if run.json names the same images, masks and label maps by their sha256, the same
    weights and the same options, and all files are there. The device may be another one.

    Parameters
    ----------
    pair : CohortPair
        The pair.
    engine : Engine
        What would register it.
    folder : Path
        The folder of its result.
    known_sha256 : str, default ""
        Hash of the transform as it was written, if an earlier summary has it.

    Returns
    -------
    Earlier, Other or None
        The finished result; or what is there instead; None if the pair has to be registered, which
        is so, too, where an image cannot be read now: its registration then says why.

    Raises
    ------
    OutputError
        If the folder is a file.
    """
    run = folder / RUN
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder; choose another --out")
    if not run.is_file():
        return None
    try:
        before = RunReport.from_text(run.read_text(encoding="utf-8"))
    except (InputError, OSError, UnicodeDecodeError):
        return Other(f"{run} is no account of a registration")
    try:
        if difference := _difference(pair, engine, before):
            return Other(f"{folder} holds a result with {difference}")
        labels = (MOVED_LABELS,) if "moving_labels" in before.companions else ()
        if not all((folder / name).is_file() for name in (MOVED, INVERSE, AFFINE, *labels)):
            return None
        with (folder / TRANSFORM).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (InputError, OSError):
        return None
    if known_sha256 not in ("", digest):
        return Other(f"{folder / TRANSFORM} is not the file that was written")
    return Earlier(before, digest)


def _difference(pair: CohortPair, engine: Engine, before: RunReport) -> str:
    """In what an earlier result differs from the one that is asked for; "" in nothing."""
    known = {"fixed": before.fixed, "moving": before.moving, **before.companions}
    files = pair.files()
    for name in {**known, **files}:
        words = name.replace("_", " ")
        if name not in files or name not in known:
            return f"{'no ' if name in files else 'a '}{words}"
        kind: Kind = name.partition("_")[2] or "image"  # type: ignore[assignment]
        if known[name].sha256 != hash_of(files[name], kind=kind):
            return f"another {words} image ({known[name].name})"
    allowed = {engine.weights and engine.weights.sha256}
    if engine.otherwise is not None:
        allowed.add(engine.otherwise.sha256)
    if (before.weights and before.weights.sha256) not in allowed:
        return f"other weights ({before.options.weights})"
    asked = options_for(engine, fixed=before.fixed.grid, moving=before.moving.grid)
    # the weights are compared by their hash; a device changes no more than the last digits
    then = replace(before.options, weights=asked.weights, device=asked.device)
    changed = [name for name in vars(asked) if getattr(then, name) != getattr(asked, name)]
    said = (f"{name} {getattr(then, name)}, now {getattr(asked, name)}" for name in changed)
    return f"other options ({'; '.join(said)})" if changed else ""
