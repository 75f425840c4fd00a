"""Results under the names of BIDS derivatives, beside the folders of the pairs.

Each file is a hard link to the file of the result, or a copy where the disk has no links. The
folders of the pairs themselves are named in .bidsignore.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sacbnet.data.listing import stem
from sacbnet.environment import VERSION
from sacbnet.files import atomic_file, writing
from sacbnet.registration.result import AFFINE, INVERSE, MOVED, MOVED_LABELS, TRANSFORM

from .bids import DESCRIPTION, BidsImage, parsed
from .members import Member
from .pairs import INDEX, SUMMARY, TABLE, THUMBNAILS, CohortPair
from .summary import Cohort, Outcome

BIDS_VERSION = "1.9.0"
IGNORE = ".bidsignore"
_IGNORED = ("*_to_*/", INDEX, TABLE, SUMMARY, f"{THUMBNAILS}/")


def write_derivatives(
    cohort: Cohort, pairs: Sequence[CohortPair], members: Sequence[Member], source: Path, out: Path
) -> int:
    """Give the results of a BIDS dataset the names of BIDS derivatives.

    Parameters
    ----------
    cohort : Cohort
        What the pairs came to.
    pairs : sequence of CohortPair
        The pairs.
    members : sequence of Member
        The images of the dataset.
    source : Path
        The dataset.
    out : Path
        Folder of the cohort, which becomes a dataset of derivatives.

    Returns
    -------
    int
        Number of pairs whose results have such names now.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    _write_json(out / DESCRIPTION, _description(source, out))
    with atomic_file(out / IGNORE) as path:
        path.write_text("\n".join(_IGNORED) + "\n", encoding="utf-8")
    images = {member.image: member.bids for member in members}
    by_name = {pair.name: pair for pair in pairs}
    done = 0
    for row in cohort.outcomes:
        pair = by_name[row.name]
        moving = images.get(pair.moving)
        if row.status == "failed" or moving is None:
            continue
        _place(pair, moving, space_of(pair.fixed, images.get(pair.fixed)), row, source, out)
        done += 1
    return done


def space_of(fixed: Path, image: BidsImage | None = None) -> str:
    """Name the space of a fixed image.

    Parameters
    ----------
    fixed : Path
        The fixed image.
    image : BidsImage or None, default None
        Its entities, where it is one of the dataset.

    Returns
    -------
    str
        Letters and digits: the name of the template in a file ``tpl-NAME_...``, all entities of an
        image of a dataset, else the name of the file.

    Examples
    --------
    >>> space_of(Path("tpl-MNI152NLin2009cAsym_res-01_T1w.nii.gz")), space_of(Path("mean.nii"))
    ('MNI152NLin2009cAsym', 'mean')
    """
    template = re.match(r"tpl-([0-9A-Za-z]+)_", fixed.name)
    if template:
        return template[1]
    image = image or parsed(fixed)
    text = stem(fixed.name) if image is None else f"{image.stem}_{image.suffix}"
    return re.sub(r"[^0-9A-Za-z]", "", text) or "reference"


def names(image: BidsImage, space: str) -> dict[str, str]:
    """Name the files of a result.

    Parameters
    ----------
    image : BidsImage
        The moving image.
    space : str
        Name of the space of the fixed image.

    Returns
    -------
    dict[str, str]
        The name of BIDS for each file of a result.
    """
    there = f"{image.stem}_from-{image.suffix}_to-{space}_mode-image"
    back = f"{image.stem}_from-{space}_to-{image.suffix}_mode-image"
    return {
        TRANSFORM: f"{there}_xfm.nii.gz",
        INVERSE: f"{back}_xfm.nii.gz",
        AFFINE: f"{there}_desc-affine_xfm.mat",
        MOVED: f"{image.stem}_space-{space}_{image.suffix}.nii.gz",
        MOVED_LABELS: f"{image.stem}_space-{space}_dseg.nii.gz",
    }


def _place(
    pair: CohortPair, moving: BidsImage, space: str, row: Outcome, source: Path, out: Path
) -> None:
    folder = out / moving.folder
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    named = names(moving, space)
    for file, name in named.items():
        made, target = out / pair.name / file, folder / name
        if made.is_file():
            _link(made, target)
        else:
            target.unlink(missing_ok=True)
    account = {
        "Description": f"Maps points of {space} to points of {moving.suffix}, in mm (ITK, LPS);"
        f" resamples the image {moving.suffix} onto {space}",
        "Sources": [
            f"bids:raw:{moving.path.relative_to(source).as_posix()}",
            _relative(pair.fixed, folder),
        ],
        "SpatialReference": _relative(pair.fixed, folder),
        "Verdict": row.verdict,
        "Account": _relative(out / pair.name / "run.json", folder),
    }
    _write_json(folder / named[TRANSFORM].replace(".nii.gz", ".json"), account)


def _link(made: Path, target: Path) -> None:
    with suppress(OSError):
        if os.path.samefile(made, target):
            return
    with atomic_file(target) as path:
        try:
            os.link(made, path)
        except OSError:  # a file system without hard links
            shutil.copyfile(made, path)


def _description(source: Path, out: Path) -> dict[str, Any]:
    name = source.absolute().name
    with suppress(OSError, ValueError, AttributeError, TypeError):
        given = json.loads((source / DESCRIPTION).read_text(encoding="utf-8")).get("Name")
        name = given if isinstance(given, str) and given else name
    raw = _relative(source, out)
    return {
        "Name": f"{name}, registered by sacbnet",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "sacbnet", "Version": VERSION}],
        "SourceDatasets": [{"URL": raw}],
        "DatasetLinks": {"raw": raw},
    }


def _relative(path: Path, start: Path) -> str:
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # another drive of Windows
        return path.absolute().as_posix()


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with atomic_file(path) as file:
        file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
