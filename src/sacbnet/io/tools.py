"""Transforms in the formats of other tools: which words there are, and how a file is written."""

from __future__ import annotations

from pathlib import Path

from sacbnet.errors import GridError, InputError, OutputError
from sacbnet.files import Claim, atomic_file
from sacbnet.spatial.composition import AnyTransform, densely, parts_of
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

from .convention import Between
from .format import AffineFormat, FieldFormat, TransformFormat
from .table import formats, reader

Written = TransformFormat | AffineFormat | FieldFormat


def tools() -> tuple[str, ...]:
    """List the words for which transforms are written.

    Returns
    -------
    tuple of str
        The words of `sacbnet convert --to`.
    """
    return tuple(sorted({tool for found in _written() for tool in found.tools}))


def format_of(path: str | Path) -> Written | None:
    """Find the format of a file of a transform; its `convention` says what the numbers mean.

    Parameters
    ----------
    path : str or Path
        A file that `sacbnet.io.transforms.load_transform` reads.

    Returns
    -------
    TransformFormat, AffineFormat, FieldFormat or None
        The format that reads it; None if no format does.
    """
    path = Path(path)
    kinds: tuple[type[Written], ...] = (TransformFormat, AffineFormat, FieldFormat)
    return next((found for kind in kinds if (found := reader(kind, path))), None)


def save_transform(
    path: str | Path,
    transform: AnyTransform,
    tool: str,
    between: Between | None = None,
    claim: Claim | None = None,
) -> None:
    """Write a transform in the format of a tool.

    Parameters
    ----------
    path : str or Path
        The file to write. Its suffix chooses among the tool's formats.
    transform : Affine, DisplacementField or Chain
        The transform, fixed to moving, in mm (RAS).
    tool : str
        One of `tools`.
    between : Between or None, default None
        Grids of the two images. Some formats need them. A chain is written as one field on the
        fixed image's grid, unless the format holds chains; without that grid, on the grid of the
        field that meets the fixed image first.
    claim : Claim or None, default None
        From the beginning of the work (`files.Claim`): what another process wrote since stays.

    Raises
    ------
    InputError
        If the tool's format cannot hold the transform, or needs images that are not known.
    GridError
        If the field's grid is sheared, and the format cannot hold it.
    OutputError
        If the suffix is not one of the tool's formats, or the file cannot be written.
    """
    path, between = Path(path), between or Between()
    linear = isinstance(transform, Affine)
    known = [found for found in _written() if tool in found.tools]
    if not known:
        raise InputError(f"{tool!r} is no tool; one of {', '.join(tools())} was expected")
    able = [found for found in known if _holds(found, linear)]
    if not able:
        held = "affine" if linear else "deformable"
        raise InputError(
            f"the transform is {held}, which the format {tool} cannot hold; choose another --to"
            + ("" if linear else ", or --affine-only of a result folder")
        )
    name = path.name.lower()
    chosen = next((found for found in able if name.endswith(found.written)), None)
    if chosen is None:
        ends = dict.fromkeys(suffix for found in able for suffix in found.written)
        kind = "an affine" if linear else "a deformable transform"
        raise OutputError(
            f"{path} is no name for {kind} of {tool}; a name with {', '.join(ends)} was expected"
        )
    if not linear and not (isinstance(chosen, TransformFormat) and tool == "itk-h5"):
        transform = densely(transform, _field_grid(transform, between))
    with atomic_file(path, claim) as part:
        if isinstance(chosen, TransformFormat):
            chosen.write_between(part, transform, between)
        elif isinstance(chosen, AffineFormat):
            assert isinstance(transform, Affine)
            chosen.write(part, transform)
        else:
            assert isinstance(transform, DisplacementField)
            if not transform.grid.is_orthogonal:
                raise GridError(f"the grid of {path} is sheared, which ITK cannot hold")
            chosen.write(part, transform)


def _written() -> list[Written]:
    kinds: tuple[type[Written], ...] = (TransformFormat, AffineFormat, FieldFormat)
    return [found for kind in kinds for found in formats(kind)]


def _holds(found: Written, linear: bool) -> bool:
    if isinstance(found, TransformFormat):
        return found.linear if linear else found.dense
    return isinstance(found, AffineFormat) is linear


def _field_grid(transform: AnyTransform, between: Between) -> Grid:
    if between.fixed is not None:
        return between.fixed
    parts = parts_of(transform)
    if isinstance(parts[-1], DisplacementField):
        return parts[-1].grid
    raise InputError(
        "the transform starts with an affine, so the grid of the fixed image is needed; give"
        " --fixed"
    )
