"""sacbnet view"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as o

EPILOG = o.epilog("""[bold]Examples[/bold]

sacbnet view result

sacbnet view monday.nii.gz friday.nii.gz

sacbnet view result --labels a_seg.nii.gz --no-browser --port 8000

[bold]Who can see it[/bold]

The server listens on this machine only. It answers only those who know its address, which holds a
random token. Over ssh, forward the port: ssh -L 8000:127.0.0.1:8000 HOST.""")


def view(
    what: Annotated[
        list[Path],
        typer.Argument(help="The result folder of sacbnet register, or two images."),
    ],
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            help="Label map of the fixed image, or of the first of two images, whose outlines are"
            " drawn. Two may be given. Default: the label maps of the result."
        ),
    ] = None,
    fixed: Annotated[
        Path | None,
        typer.Option(help="Where the fixed image is now. Default: where run.json says."),
    ] = None,
    moving: Annotated[
        Path | None,
        typer.Option(help="Where the moving image is now. Default: where run.json says."),
    ] = None,
    port: Annotated[
        int, typer.Option(help="Port of this machine. 0: any that is free.", min=0, max=65535)
    ] = 0,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser",
            help="Open the page in a browser. Without: print its address only.",
        ),
    ] = True,
) -> None:
    """Look at a result, or at any two images, in a browser; Ctrl-C ends it."""
    if len(what) > 2 or (len(what) == 2 and (fixed or moving)):
        raise typer.BadParameter(
            f"{len(what)} files were given; give one result folder, with --fixed and --moving where"
            " its images have moved, or two images"
        )

    from sacbnet.reporting.viewer.run import open_viewer
    from sacbnet.reporting.viewer.scene import scene_of_pair, scene_of_result

    given = labels or ()
    if len(what) == 2:
        scene = scene_of_pair(what[0], what[1], given)
    else:
        scene = scene_of_result(what[0], given, fixed, moving)
    for note in scene.notes:
        typer.echo(f"note: {note}", err=True)
    with open_viewer(scene, port) as viewer:
        typer.echo(viewer.url)
        if browser and not viewer.show():
            typer.echo("note: no browser was found; open the address in one", err=True)
        typer.echo("Ctrl-C ends the viewer.", err=True)
        viewer.serve()
    typer.echo("closed", err=True)
