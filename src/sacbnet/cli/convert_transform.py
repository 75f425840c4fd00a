"""sacbnet convert"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import options as o

EPILOG = o.epilog("""[bold]Examples[/bold]

sacbnet convert result --to fsl --out b_to_a.nii.gz

sacbnet convert flirt.mat --fixed a.nii.gz --moving b.nii.gz --to itk --out b_to_a.tfm

sacbnet convert b_to_a.lta,inverse --to ants --out a_to_b.mat

[bold]Formats[/bold]

itk, ants: .mat, .txt or .tfm for an affine, .nii.gz for a field (itk also .nrrd, .mha). itk-h5,
slicer: .h5. fsl: .mat (FLIRT), .nii.gz (FNIRT). lta: .lta. afni: .aff12.1D, .nii.gz.

[bold]Direction[/bold]

Every file keeps the direction of its tool; sacbnet info FILE says it in words. fixed and moving are
the same images before and after the conversion: the image that stays and the image that is
resampled (FSL: -ref and -in; FreeSurfer: dst and src; AFNI: base and source).""")


def convert(
    transform: Annotated[
        str,
        typer.Argument(
            help="A transform of any format, or a result folder. NAME,inverse stands for its"
            " inverse.",
            metavar="NAME[,inverse]",
        ),
    ],
    to: Annotated[
        Literal["itk", "itk-h5", "ants", "slicer", "fsl", "lta", "afni"],
        typer.Option(help="Tool for which the file is written."),
    ],
    out: Annotated[Path, typer.Option(help="File to write; its suffix chooses the format.")],
    fixed: Annotated[
        Path | None,
        typer.Option(
            help="The fixed image; only its grid matters. Default: that of the result folder."
        ),
    ] = None,
    moving: Annotated[
        Path | None,
        typer.Option(help="The moving image. Default: that of the result folder."),
    ] = None,
    affine_only: Annotated[
        bool,
        typer.Option(
            "--affine-only", help="Of a result folder: its affine part instead of the whole."
        ),
    ] = False,
    quiet: o.Quiet = False,
) -> None:
    """Convert a transform between the formats of tools."""
    from sacbnet.errors import InputError
    from sacbnet.files import Claim, keep_inputs
    from sacbnet.io.convention import Between
    from sacbnet.io.images import load_reference
    from sacbnet.io.tools import save_transform
    from sacbnet.registration.given import bare, load_transform_given
    from sacbnet.registration.result import keep_result

    path = bare(transform)
    keep_inputs([out], [p for p in (path, fixed, moving) if p is not None and p.is_file()])
    if path.is_dir():
        keep_result(out, path)
    elif affine_only:
        raise InputError(f"{path} is no result folder, which --affine-only needs; leave it out")
    grids = (None if image is None else load_reference(image).grid for image in (fixed, moving))
    claim, between = Claim.of(out), Between(*grids)
    found, between = load_transform_given(transform, between, affine_only)
    save_transform(out, found, to, between, claim)
    if not quiet:
        typer.echo(f"written: {out} (sacbnet info {out} says what its numbers mean)")
