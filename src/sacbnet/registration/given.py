"""Transforms that a user gives: files of any format, result folders, and chains of both."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from sacbnet.errors import InputError
from sacbnet.io.convention import Between
from sacbnet.io.format import TransformFormat
from sacbnet.io.tools import format_of
from sacbnet.io.transforms import load_transform
from sacbnet.spatial.composition import AnyTransform, parts_of
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, Chain, DisplacementField, PointMap, chain

from .apply import Warper
from .carrying import Backwards
from .report import TransformFacts
from .result import TRANSFORM
from .route import Link, Route

INVERSE = ",inverse"
TransformSource = str | Path | Affine | DisplacementField | Chain


def bare(name: str) -> Path:
    """Give the file or folder that a name of a transform means.

    Parameters
    ----------
    name : str
        A path, or a path with ",inverse" behind it.

    Returns
    -------
    Path
        The path alone.
    """
    return Path(name if os.path.exists(name) else name.removesuffix(INVERSE))


def _turned(name: str) -> bool:
    """Whether a name means the transform the other way."""
    return bare(name) != Path(name)


def load_link(source: TransformSource, between: Between | None = None) -> Link:
    """Read a transform that a user gives.

    Parameters
    ----------
    source : str, Path, Affine, DisplacementField or Chain
        A file of any format of transforms, or a result folder of `sacbnet register`. A text may end
        with ",inverse": the transform then leads the other way. Or a transform in memory.
    between : Between or None, default None
        Grids of the reference ("fixed") and of the data ("moving"), as far as they are known. Some
        formats need them.

    Returns
    -------
    Link
        The transform and its inverse.

    Raises
    ------
    InputError
        If the file cannot be read, or needs images that are not known.
    GridError
        If the header of a displacement field gives no usable grid.
    """
    between = between or Between()
    if isinstance(source, (Affine, DisplacementField, Chain)):
        return Link("transform", source, _backwards(source))
    text = str(source)
    path, turned = bare(text), _turned(text)
    if turned:
        between = Between(between.moving, between.fixed)
    if os.path.isdir(path):
        link = Warper.of(path).link("fixed", text)
    else:
        found = load_transform(path, between)
        link = Link(text, found, _backwards(found))
    return link.turned(text) if turned else link


def _backwards(transform: AnyTransform) -> PointMap:
    parts = parts_of(transform)
    back = [p.inverse if isinstance(p, Affine) else Backwards.of(p) for p in parts[::-1]]
    return chain(*back)


def needs_images(source: TransformSource) -> bool:
    """Say whether a file means nothing without the two images that it connects.

    Parameters
    ----------
    source : str, Path, Affine, DisplacementField or Chain
        As for `load_link`.

    Returns
    -------
    bool
        True for files of FSL, for example.
    """
    if not isinstance(source, (str, Path)):
        return False
    path = bare(str(source))
    found = format_of(path) if path.is_file() else None
    return isinstance(found, TransformFormat) and found.needs_images


def load_transform_given(
    source: str, between: Between, affine_only: bool = False
) -> tuple[AnyTransform, Between]:
    """Read a transform that a user gives, as one value, with the grids of its images.

    Parameters
    ----------
    source : str
        As for `load_link`.
    between : Between
        Grids of the two images, as far as they are known: those of the transform that is asked for,
        after ",inverse".
    affine_only : bool, default False
        Whether only the affine part of a result folder is meant.

    Returns
    -------
    transform : Affine, DisplacementField or Chain
        The transform, fixed to moving.
    between : Between
        The same grids, and those that a result folder knows.

    Raises
    ------
    InputError
        If the file cannot be read, or needs images that are not known.
    GridError
        If the header of a displacement field gives no usable grid.
    """
    path, turned = bare(source), _turned(source)
    if os.path.isdir(path):
        warper = Warper.of(path)
        fixed, moving = (warper.fixed, warper.moving)[:: -1 if turned else 1]
        between = Between(between.fixed or fixed, between.moving or moving)
        if affine_only and warper.affine is not None:
            return (warper.affine.inverse if turned else warper.affine), between
    route = Route((load_link(source, between),))
    if between.fixed is not None:
        return route.over(between.fixed)[0], between
    return route.parts(), between


def route_of(
    transforms: Sequence[TransformSource],
    reference: Grid | None = None,
    data: Grid | None = None,
) -> Route:
    """Read the transforms of a route.

    Parameters
    ----------
    transforms : sequence of str, Path, Affine, DisplacementField or Chain
        As for `load_link`, in the order from the reference to the data.
    reference, data : Grid or None, default None
        Grids of the reference and of the data; the formats of some tools need them.

    Returns
    -------
    Route
        The route.

    Raises
    ------
    InputError
        If a file cannot be read, or needs images that are not known.
    GridError
        If the header of a displacement field gives no usable grid.
    """
    if not transforms:
        raise InputError("no transform was given; one or more were expected")
    links = []
    for n, source in enumerate(transforms):
        ends = Between(reference if n == 0 else None, data if n == len(transforms) - 1 else None)
        if needs_images(source) and len(transforms) > 1 and None in (ends.fixed, ends.moving):
            raise InputError(
                f"{source} needs both of its images, and in a chain they are not known; make it"
                " a file of ITK first: sacbnet convert FILE --fixed F --moving M --to itk"
            )
        links.append(load_link(source, ends))
    return Route(tuple(links))


InitialSource = TransformSource | Sequence[TransformSource]


def read_initial(
    source: InitialSource, fixed: Grid, moving: Grid
) -> tuple[AnyTransform, tuple[TransformFacts, ...], tuple[str, ...]]:
    """Read the transform from which a registration starts.

    Parameters
    ----------
    source : str, Path, Affine, DisplacementField, Chain, or a sequence of these
        As for `load_link`; several are a chain, in the order from the fixed to the moving image.
    fixed, moving : Grid
        Grids of the two images.

    Returns
    -------
    transform : Affine, DisplacementField or Chain
        The transform, fixed to moving.
    facts : tuple of TransformFacts
        What is written about it.
    said : tuple of str
        Sentences that say how far the fixed image reaches beyond a field.

    Raises
    ------
    InputError
        If a file cannot be read, or needs images that are not known.
    GridError
        If the header of a displacement field gives no usable grid.
    """
    single = isinstance(source, (str, Path, Affine, DisplacementField, Chain))
    sources: Sequence[TransformSource] = [source] if single else source  # type: ignore[list-item, assignment]
    transform, said = route_of(sources, fixed, moving).over(fixed)
    facts = tuple(_facts(one) for one in sources)
    told = tuple(s.replace("the result reaches", "the fixed image reaches") for s in said)
    return transform, facts, told


def _facts(source: TransformSource) -> TransformFacts:
    if not isinstance(source, (str, Path)):
        return TransformFacts("transform")
    path = bare(str(source))
    with (path / TRANSFORM if path.is_dir() else path).open("rb") as file:
        return TransformFacts(str(source), hashlib.file_digest(file, "sha256").hexdigest())
