"""Folders of images with folders of labels and points beside them, as nnU-Net and Learn2Reg do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from typing_extensions import override

from sacbnet.data.cases import Case, PairList
from sacbnet.data.listing import (
    LABELS,
    LANDMARKS,
    files_of,
    image_suffixes,
    in_order,
    points_suffixes,
    stem,
    without_modality,
)
from sacbnet.data.source import Source
from sacbnet.errors import InputError

_IMAGES = re.compile(r"images(Tr|Ts|Va|Val)?")


class ImageFolders(Source):
    """images/ (or imagesTr, imagesTs, ...) with labels*/ and points*/ beside it."""

    expected = "a folder"

    @override
    def recognises(self, path: Path) -> bool:
        """Look for a folder of images."""
        return path.is_dir() and bool(_image_folders(path))

    @override
    def read(self, path: Path) -> PairList:
        """Match labels and points to images by their names."""
        folders = _image_folders(path)
        cases = [case for images in folders for case in _beside(images, len(folders) > 1)]
        return PairList(in_order(cases, path))


def _image_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and _IMAGES.fullmatch(p.name))


def _beside(images: Path, prefixed: bool) -> Iterator[Case]:
    """The cases of one folder imagesXx, with labelsXx, pointsXx, landmarksXx, keypointsXx."""
    ending = images.name.removeprefix("images")
    labels = _companions(images, ending, LABELS, image_suffixes())
    points = _companions(images, ending, LANDMARKS, points_suffixes())
    found = list(files_of(images, image_suffixes()))
    if not found:
        raise InputError(
            f"{images} holds no images of a known format ({', '.join(image_suffixes())})"
        )
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
    images: Path, ending: str, kinds: Iterable[str], ends: tuple[str, ...]
) -> dict[str, Path]:
    folders = [images.parent / f"{kind}{ending}" for kind in kinds]
    return {stem(p.relative_to(f)): p for f in folders if f.is_dir() for p in files_of(f, ends)}


def _match(key: str, found: Mapping[str, Path]) -> Path | None:
    return found.get(key) or found.get(without_modality(key))
