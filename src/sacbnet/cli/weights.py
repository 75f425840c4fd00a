"""sacbnet weights list, show, verify, path: without torch."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Weights by name: list them, show what is known, verify the files.",
    rich_markup_mode="rich",
)

Which = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE|RUN",
        help="A name, a safetensors file, or the folder of a training run.",
    ),
]


@app.command("list")
def list_() -> None:
    """List the weights that are installed, and those in the folders of SACBNET_WEIGHTS."""
    from rich.console import Console
    from rich.table import Table

    from sacbnet.networks.weights.catalogue import entries, local, missing

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("name", overflow="fold", no_wrap=True)
    table.add_column("for", min_width=14, overflow="fold")
    table.add_column("licence", overflow="fold")
    table.add_column("mm", justify="right")
    table.add_column("affine before it", no_wrap=True)
    for entry in entries():
        spacing = "" if entry.spacing_mm is None else f"{entry.spacing_mm:g}"
        licence = f"{entry.licence} (restricted)" if entry.restricted else entry.licence
        name = f"{entry.name} (default)" if entry.default else entry.name
        name += "" if entry.path.is_file() else " (missing)"
        table.add_row(name, entry.about, licence, spacing, entry.affine or "affine")
    for name, path in local().items():
        table.add_row(name, *_local_row(str(path)))
    console = Console(highlight=False, markup=False)
    console.print(table)
    for distribution in sorted(set(missing().values())):
        names = ", ".join(name for name, d in missing().items() if d == distribution)
        console.print(f"not installed (pip install {distribution}): {names}", soft_wrap=True)


def _local_row(file: str) -> tuple[str, str]:
    """Training data and licence of a file that is in no catalogue, as the file states them."""
    from sacbnet.errors import WeightsError
    from sacbnet.networks.weights.load import describe_weights

    try:
        info = describe_weights(file)
    except WeightsError as error:
        return str(error), ""
    return info.trained_on, info.licence


@app.command("show")
def show(
    which: Which,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show what is known about weights.

    Use, licence, training data, recipe, validation, configuration and hash.
    """
    from rich.console import Console

    from sacbnet.networks.weights.catalogue import entry_of
    from sacbnet.networks.weights.load import describe_weights, weights_file
    from sacbnet.reporting.console import facts_table
    from sacbnet.reporting.trained import weights_facts

    file = weights_file(which)
    info, entry = describe_weights(file), entry_of(file)
    place = {"file": str(file.absolute())}
    if not as_json:
        told = place | weights_facts(info, entry)
        Console(highlight=False, markup=False).print(facts_table(told))
        return
    facts: dict[str, Any] = dict(place)
    if entry is not None:
        facts |= {name: getattr(entry, name) for name in ("about", "licence_text", "default")}
        facts["as_in_the_catalogue"] = entry.sha256 == info.sha256
    typer.echo(json.dumps(facts | info.to_json(), indent=2, ensure_ascii=False))


@app.command("verify")
def verify(
    which: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|FILE|RUN",
            help="Names, files or runs. Default: all that `sacbnet weights list` shows.",
        ),
    ] = None,
) -> None:
    """Check that files of weights are intact.

    The hash is compared with the catalogue, and the parameters with the configuration.

    The exit code is 4 if something is wrong.
    """
    from sacbnet.errors import WeightsError
    from sacbnet.networks.weights.catalogue import entries, local
    from sacbnet.networks.weights.load import check_weights

    names = which or [*(entry.name for entry in entries()), *local()]
    wrong = []
    for name in names:
        try:
            typer.echo(f"{name}: intact, sha256 {check_weights(name)}")
        except WeightsError as error:
            wrong.append(str(error))
    if len(wrong) > 1:
        for sentence in wrong:
            typer.echo(f"sacbnet: {sentence}", err=True)
        raise WeightsError(
            f"{len(wrong)} of {len(names)} weights cannot be used, for these reasons"
        )
    if wrong:
        raise WeightsError(wrong[0])


@app.command("path")
def path(which: Which) -> None:
    """Print the absolute path of the file of weights."""
    from sacbnet.networks.weights.load import weights_file

    typer.echo(weights_file(which).absolute())
