"""Options that several verbs have, worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sacbnet.config.choices import AffineChoice, BoxChoice, Precision, Preset

METHOD = "Method"
OUTPUT = "Output"

Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print nothing but errors.", rich_help_panel=OUTPUT),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="A line for each stage with its seconds, and the library's own messages.",
        rich_help_panel=OUTPUT,
    ),
]
Log = Annotated[
    Path | None,
    typer.Option(help="Add the same lines, with their times, to a file.", rich_help_panel=OUTPUT),
]
Weights = Annotated[
    str,
    typer.Option(
        help="A name that `sacbnet weights list` shows, a safetensors file or a training run;"
        " default: the weights marked there; none: affine and refinement only.",
        rich_help_panel=METHOD,
    ),
]
Affine = Annotated[
    AffineChoice,
    typer.Option(
        help="Alignment before the network. auto: what the weights need, an affine one as a rule;"
        " none: the headers already agree.",
        rich_help_panel=METHOD,
    ),
]
PresetName = Annotated[
    Preset,
    typer.Option(
        help="fast: the network alone. balanced: refined for this pair. accurate: longer, at full"
        " resolution.",
        rich_help_panel=METHOD,
    ),
]
Refine = Annotated[
    int | None,
    typer.Option(
        help="Optimisation steps per level at most, instead of the preset's; 0: none.",
        min=0,
        rich_help_panel=METHOD,
    ),
]
Spacing = Annotated[
    float | None,
    typer.Option(
        help="Working resolution in mm; default: the weights' own, or 1 for human scans.",
        rich_help_panel=METHOD,
    ),
]
Box = Annotated[
    BoxChoice,
    typer.Option(
        help="Part of the fixed image to work on. auto: what it shows plus a margin, or the whole"
        " image where the weights were trained so and both images share one grid.",
        rich_help_panel=METHOD,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=METHOD)]
PrecisionName = Annotated[
    Precision,
    typer.Option(
        help="Of the network's features; bfloat16 halves their memory.", rich_help_panel=METHOD
    ),
]


def numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Read whole numbers that commas join.

    Parameters
    ----------
    option : str
        Name of the option, for the message.
    text : str or None
        The option's value; None where it was not given.

    Returns
    -------
    tuple[int, ...] or None
        The numbers; None where the option was not given.

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
            f"{option} is {text!r}; whole numbers joined by commas were expected"
        ) from error
