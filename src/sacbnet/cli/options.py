"""Options that several verbs share, and the layout of the text below the options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sacbnet.config.choices import AffineChoice, BoxChoice, Metric, Precision, Preset

METHOD = "Method"
OUTPUT = "Output"

Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=OUTPUT),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Print a line for each stage with its seconds, and the messages of the library.",
        rich_help_panel=OUTPUT,
    ),
]
Log = Annotated[
    Path | None,
    typer.Option(
        help="File to which the same lines are added, with their times. Default: no file.",
        rich_help_panel=OUTPUT,
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help="Weights of the network: a name that `sacbnet weights list` shows, a safetensors file"
        " or the folder of a training run. default: the weights that the list marks as default."
        " none: no network, only affine and refinement.",
        rich_help_panel=METHOD,
    ),
]
Affine = Annotated[
    AffineChoice,
    typer.Option(
        help="Alignment before the network. auto: the alignment that the weights need, usually"
        " affine. none: no alignment, because the headers already agree.",
        rich_help_panel=METHOD,
    ),
]
PresetName = Annotated[
    Preset,
    typer.Option(
        help="How much refinement of this pair follows the network. fast: none (without"
        " weights: down to half the resolution). balanced: up to 60 steps per level, few at full"
        " resolution. accurate: up to 150 steps per level.",
        rich_help_panel=METHOD,
    ),
]
Refine = Annotated[
    int | None,
    typer.Option(
        help="Largest number of refinement steps per level. 0: no refinement. Default: the number"
        " of the preset.",
        min=0,
        rich_help_panel=METHOD,
    ),
]
MetricName = Annotated[
    Metric,
    typer.Option(
        help="How refinement measures the likeness of the images. lncc: local correlation. mi:"
        " mutual information, for two kinds of images. mind: MIND-SSC, for two kinds of images"
        " whose contrast also drifts. mse: squared difference, for intensities of one meaning.",
        rich_help_panel=METHOD,
    ),
]
Smoothness = Annotated[
    float | None,
    typer.Option(
        help="Weight of the smoothness of the displacement in refinement. Larger: stiffer."
        " Default: 1.",
        min=0,
        rich_help_panel=METHOD,
    ),
]
Spacing = Annotated[
    float | None,
    typer.Option(
        help="Voxel spacing, in mm, at which the pair is registered. Default: the spacing of the"
        " weights; if refinement follows, a spacing near that of the fixed image.",
        rich_help_panel=METHOD,
    ),
]
Box = Annotated[
    BoxChoice,
    typer.Option(
        help="Part of the fixed image that is registered. foreground: the box around what the image"
        " shows, with a margin. whole: the whole image. auto: foreground; but whole if the weights"
        " were trained on whole images and both images have the same grid.",
        rich_help_panel=METHOD,
    ),
]
Fill = Annotated[
    str,
    typer.Option(
        help="Intensity of the result where nothing of the image arrives. auto: the background of"
        " the image itself, such as -1000 in CT. Labels have 0 there.",
        metavar="VALUE|auto",
        rich_help_panel=OUTPUT,
    ),
]
Save = Annotated[
    str,
    typer.Option(
        help="Maps to write besides, with commas between them. jacobian: log of the change of"
        " volume. uncertainty: expected error in mm. clusters: the regions of each level of the"
        " network. grid: a warped grid. Default: none.",
        metavar="MAP,...",
        rich_help_panel=OUTPUT,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="Device that computes: auto, cpu, cuda or cuda:N. auto: a GPU if torch finds one.",
        rich_help_panel=METHOD,
    ),
]
PrecisionName = Annotated[
    Precision,
    typer.Option(
        help="Number format of the network's features. bfloat16 halves their memory.",
        rich_help_panel=METHOD,
    ),
]


def epilog(text: str) -> str:
    """Join the lines of each paragraph, so that the terminal's width decides where lines break.

    Parameters
    ----------
    text : str
        Paragraphs with an empty line between them.

    Returns
    -------
    str
        The paragraphs, each on one line.
    """
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Read whole numbers with commas between them.

    Parameters
    ----------
    option : str
        Name of the option, for the message.
    text : str or None
        The option's value; None if the option was not given.

    Returns
    -------
    tuple[int, ...] or None
        The numbers; None if the option was not given.

    Raises
    ------
    InputError
        If the text is something else.
    """
    from sacbnet.errors import InputError

    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise InputError(
            f"{option} is {text!r}; whole numbers with commas between them were expected"
        ) from error
