"""sacbnet data check, sacbnet data pack"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sacbnet.config.choices import Alignment

from . import options as o

if TYPE_CHECKING:
    from sacbnet.data.cases import PairList

app = typer.Typer(
    help="Check or pack a set of images for training and evaluation.",
    rich_markup_mode="rich",
)

Source = Annotated[
    Path,
    typer.Argument(
        help="The data: a folder, a CSV of pairs or cases, a Learn2Reg JSON, or a folder of"
        " pickles."
    ),
]
Subset = Annotated[
    str,
    typer.Option(
        help="Cases to take, in the order of their names: a slice such as 0:160, a glob such as"
        " 'Train/*', or several with commas between them. Default: all."
    ),
]
Align = Annotated[
    Alignment,
    typer.Option(
        help="How images come together. header: by their headers. centre: by the centres of their"
        " boxes."
    ),
]


@app.command("check")
def check(
    source: Source,
    subset: Subset = "",
    align: Align = "header",
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Find errors in a set: wrong grids, constant images, labels that do not match, and others.

    The exit code is 3 if there is an error.
    """
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sacbnet.data.check import check as find
    from sacbnet.errors import InputError
    from sacbnet.reporting.console import progress_bar

    chosen = _chosen(source, subset)
    with progress_bar(as_json, of_all=True) as progress:
        findings = find(chosen.cases, chosen.pairs, align, progress)
    errors = sum(found.severity == "error" for found in findings)
    console = Console(highlight=False, markup=False)  # paths may hold brackets
    counts = {"cases": len(chosen.cases), "pairs": len(chosen.pairs), "errors": errors}
    if as_json:
        typer.echo(
            json.dumps(counts | {"findings": [asdict(found) for found in findings]}, indent=2)
        )
    else:
        if findings:
            table = Table("", "case", "finding", show_edge=False, pad_edge=False)
            for found in findings:
                style = "red" if found.severity == "error" else "yellow"
                table.add_row(Text(found.severity, style=style), found.case, found.sentence)
            console.print(table)
        console.print(
            ", ".join(
                f"{n} {what}" for what, n in (counts | {"warnings": len(findings) - errors}).items()
            )
        )
    if errors:
        raise InputError(
            f"{errors} errors were found in {source}; correct them, or leave those cases out by"
            " --subset"
        )


@app.command("pack")
def pack(
    source: Source,
    out: Annotated[Path, typer.Option(help="The pack to write.")],
    subset: Subset = "",
    spacing: Annotated[
        float | None,
        typer.Option(
            help="Isotropic spacing of the pack in mm. Default: the spacing of the images.",
            min=1e-6,
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            help="Shape of the pack's grid in voxels, axes R, A, S, such as 160,192,160. Default:"
            " the shape of the first case."
        ),
    ] = None,
    bits: Annotated[Literal["8", "16"], typer.Option(help="Bits per intensity.")] = "16",
    align: Align = "header",
    label_maps: Annotated[
        bool,
        typer.Option(
            "--label-maps",
            help="The files are label maps, from which the training makes its images.",
        ),
    ] = False,
    noise_maps: Annotated[
        int, typer.Option(help="Number of maps of random shapes to add to the label maps.", min=0)
    ] = 0,
    quiet: o.Quiet = False,
) -> None:
    """Write a set as one file for training: one grid, intensities in [0, 1], memory-mapped."""
    from sacbnet.data.pack import PackOptions
    from sacbnet.data.packing import build_pack
    from sacbnet.files import keep_inputs
    from sacbnet.reporting.console import progress_bar

    box = None if shape is None else _shape(shape)
    options = PackOptions(spacing, box, align, int(bits), label_maps, noise_maps)
    chosen = _chosen(source, subset)
    inputs = {p for case in chosen.cases for p in (case.image, case.labels, case.points)}
    keep_inputs([out], {source, *inputs})
    with progress_bar(quiet, of_all=True) as progress:
        packed = build_pack(chosen.cases, out, options, progress, chosen.pairs)
    if not quiet:
        size = " × ".join(map(str, packed.shape))
        spacings = " × ".join(f"{s:.4g}" for s in packed.spacing_mm)
        typer.echo(
            f"written: {out} ({len(packed)} cases, {size} at {spacings} mm,"
            f" {len(packed.label_values)} labels, {out.stat().st_size / 2**20:.0f} MiB)"
        )


def _shape(text: str) -> tuple[int, int, int]:
    sizes = text.replace("x", ",").replace("×", ",").split(",")
    if len(sizes) != 3 or not all(size.strip().isdecimal() for size in sizes):
        raise typer.BadParameter(
            f"--shape is {text!r}; three sizes were expected, such as 160,192,160"
        )
    return int(sizes[0]), int(sizes[1]), int(sizes[2])


def _chosen(source: Path, subset: str) -> PairList:
    """The chosen cases, and the pairs among them."""
    from sacbnet.data.cases import PairList, chosen_by, select
    from sacbnet.data.source import read_cases

    found = read_cases(source)
    with chosen_by("--subset"):
        new = {old: n for n, old in enumerate(select(found.cases, subset))}
    pairs = tuple((new[m], new[f]) for m, f in found.pairs if m in new and f in new)
    return PairList(tuple(found.cases[n] for n in new), pairs)
