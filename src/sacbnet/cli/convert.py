"""sacbnet convert-checkpoint"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(help="A published SACB-Net checkpoint (.pth, .pth.tar).")
    ],
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    licence: Annotated[
        str | None, typer.Option(help="Licence of the weights; the publisher states none.")
    ] = None,
    trained_on: Annotated[str, typer.Option(help="The data they were trained on.")] = "unknown",
    spacing: Annotated[
        float | None,
        typer.Option(help="Isotropic voxel spacing of the training images, mm.", min=1e-6),
    ] = None,
) -> None:
    """Turn a published checkpoint into safetensors that `register --weights` takes.

    The file is read without executing anything in it; its sampling grids are left out.
    """
    from sacbnet.networks.weights import convert

    info = convert.convert_checkpoint(
        checkpoint,
        out,
        licence=licence or convert.UNKNOWN_LICENCE,
        trained_on=trained_on,
        spacing_mm="unknown" if spacing is None else f"{spacing:g}",
    )
    typer.echo(f"written: {out} (licence: {info.licence})")
