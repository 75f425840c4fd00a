"""The account of a registration: what run.json holds, as one typed value (contract 5).

docs/reference/outputs.md explains each key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import cattrs
import cattrs.errors
import numpy as np

from sacbnet.config.choices import AUTO, Fill
from sacbnet.config.registration import Options
from sacbnet.errors import InputError, SacbnetError
from sacbnet.imaging.resampling import Filled
from sacbnet.metrics.folding import Folding
from sacbnet.networks.weights.info import WeightsInfo
from sacbnet.spatial.grid import Grid

from .deliver import Repair, RoundTrip
from .landmarks import LandmarkFacts
from .refine import LevelReport
from .steps import Likeness, Overlap, Steps
from .verdict import Evidence, Verdict

FORMAT_VERSION = 2


@dataclass(frozen=True)
class ImageFacts:
    """Which image was read, and where its voxels lie.

    Parameters
    ----------
    name : str
        The path, or "array".
    shape : tuple[int, int, int]
        Voxels along (i, j, k).
    spacing_mm : tuple[float, float, float]
        Spacing along (i, j, k), mm.
    affine_ras : tuple of 4 tuples of 4 float
        Voxel indices to world coordinates, mm, RAS.
    sha256 : str, default ""
        Hash of the file, or of the voxels where the image came as an array.
    """

    name: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    affine_ras: tuple[tuple[float, ...], ...]
    sha256: str = ""

    @property
    def grid(self) -> Grid:
        """The image's grid."""
        return Grid(self.shape, np.array(self.affine_ras))


@dataclass(frozen=True)
class TransformFacts:
    """Which initial transform was read.

    Parameters
    ----------
    name : str
        The file or folder as it was given, with ",inverse" if it was inverted; or "transform".
    sha256 : str, default ""
        Hash of the file, or of the field in the folder; empty for a transform in memory.
    """

    name: str
    sha256: str = ""


@dataclass(frozen=True)
class WorkingGrid:
    """The grid on which a pair was worked.

    Parameters
    ----------
    spacing_mm : float
        Isotropic spacing, mm.
    shape : tuple[int, int, int]
        Voxels along (i, j, k).
    network_spacing_mm : float or None
        Spacing that the network saw, mm; None without a network.
    box : str, default "foreground"
        Part of the fixed image: "whole" or "foreground".
    """

    spacing_mm: float
    shape: tuple[int, int, int]
    network_spacing_mm: float | None
    box: str = "foreground"


@dataclass(frozen=True)
class ExpectedError:
    """The expected error over what the fixed image shows.

    Parameters
    ----------
    mean_mm, p95_mm : float
        Mean and 95th percentile, mm.
    """

    mean_mm: float
    p95_mm: float


