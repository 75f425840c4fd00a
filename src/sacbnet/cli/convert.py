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
        str | None, typer.Option(help="Licence of the weights. Default: unknown.")
    ] = None,
    trained_on: Annotated[str, typer.Option(help="Training data of the weights.")] = "unknown",
    spacing: Annotated[
        float | None,
        typer.Option(
            help="Isotropic voxel spacing of the training images in mm. Default: unknown.",
            min=1e-6,
        ),
    ] = None,
) -> None:
    """Convert a published SACB-Net checkpoint to safetensors for `register --weights`.

    No code in the checkpoint is executed. The sampling grids in it are left out.
    """
    from sacbnet.files import keep_inputs
    from sacbnet.networks.weights import convert

    keep_inputs([out], [checkpoint])
    info = convert.convert_checkpoint(
        checkpoint,
        out,
        licence=licence or convert.UNKNOWN_LICENCE,
        trained_on=trained_on,
        spacing_mm="unknown" if spacing is None else f"{spacing:g}",
    )
    typer.echo(f"written: {out} (licence: {info.licence})")
