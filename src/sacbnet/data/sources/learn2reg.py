"""Learn2Reg's description of a dataset, NAME_dataset.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from typing_extensions import override

from sacbnet.data.cases import PairList
from sacbnet.data.listing import (
    LABELS,
    LANDMARKS,
    image_suffixes,
    listed_file,
    names_of,
    pair_list,
    points_suffixes,
    stem,
    without_modality,
)
from sacbnet.data.source import Source
from sacbnet.errors import InputError

_LISTS = ("training", "test", "training_paired_images", "registration_val", "registration_test")


class Learn2Reg(Source):
    """The images of `training` and `test`, and the pairs of the lists of pairs.

    An entry names its labels and landmarks, or they lie in the folders beside the images under the
    same name. Images of the test lists may be absent, because they are handed out apart. Absent
    images are left out, with their pairs.
    """

    expected = "a Learn2Reg .json"

    @override
    def recognises(self, path: Path) -> bool:
        """Look at the suffix."""
        return path.is_file() and path.suffix.lower() == ".json"

    @override
    def read(self, path: Path) -> PairList:
        """Read all lists; an image in several lists is one case."""
        lists = _lists(path)
        found: dict[Path, list[Path | None]] = {}
        pairs: list[tuple[Path, Path]] = []
        for name in _LISTS:
            for n, entry in enumerate(lists.get(name) or []):
                where = f"entry {n + 1} of {name}"
                paths = _entry(path, where, entry)
                images = _present(path, where, paths, absent_ok=name.endswith("test"))
                for image in images:
                    own = entry if len(paths) == 1 else None
                    found.setdefault(image, _beside(path.parent, image, own))
                if len(images) == 2:
                    pairs.append((images[1], images[0]))
        if not found:
            raise InputError(
                f"{path} names no image that exists; its folders are expected beside it"
            )
        short = {image: Path(stem(image)).name for image in found}
        names = short if len(set(short.values())) == len(short) else names_of(found)
        return pair_list(found, pairs, names, path)


def _lists(path: Path) -> dict[str, Any]:
    try:
        lists = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(lists, dict) or not any(isinstance(lists.get(name), list) for name in _LISTS):
        raise InputError(
            f"{path} is no dataset of Learn2Reg; one of the lists {', '.join(_LISTS)} was expected"
        )
    return lists


def _entry(path: Path, where: str, entry: Any) -> tuple[str, ...]:
    """The one image, or (fixed, moving), of an entry."""
    if isinstance(entry, str):
        return (entry,)
    for keys in (("image",), ("fixed", "moving")):
        if isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in keys):
            return tuple(entry[key] for key in keys)
    raise InputError(
        f"{path}, {where} is {json.dumps(entry)[:80]}; an image, or fixed and moving, was expected"
    )


def _present(path: Path, where: str, names: tuple[str, ...], absent_ok: bool) -> list[Path]:
    """The images of an entry; without the absent ones if they may be absent."""
    there = [
        name
        for name in names
        if not absent_ok or os.path.exists(os.path.normpath(path.parent / name))
    ]
    return [listed_file(path, where, name) for name in there]


def _beside(root: Path, image: Path, entry: Any) -> list[Path | None]:
    """Labels and points of an image, as its entry says, else by its name; None where absent.

    Entries name landmarks with the suffix of the image, .nii.gz, although the files are CSV.
    """
    images = next((p for p in image.parents if p.name.startswith("images")), image.parent)
    ending, key = images.name.removeprefix("images"), stem(image.relative_to(images))
    out: list[Path | None] = []
    for kinds, ends in ((("label", *LABELS), image_suffixes()), (LANDMARKS, points_suffixes())):
        named = [
            entry[kind]
            for kind in kinds
            if isinstance(entry, dict) and isinstance(entry.get(kind), str)
        ]
        bases = [os.path.normpath(root / stem(name)) for name in named]
        bases += [
            str(images.parent / (kind + ending) / k)
            for kind in kinds
            for k in (key, without_modality(key))
        ]
        candidates = (Path(base + suffix) for base in bases for suffix in ends)
        out.append(next((path for path in candidates if os.path.isfile(path)), None))
    return out