@dataclass(frozen=True)
class RunReport:
    """What a registration has to say of itself.

    Parameters
    ----------
    environment : Mapping[str, Any]
        Versions, system, device, threads, kernels.
    options : Options
        Everything that was chosen, with defaults filled in.
    working_grid : WorkingGrid
        The grid on which the pair was worked.
    fixed, moving : ImageFacts
        The two images.
    weights : WeightsInfo or None
        What the weights say of themselves; None without a network.
    similarity : Steps[Likeness]
        Likeness at the three steps.
    folding : Folding
        Folding of the delivered transform.
    repair : Repair or None
        What the repair of folds changed; None where it was not asked for.
    inverse : RoundTrip
        How exact the inverse is.
    expected_error : ExpectedError or None, default None
        Expected error of the transform over what the fixed image shows; None where no deformation
        was sought, and in accounts of earlier versions.
    filled : Filled or None, default None
        Voxels of the moved image at which nothing of the moving image arrives, and what they hold;
        None in accounts of earlier versions.
    verdict : Verdict or None, default None
        Whether it worked, with reasons; None in accounts of earlier versions.
    evidence : Evidence or None, default None
        The numbers behind the verdict; None in accounts of earlier versions.
    dice : Steps[Overlap] or None, default None
        Overlap at the three steps, where both label maps were given.
    landmarks : Steps[LandmarkFacts] or None, default None
        How far the landmarks are missed at the three steps, where they were given.
    clusters : dict[str, dict[str, int]], default empty
        Number of clusters of each level in the fixed and the moving image.
    refinement : tuple[LevelReport, ...], default ()
        What each level of the refinement did.
    seconds : dict[str, float], default empty
        Seconds of each stage; "total" is without reading and writing files.
    peak_memory_mb : float, default 0
        Peak memory of the process (CPU) or of torch's allocator (GPU), MiB.
    notes : tuple[str, ...], default ()
        Sentences on choices that the program made.
    warnings : tuple[str, ...], default ()
        Sentences on what may be wrong.
    started : str, default ""
        When the work began, ISO 8601 with the offset from UTC.
    wall_seconds : float, default 0
        Seconds from the start to the last byte written; 0 before anything was written.
    command : tuple[str, ...], default ()
        The command line; () where Python code called the library.
    companions : dict[str, ImageFacts], default empty
        The masks, label maps and further contrasts that were given, by name ("fixed_mask").
    maps : dict[str, str], default empty
        What each map that came with the result holds, by file name.
    initial : tuple[TransformFacts, ...], default ()
        The transforms from which the registration started, in the order from the fixed to the
        moving image; () where there was none.
    format_version : int, default 2
        Version of this form.
    """

    environment: Mapping[str, Any]
    options: Options
    working_grid: WorkingGrid
    fixed: ImageFacts
    moving: ImageFacts
    weights: WeightsInfo | None
    similarity: Steps[Likeness]
    folding: Folding
    repair: Repair | None
    inverse: RoundTrip
    expected_error: ExpectedError | None = None
    filled: Filled | None = None
    verdict: Verdict | None = None
    evidence: Evidence | None = None
    dice: Steps[Overlap] | None = None
    landmarks: Steps[LandmarkFacts] | None = None
    clusters: dict[str, dict[str, int]] = field(default_factory=dict)
    refinement: tuple[LevelReport, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    started: str = ""
    wall_seconds: float = 0.0
    command: tuple[str, ...] = ()
    companions: dict[str, ImageFacts] = field(default_factory=dict)
    maps: dict[str, str] = field(default_factory=dict)
    initial: tuple[TransformFacts, ...] = ()
    format_version: int = FORMAT_VERSION

    def to_json(self) -> dict[str, Any]:
        """Write plain values for JSON.

        Returns
        -------
        dict[str, Any]
            The fields as they stand in run.json; numbers that are not finite become None.
        """
        plain: dict[str, Any] = _CONVERTER.unstructure(self, RunReport)
        finite: dict[str, Any] = _finite(plain)
        return {"format_version": finite.pop("format_version")} | finite

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read `to_json`'s form, or that of format 1.

        Parameters
        ----------
        values : Mapping[str, Any]
            Plain values, as run.json has them.

        Returns
        -------
        RunReport
            The account.

        Raises
        ------
        InputError
            If the values are no account of a registration, or one of a newer format.
        """
        version = values.get("format_version")
        if version not in (1, FORMAT_VERSION):
            raise InputError(
                f"this is no account of a registration (format {version}; 1 or {FORMAT_VERSION} was"
                " expected: update sacbnet)"
            )
        try:
            plain = _from_1(values) if version == 1 else dict(values)
            return _CONVERTER.structure(plain, cls)
        except cattrs.errors.BaseValidationError as error:
            reason = "; ".join(cattrs.transform_error(error)[:3])
            raise InputError(f"this is no account of a registration ({reason})") from error
        except (KeyError, TypeError, ValueError, AttributeError, SacbnetError) as error:
            raise InputError(f"this is no account of a registration ({error!r})") from error

    def to_text(self) -> str:
        """Write the text of run.json.

        Returns
        -------
        str
            JSON, indented.
        """
        return json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the text of run.json.

        Parameters
        ----------
        text : str
            JSON.

        Returns
        -------
        RunReport
            The account.

        Raises
        ------
        InputError
            If the text is no account of a registration.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"this is no account of a registration ({error})") from error
        if not isinstance(values, dict):
            raise InputError("this is no account of a registration (no table)")
        return cls.from_json(values)


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_unstructure_hook(WeightsInfo, WeightsInfo.to_json)
    converter.register_structure_hook(WeightsInfo, lambda value, _: WeightsInfo.from_json(value))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook_func(
        lambda kind: kind == Fill, lambda value, _: value if value == AUTO else float(value)
    )
    return converter


def _number(value: Any, _: type) -> float:
    return float("nan") if value is None else float(value)


_CONVERTER = _converter()


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: None stands for both."""
    if isinstance(value, Mapping):
        return {str(key): _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return None
    return value


def _from_1(values: Mapping[str, Any]) -> dict[str, Any]:
    """Format 1 had the repair inside the folding, and the texts of the weights' file."""
    plain = dict(values) | {"format_version": FORMAT_VERSION}
    folding = dict(plain["folding"])
    plain["repair"] = folding.pop("repair", None)
    plain["folding"] = folding
    texts = plain["weights"]
    known = {f.name for f in fields(Options)}
    plain["options"] = {k: v for k, v in plain["options"].items() if k in known}
    named = texts if "architecture" in texts else None
    plain["weights"] = None
    if named is not None:
        info = WeightsInfo.from_metadata(named, sha256=named.get("sha256", ""))
        plain["weights"] = info.to_json()
    return plain
