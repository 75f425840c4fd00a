"""sacbnet info"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sacbnet.reporting.describe import describe


def info(
    file: Annotated[
        str,
        typer.Argument(
            help="An image, a transform, weights (or their name), points, a pack, or the folder of register or train."
        ),
    ],
) -> None:
    """Say what a file is: grid and axes, size of a transform, licence of weights, result of a run."""
    from rich.console import Console

    from sacbnet.networks.weights.catalogue import entries, resolve
    from sacbnet.reporting.console import facts_table

    named = any(
        entry.name == file for entry in entries()
    )  # as elsewhere, ./name is the file of that name
    console = Console(highlight=False)
    console.print(facts_table(describe(resolve(file) if named else Path(file))))
