"""The readers behind `cases.read_cases`: one for each kind of source. They look for files, and open no image."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from sacbnet.errors import InputError
from sacbnet.io.format import ImageFormat, PointsFormat
from sacbnet.io.table import suffixes

from .cases import Case, PairList, natural

PICKLES = (".pkl", ".pickle")
_IMAGES, _POINTS = suffixes(ImageFormat), suffixes(PointsFormat)
_SUFFIXES = sorted((*_IMAGES, *PICKLES, *_POINTS), key=len, reverse=True)
_MODALITY = re.compile(
    r"_\d{4}$"
)  # that Learn2Reg and nnU-Net give to images, and nnU-Net not to their labels
_LABELS, _LANDMARKS = ("labels",), ("points", "landmarks", "keypoints")
_PAIR = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points")
_CASE = ("name", "image", "labels", "points")


def stem(path: str | Path) -> str:
    """A path without the suffixes of a known format, with forward slashes."""
    text = Path(path).as_posix()
    return next((text[: -len(s)] for s in _SUFFIXES if text.lower().endswith(s)), text)


# -- folders ------------------------------------------------------------------------------------------------------
def read_folder(folder: Path) -> PairList:
    """images*/ with labels*/ and points*/; or a folder of pickles and its sub-folders; or a flat folder of images."""
    beside = sorted(
        p for p in folder.iterdir() if p.is_dir() and re.fullmatch(r"images(Tr|Ts|Va|Val)?", p.name)
    )
    if beside:
        return _sorted(
            [case for images in beside for case in _beside(images, len(beside) > 1)], folder
        )
    pickles = list(_files(folder, PICKLES))
    found = pickles or [p for p in _files(folder, _IMAGES) if p.parent == folder]
    if not found:
        raise InputError(
            f"{folder} holds no images; images/, images of a known format, or .pkl were expected"
        )
    return _sorted([Case(stem(path.relative_to(folder)), path) for path in found], folder)


def _beside(images: Path, prefixed: bool) -> Iterator[Case]:
    """The cases of one folder imagesXx, with what lies in labelsXx, pointsXx, landmarksXx, keypointsXx."""
    ending = images.name.removeprefix("images")
    labels = _companions(images, ending, _LABELS, _IMAGES)
    points = _companions(images, ending, _LANDMARKS, _POINTS)
    found = list(_files(images, _IMAGES))
    if not found:
        raise InputError(f"{images} holds no images of a known format ({', '.join(_IMAGES)})")
    cases = []
    for path in found:
        key = stem(path.relative_to(images))
        name = f"{images.name}/{key}" if prefixed else key
        cases.append(Case(name, path, _match(key, labels), _match(key, points)))
    if labels and not any(case.labels for case in cases):
        raise InputError(
            f"none of the {len(labels)} label maps beside {images} has the name of an image"
            f" ({sorted(labels)[0]}, but {cases[0].name}); name them alike, or list both in a CSV"
        )
    yield from cases


def _companions(
    images: Path, ending: str, kinds: Iterable[str], formats: tuple[str, ...]
) -> dict[str, Path]:
    folders = [images.parent / f"{kind}{ending}" for kind in kinds]
    return {stem(p.relative_to(f)): p for f in folders if f.is_dir() for p in _files(f, formats)}


def _match(key: str, found: Mapping[str, Path]) -> Path | None:
    return found.get(key) or found.get(_MODALITY.sub("", key))


def _files(folder: Path, formats: tuple[str, ...]) -> Iterator[Path]:
    """Files of these formats in a folder and below it; of Analyze pairs the header; nothing hidden."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or not path.name.lower().endswith(formats):
            continue
        header = re.sub(r"\.img(\.gz)?$", r".hdr\1", path.name)
        if header == path.name or not path.with_name(header).is_file():
            yield path


# -- CSV ------------------------------------------------------------------------------------------------------------
def read_csv(path: Path) -> PairList:
    """A list of pairs (fixed, moving, ...) or of cases (name, image, ...); paths are relative to the CSV's folder."""
    header, rows = _table(path)
    if {"fixed", "moving"} <= set(header):
        known: tuple[str, ...] = _PAIR
    elif "image" in header:
        known = _CASE
    else:
        raise InputError(
            f"{path} has the columns {', '.join(header)}; fixed and moving (a list of pairs) or image (of cases) were"
            " expected"
        )
    if unknown := [column for column in header if column not in known]:
        raise InputError(
            f"{path} has the unknown column {unknown[0]!r}; {', '.join(known)} were expected"
        )
    if not rows:
        raise InputError(f"{path} holds no row below its header; at least one was expected")
    return _pair_rows(path, rows) if known is _PAIR else _case_rows(path, rows)


def _table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names and (line, values) of a CSV; blank rows left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [cell.strip().lower() for cell in next(reader, [])]
            rows = [
                (reader.line_num, [cell.strip() for cell in row])
                for row in reader
                if any(map(str.strip, row))
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV ({error})") from error
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {line} has {len(row)} values; {len(header)} were expected, as in line 1"
            )
    return header, [(line, dict(zip(header, row, strict=True))) for line, row in rows]


def _case_rows(path: Path, rows: list[tuple[int, dict[str, str]]]) -> PairList:
    cases = []
    for line, row in rows:
        where = f"line {line}"
        more = (_optional(path, where, row.get(column, "")) for column in ("labels", "points"))
        cases.append(Case(row.get("name", ""), _file(path, where, row["image"]), *more))
    named = _named([case.image for case in cases])
    return _sorted([replace(case, name=case.name or named[case.image]) for case in cases], path)


