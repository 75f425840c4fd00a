"""What weights state about themselves, as one typed value: in their file, in run.json, on screen.

This module imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self, cast, get_args

from sacbnet.config.choices import AffineKind, Box
from sacbnet.config.network import NetworkOptions
from sacbnet.config.registry import options_from_dict
from sacbnet.environment import VERSION
from sacbnet.errors import SacbnetError, WeightsError

FORMAT_VERSION = 1  # of the file
REPORT_VERSION = 1  # of to_json's form

# what the maker of weights has to state
FACTS = ("licence", "trained_on", "spacing_mm", "intensity", "source")
_FLAGS = ("restricted", "symmetric", "mirrored")
_NUMBERS = ("steps", "training_seconds")
_TABLES = ("baseline", "validation")


@dataclass(frozen=True)
class WeightsInfo:
    """What a file of weights states: its network, how it was trained, and how it is to be run.

    Parameters
    ----------
    architecture : str
        Name of the network (`sacbnet.config.registry`).
    options : NetworkOptions
        Options of the network.
    licence, trained_on, source : str
        Terms of use, training data, and who made the weights.
    intensity : str
        The intensities that the network expects.
    name : str, default ""
        Short name.
    spacing_mm : float or None, default None
        Isotropic voxel spacing of the training images, mm. None: unknown.
    restricted : bool, default False
        Whether the licence forbids some use.
    symmetric : bool, default False
        Whether the network is run in both directions, and the mean is taken (`predict.BothWays`).
    mirrored : bool, default False
        Whether the network is also run on the mirror images (`predict.Mirrored`).
    affine : {"none", "rigid", "affine"} or None, default None
        Alignment that the images need before the network. "none": the network was trained on
        images as they lie, such as crops that are aligned already. None: the weights do not say.
    box : {"whole", "foreground"} or None, default None
        Part of the fixed image that the network was trained on. None: the weights do not say.
    steps, training_seconds : int or None, default None
        Length of the training.
    baseline, validation : Mapping[str, float], default empty
        Scores on the validation pairs before training and of these weights.
    recipe : Mapping[str, Any] or None, default None
        The recipe of the training, without places of the machine it ran on.
    sacbnet_version : str, default ""
        Version of sacbnet that wrote the file.
    format_version : int, default 1
        Version of the file's format.
    parameters : int, default 0
        Number of parameters.
    sha256 : str, default ""
        Hash of the file, hexadecimal; "" before the file exists.
    more : Mapping[str, str], default empty
        Further texts of the file, by name.
    """

    architecture: str
    options: NetworkOptions
    licence: str
    trained_on: str
    source: str
    intensity: str
    name: str = ""
    spacing_mm: float | None = None
    restricted: bool = False
    symmetric: bool = False
    mirrored: bool = False
    affine: AffineKind | None = None
    box: Box | None = None
    steps: int | None = None
    training_seconds: int | None = None
    baseline: Mapping[str, float] = field(default_factory=dict)
    validation: Mapping[str, float] = field(default_factory=dict)
    recipe: Mapping[str, Any] | None = None
    sacbnet_version: str = ""
    format_version: int = FORMAT_VERSION
    parameters: int = 0
    sha256: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, str], *, parameters: int = 0, sha256: str = ""
    ) -> Self:
        """Read the texts of a safetensors header.

        Parameters
        ----------
        metadata : Mapping[str, str]
            The header's texts.
        parameters : int, default 0
            Number of parameters in the file.
        sha256 : str, default ""
            Hash of the file.

        Returns
        -------
        WeightsInfo
            The value.

        Raises
        ------
        WeightsError
            If the format is newer than this version reads, or the configuration cannot be used.
        """
        version = metadata.get("format_version", "")
        if not version.isdecimal() or len(version) > 9 or int(version) > FORMAT_VERSION:
            raise WeightsError(
                f"the format is {version or 'unstated'}; up to {FORMAT_VERSION} is read: update"
                " sacbnet"
            )
        try:
            architecture = metadata["architecture"]
            options = options_from_dict(architecture, json.loads(metadata["config"]))
        except (KeyError, ValueError, TypeError, RecursionError, SacbnetError) as error:
            raise WeightsError(f"no usable configuration ({error}); get the file again") from error
        known = {f.name for f in fields(cls)} | {"config"}
        recipe = _table(metadata.get("recipe"))
        values: dict[str, Any] = {name: metadata.get(name, "") for name in _TEXTS}
        values |= {name: metadata.get(name) == "true" for name in _FLAGS}
        values |= {name: _whole(metadata.get(name)) for name in _NUMBERS}
        values |= {name: _table(metadata.get(name)) or {} for name in _TABLES}
        return cls(
            architecture=architecture,
            options=options,
            spacing_mm=_spacing(metadata.get("spacing_mm", "")),
            affine=cast(AffineKind | None, _choice(metadata.get("affine"), get_args(AffineKind))),
            box=cast(Box | None, _choice(metadata.get("box"), get_args(Box))) or _box_of(recipe),
            recipe=recipe,
            format_version=int(version),
            parameters=parameters,
            sha256=sha256,
            more={k: v for k, v in metadata.items() if k not in known},
            **values,
        )

    def to_metadata(self) -> dict[str, str]:
        """Write the texts of a safetensors header.

        Returns
        -------
        dict[str, str]
            The texts; `from_metadata` reads the same value back.
        """
        text = dict(self.more)
        for name in _TEXTS:
            text[name] = getattr(self, name)
        for name in (*_FLAGS, *_NUMBERS, *_TABLES, "affine", "box", "recipe"):
            value = getattr(self, name)
            if value is not None:
                text[name] = value if isinstance(value, str) else json.dumps(value)
        return text | {
            "spacing_mm": "unknown" if self.spacing_mm is None else f"{self.spacing_mm:g}",
            "architecture": self.architecture,
            "config": json.dumps(self.options.to_dict()),
            "format_version": str(FORMAT_VERSION),
            "sacbnet_version": self.sacbnet_version or VERSION,
        }

    def to_json(self) -> dict[str, Any]:
        """Write plain values for JSON.

        Returns
        -------
        dict[str, Any]
            The fields, with `options` as a table; `from_json` reads the same value back.
        """
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain |= {"options": self.options.to_dict(), "version": REPORT_VERSION}
        return cast(dict[str, Any], json.loads(json.dumps(plain)))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read `to_json`'s form.

        Parameters
        ----------
        values : Mapping[str, Any]
            Plain values, as JSON has them.

        Returns
        -------
        WeightsInfo
            The value.

        Raises
        ------
        WeightsError
            If a value is missing, unknown or of a newer version.
        """
        try:
            plain = dict(values)
            version = plain.pop("version")
            plain["options"] = options_from_dict(plain["architecture"], plain["options"])
            found = cls(**plain)
        except (KeyError, TypeError, ValueError, AttributeError, SacbnetError) as error:
            raise WeightsError(f"this is no account of weights ({error})") from error
        if version != REPORT_VERSION:
            raise WeightsError(f"this account of weights has version {version}: update sacbnet")
        return found


_TEXTS = ("licence", "trained_on", "source", "intensity", "name", "sacbnet_version")


def _table(text: str | None) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 19 else None


def _choice(text: str | None, known: tuple[str, ...]) -> str | None:
    return text if text in known else None


def _spacing(text: str) -> float | None:
    """A number, or three equal ones; None for anything else: other texts say that it is unknown."""
    try:
        found = json.loads(text)
        values = {float(x) for x in (found if isinstance(found, list) else [found])}
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    (value,) = values if len(values) == 1 else (None,)
    return value if value is not None and 0 < value < float("inf") else None


def _box_of(recipe: Mapping[str, Any] | None) -> Box | None:
    """The box of files that are older than the field `box`.

    Their trainings saw whole grids, except where the synthesis drew boxes.
    """
    if recipe is None:
        return None
    return "foreground" if recipe.get("synthesis") else "whole"
