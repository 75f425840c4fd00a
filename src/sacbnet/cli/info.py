"""sacbnet info"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def info(
    file: Annotated[
        str,
        typer.Argument(
            help="An image, a transform, weights (file or name), points, a pack, or a folder of"
            " register, train, evaluate, benchmark or cohort."
        ),
    ],
) -> None:
    """Describe a file: grid and axes, size of a transform, licence of weights, result of a run."""
    from rich.console import Console

    from sacbnet.networks.weights.catalogue import entries, resolve
    from sacbnet.reporting.console import facts_table
    from sacbnet.reporting.describe import describe

    # as elsewhere, a name means the catalogue's weights, and ./name a file of that name
    named = any(entry.name == file for entry in entries())
    console = Console(highlight=False)
    console.print(facts_table(describe(resolve(file) if named else Path(file))))