def _pair_rows(path: Path, rows: list[tuple[int, dict[str, str]]]) -> PairList:
    found: dict[Path, list[Path | None]] = {}  # image -> labels, points
    pairs: list[tuple[Path, Path]] = []
    for line, row in rows:
        where = f"line {line}"
        fixed, moving = (_file(path, where, row[side]) for side in ("fixed", "moving"))
        for side, image in (("fixed", fixed), ("moving", moving)):
            known = found.setdefault(image, [None, None])
            for n, kind in enumerate(("labels", "points")):
                given = _optional(path, where, row.get(f"{side}_{kind}", ""))
                if None not in (given, known[n]) and given != known[n]:
                    raise InputError(
                        f"{path}, {where} gives {image} the {kind} {given}, but a row above gave {known[n]}"
                    )
                known[n] = known[n] or given
        pairs.append((moving, fixed))
    return _paired(found, pairs, _named(found), path)


def _optional(source: Path, where: str, text: str) -> Path | None:
    return _file(source, where, text) if text else None


def _file(source: Path, where: str, text: str) -> Path:
    """The file (or DICOM folder) that a list names, relative to the list."""
    if not text:
        raise InputError(f"{source}, {where} names no image; a path was expected")
    path = Path(os.path.normpath(source.parent / text))
    if not path.exists():
        raise InputError(
            f"{source}, {where} names {text}, but {path} does not exist; paths are relative to the list"
        )
    return path


# -- Learn2Reg --------------------------------------------------------------------------------------------------------
def read_learn2reg(path: Path) -> PairList:
    """Learn2Reg's NAME_dataset.json: the images of `training` and `test`, and the pairs of its lists of pairs.

    Labels and landmarks are those an entry names, or that lie in the folders beside the images under the same name.
    Images of the test lists may be absent (they are handed out apart) and are left out, with their pairs.
    """
    try:
        lists = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error})") from error
    fields = ("training", "test", "training_paired_images", "registration_val", "registration_test")
    if not isinstance(lists, dict) or not any(isinstance(lists.get(name), list) for name in fields):
        raise InputError(
            f"{path} is no dataset of Learn2Reg; one of the lists {', '.join(fields)} was expected"
        )
    found: dict[Path, list[Path | None]] = {}
    pairs: list[tuple[Path, Path]] = []
    for field in fields:
        for n, entry in enumerate(lists.get(field) or []):
            where, absent_ok = f"entry {n + 1} of {field}", field.endswith("test")
            names = _entry(path, where, entry)
            images = [
                p for name in names for p in [_image(path, where, name, absent_ok)] if p is not None
            ]
            for image in images:
                found.setdefault(
                    image, _beside_learn2reg(path.parent, image, entry if len(names) == 1 else None)
                )
            if len(images) == 2:
                pairs.append((images[1], images[0]))
    if not found:
        raise InputError(f"{path} names no image that exists; its folders are expected beside it")
    stems = {image: Path(stem(image)).name for image in found}
    return _paired(
        found, pairs, stems if len(set(stems.values())) == len(stems) else _named(found), path
    )


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


def _image(path: Path, where: str, name: str, absent_ok: bool) -> Path | None:
    exists = Path(os.path.normpath(path.parent / name)).exists()
    return None if absent_ok and not exists else _file(path, where, name)


def _beside_learn2reg(root: Path, image: Path, entry: Any) -> list[Path | None]:
    """Labels and points of an image: as its entry says, else by name. Absent ones are none: not all are handed out.

    Entries name landmarks by the image's suffix, .nii.gz, where the files are CSV.
    """
    images = next((p for p in image.parents if p.name.startswith("images")), image.parent)
    ending, key = images.name.removeprefix("images"), stem(image.relative_to(images))
    out: list[Path | None] = []
    for kinds, formats in ((("label", *_LABELS), _IMAGES), (_LANDMARKS, _POINTS)):
        named = [
            entry[kind]
            for kind in kinds
            if isinstance(entry, dict) and isinstance(entry.get(kind), str)
        ]
        bases = [os.path.normpath(root / stem(name)) for name in named]
        bases += [
            str(images.parent / (kind + ending) / k)
            for kind in kinds
            for k in (key, _MODALITY.sub("", key))
        ]
        candidates = (Path(base + suffix) for base in bases for suffix in formats)
        out.append(next((path for path in candidates if path.is_file()), None))
    return out


# -- what they share --------------------------------------------------------------------------------------------------
def _named(images: Iterable[Path]) -> dict[Path, str]:
    """Names of listed images: their paths below the folder that all share, without suffixes."""
    paths = list(images)
    shared = Path(os.path.commonpath([p.parent for p in paths]))
    return {path: stem(path.relative_to(shared)) for path in paths}


def _paired(
    found: Mapping[Path, list[Path | None]],
    pairs: Iterable[tuple[Path, Path]],
    names: Mapping[Path, str],
    source: Path,
) -> PairList:
    cases = _sorted(
        [Case(names[image], image, *more) for image, more in found.items()], source
    ).cases
    index = {case.image: n for n, case in enumerate(cases)}
    return PairList(cases, tuple((index[moving], index[fixed]) for moving, fixed in pairs))


def _sorted(cases: list[Case], source: Path) -> PairList:
    cases = sorted(cases, key=lambda case: natural(case.name))
    for one, other in pairwise(cases):
        if one.name == other.name:
            raise InputError(
                f"{source} holds two cases {one.name!r} ({one.image} and {other.image}); rename one of them"
            )
    return PairList(tuple(cases))
