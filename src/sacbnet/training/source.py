"""The packed set of a recipe: a pack as it is, other data packed once, into the run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sacbnet.config.recipe import Recipe
from sacbnet.data.cases import PairList
from sacbnet.data.check import check
from sacbnet.data.pack import Pack, PackOptions, is_pack, open_pack
from sacbnet.data.packing import build_pack
from sacbnet.data.source import is_source, read_cases
from sacbnet.errors import InputError
from sacbnet.files import check_writable, locked, sweep, writing
from sacbnet.networks.weights.catalogue import lasting

from .pairs import pairs_of
from .team import Team

PACK = "data.pack"


def open_data(recipe: Recipe, out: Path, team: Team, say: Callable[[str], None]) -> Pack:
    """Open the packed set of `recipe.data.source`.

    The process that leads packs the data if need be, while the others wait.

    Parameters
    ----------
    recipe : Recipe
        The options.
    out : Path
        The run folder.
    team : Team
        The processes.
    say : callable
        Is called with lines that say what is done.

    Returns
    -------
    Pack
        The packed set.

    Raises
    ------
    InputError
        Where the source does not exist, where `sacbnet data check` finds an error in it, where the
        recipe's subsets name no pairs of it, or where `out` holds a pack of other data or options.
    OutputError
        Where the pack cannot be written.
    """
    source, target = Path(recipe.data.source), out / PACK
    if source.is_file() and (is_pack(source) or not is_source(source)):
        return open_pack(source)
    team.lead(lambda: _make(recipe, source, target, say))
    return open_pack(target)


def _make(recipe: Recipe, source: Path, target: Path, say: Callable[[str], None]) -> None:
    o, synthesis = recipe.data, recipe.synthesis
    noise = 0 if synthesis is None else synthesis.noise_maps
    options = PackOptions(
        o.spacing_mm or None,
        o.shape or None,  # type: ignore[arg-type]
        o.align,
        o.bits,
        synthesis is not None,
        noise,
    )
    if noise and not o.source:  # random shapes need no data
        if not target.exists():
            say(f"making {noise} maps of random shapes in {target}")
            build_pack((), target, options)
        return
    if not o.source or not source.exists():
        if target.exists():
            say(f"the data {o.source or '(none)'} are not there; going on with {target}")
            return
        raise InputError(
            f"the data {o.source or '(none)'} do not exist; give --data a folder, CSV, JSON or pack"
        )
    found = read_cases(source)
    names = [case.name for case in found.cases]
    pairs_of("train", o, names, found.pairs)  # before hours are spent
    pairs_of("validation", o, names, found.pairs)
    if target.exists():
        _refuse_another(open_pack(target), found, options, target)
        return
    problems = [f for f in check(found.cases, found.pairs, options.align) if f.severity == "error"]
    if problems:
        raise InputError(
            f"{problems[0].case}: {problems[0].sentence} ({len(problems)} such errors; see sacbnet"
            " data check)"
        )
    say(f"packing {len(found.cases)} cases into {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    build_pack(found.cases, target, options, pairs=found.pairs)


def _refuse_another(pack: Pack, found: PairList, options: PackOptions, target: Path) -> None:
    """Raise InputError where a pack is not what the recipe and the data would give now."""
    files = {
        str(p.absolute())
        for case in found.cases
        for p in (case.image, case.labels)
        if p is not None
    }
    what = ""
    if options != pack.options:
        what = "with other options"
    elif (
        pack.names[: pack.noise.start] != tuple(case.name for case in found.cases)
        or pack.pairs != found.pairs
    ):
        what = "of other cases or pairs"
    elif files != set(pack.sources) or pack.changed_sources():
        what = "of other files, or they have changed since"
    if what:
        raise InputError(
            f"{target} was made {what}; remove it to pack anew, or choose another --out"
        )


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Make a run folder and lock it: within, no other process can train into it.

    Parameters
    ----------
    out : Path
        The run folder.

    Yields
    ------
    None

    Raises
    ------
    InputError
        Where another process trains into the folder.
    OutputError
        Where the folder cannot be written.
    """
    check_writable(out)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    busy = f"another sacbnet process works in {out}; wait for it, or choose another --out"
    with locked(out / ".lock", busy):
        sweep(out)  # files of sessions that were killed
        yield


def with_source(recipe: Recipe, source: str | Path | None) -> Recipe:
    """Put another source into a recipe, and make paths absolute.

    So a run does not depend on the folder where it is started. Names of weights in run.start_from
    stay names.

    Parameters
    ----------
    recipe : Recipe
        The options.
    source : str or Path, optional
        The new data.source; None keeps that of the recipe.

    Returns
    -------
    Recipe
        The changed recipe.
    """
    place, start = str(source) if source is not None else recipe.data.source, recipe.run.start_from
    data = replace(recipe.data, source=str(Path(place).absolute()) if place else "")
    return replace(
        recipe, data=data, run=replace(recipe.run, start_from=lasting(start) if start else "")
    )
