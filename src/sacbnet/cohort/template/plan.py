"""What is asked of a template, and whether a folder holds the template that is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sacbnet.cohort.members import Member
from sacbnet.config.registration import Options
from sacbnet.errors import InputError, OutputError
from sacbnet.files import atomic_file
from sacbnet.registration.inputs import hash_of

ROUNDS, FORMAT_VERSION = "rounds", 1
_PLAN = "plan.json"


@dataclass(frozen=True)
class TemplateOptions:
    """What may be chosen about a template.

    Parameters
    ----------
    rounds : int, default 4
        How often all images are registered to the mean with deformation.
    affine_rounds : int, default 2
        How often before that by an affine (or rigid) alignment alone.
    symmetric : bool, default False
        Whether each image counts once as it is and once as its mirror image, left for right.
    spacing : float or None, default None
        Spacing of the template, mm. None: the median of the images.
    sharpen : float, default 0
        How much of its Laplacian is taken from each mean after deformation; 0: nothing. At 0.5 the
        mean of ten brains of LPBA40 at 2 mm is as sharp inside as one of them; of few images the
        noise grows, too.

    Raises
    ------
    InputError
        If a number is negative, or the spacing is not above 0.
    """

    rounds: int = 4
    affine_rounds: int = 2
    symmetric: bool = False
    spacing: float | None = None
    sharpen: float = 0.0

    def __post_init__(self) -> None:
        if self.rounds < 0 or self.affine_rounds < 0:
            raise InputError(
                f"{self.affine_rounds} rounds of the affine and {self.rounds} after them were asked"
                " for; 0 or more were expected"
            )
        if not 0 <= self.sharpen <= 1:
            raise InputError(f"sharpen is {self.sharpen}; 0 to 1 was expected")
        if self.spacing is not None and not self.spacing > 0:
            raise InputError(f"the spacing is {self.spacing}; more than 0 mm was expected")


def keep_plan(
    members: Sequence[Member], options: Options, how: TemplateOptions, out: Path, overwrite: bool
) -> None:
    """Refuse a folder with a template of other images or options; else write down what is asked.

    Parameters
    ----------
    members : sequence of Member
        The images.
    options : Options
        How images are registered.
    how : TemplateOptions
        What is chosen about the template.
    out : Path
        The folder of the template.
    overwrite : bool
        Whether a template of other images or options is replaced.

    Raises
    ------
    OutputError
        If the folder holds a template of other images or options, and `overwrite` is False.
    """
    asked = json.loads(json.dumps(_plan(members, options, how)))  # as it is read again
    path = out / ROUNDS / _PLAN
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        if before == asked:
            return
        if not overwrite:
            changed = "a damaged plan"
            if isinstance(before, dict):
                changed = ", ".join(k for k in asked if before.get(k) != asked[k])
            raise OutputError(
                f"{out} holds a template of other {changed}; choose another --out, or give"
                " --overwrite"
            )
        shutil.rmtree(out / ROUNDS, ignore_errors=True)
        (out / ROUNDS).mkdir()
    with atomic_file(path) as file:
        file.write_text(json.dumps(asked, indent=1), encoding="utf-8")


def _plan(members: Sequence[Member], options: Options, how: TemplateOptions) -> dict[str, Any]:
    def told(path: Path | None) -> str:
        try:
            return "" if path is None else hash_of(path)
        except (InputError, OSError):
            return "unreadable"

    return {
        "format": FORMAT_VERSION,
        "options": {k: v for k, v in asdict(options).items() if k != "device"},
        "rounds": asdict(how),
        "images": {
            m.name: [told(m.image), told(m.mask), {c: told(p) for c, p in m.contrasts.items()}]
            for m in members
        },
    }
