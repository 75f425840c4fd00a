"""Recipes: all that is chosen about a training run, one TOML file, every option in it. Imports no torch."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from math import cos, pi
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from sacbnet.config.registry import options_of
from sacbnet.errors import InputError

from .augmentation import Augmentation
from .choices import PAIRINGS
from .network import NetworkOptions
from .sacbnet import LEVELS, SACBNetConfig
from .synthesis import SynthesisOptions

Tree = dict[str, Any]
ARCHITECTURE = "model.architecture"
SIMILARITIES = ("ncc", "mse", "mutual_information", "mind")
SMOOTHNESS = ("gradient", "bending")
SCHEDULES = ("polynomial", "cosine", "constant")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class DataOptions:
    """Which images, in which pairs, on which grid.

    source: what `sacbnet data check` reads, or a pack; usually given with --data. train, validation: which of its cases
    ("0:160" in order of name, or globs of names). train_pairs, validation_pairs: all ordered pairs, cyclic (each case
    with the next), atlas (the case that `atlas` names is the moving one), or listed (by the source). labels: those that
    are scored and that the Dice loss sees; [] is all that are found. spacing_mm: of the grid, 0 keeps the images' own.
    shape: of the grid, [] is that of the first case. align: how images come onto it, by their headers or by their
    centres. bits: 8 or 16 in the packed cache.
    """

    source: str = ""
    train: str = ""
    validation: str = ""
    train_pairs: str = "all"
    validation_pairs: str = "cyclic"
    atlas: str = ""
    labels: tuple[int, ...] = ()
    spacing_mm: float = 0.0
    shape: tuple[int, ...] = ()
    align: str = "header"
    bits: int = 16

    def __post_init__(self) -> None:
        one_of("data.train_pairs", self.train_pairs, PAIRINGS)
        one_of("data.validation_pairs", self.validation_pairs, PAIRINGS)
        one_of("data.align", self.align, ("header", "centre"))
        one_of("data.bits", self.bits, (8, 16))
        at_least("data.spacing_mm", self.spacing_mm, 0)
        if len(self.shape) not in (0, 3) or any(n < 1 for n in self.shape):
            raise InputError(
                f"data.shape is {list(self.shape)}; three positive whole numbers, or [], were expected"
            )


@dataclass(frozen=True)
class LossOptions:
    """What is minimised: a weighted sum (docs/losses.md). A weight of 0 leaves a term out.

    window: side of the correlation box, voxels. scales: the similarity is the mean of that at full resolution and of
    that of images halved once, twice, ... (as the pyramid of LapIRN: Mok and Chung, MICCAI 2020), boxes with them but
    no smaller than 5. noise: SD of intensity, of a range of 1, at and below which a box of the correlation counts as
    noise (0: VoxelMorph's constant, the paper's). dice_labels: how many labels the Dice loss sees in one pair, drawn
    anew each time; 0 is all. inverse_consistency > 0 runs the network in both directions.
    """

    similarity: str = "ncc"
    similarity_weight: float = 1.0
    window: int = 9
    scales: int = 1
    noise: float = 0.0
    smoothness: str = "gradient"
    smoothness_weight: float = 1.0
    jacobian_weight: float = 0.0
    dice_weight: float = 0.0
    dice_labels: int = 0
    inverse_consistency_weight: float = 0.0

    def __post_init__(self) -> None:
        one_of("loss.similarity", self.similarity, SIMILARITIES)
        one_of("loss.smoothness", self.smoothness, SMOOTHNESS)
        for f in fields(self):
            if f.name not in ("similarity", "smoothness"):
                at_least(f"loss.{f.name}", getattr(self, f.name), 0)
        at_least("loss.scales", self.scales, 1)
        if self.window % 2 == 0:
            raise InputError(f"loss.window is {self.window}; an odd number of voxels was expected")
        if not (self.similarity_weight or self.dice_weight):
            raise InputError("the loss has neither similarity nor Dice; give one of them a weight")


@dataclass(frozen=True)
class OptimiserOptions:
    """Adam (AdamW where weight_decay > 0). schedule: of the learning rate over the run, after warmup_steps of linear
    growth: polynomial (1 - t)^power, cosine to zero, or constant. clip: largest norm of the gradient, 0 is none."""

    learning_rate: float = 1e-4
    schedule: str = "polynomial"
    power: float = 0.9
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip: float = 0.0

    def __post_init__(self) -> None:
        one_of("optimiser.schedule", self.schedule, SCHEDULES)
        for name in ("power", "warmup_steps", "weight_decay", "clip"):
            at_least(f"optimiser.{name}", getattr(self, name), 0)
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(
                f"optimiser.learning_rate is {self.learning_rate}; a positive number was expected"
            )

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0 <= step < steps."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(steps - self.warmup_steps, 1)
        if self.schedule == "polynomial":
            return self.learning_rate * (1 - done) ** self.power
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + cos(pi * done))
        return self.learning_rate


@dataclass(frozen=True)
class RunOptions:
    """steps: of the optimiser. batch: pairs of one step, over all processes; pairs_at_once: how many a process passes
    through the network together, the rest is accumulated. validate_every, checkpoint_every, log_every: in steps.
    validation_limit: at most so many pairs are scored, spread evenly over them; 0 is all. start_from: weights to begin
    with, "" begins at random."""

    steps: int = 1000
    batch: int = 1
    pairs_at_once: int = 1
    precision: str = "float32"
    seed: int = 0
    device: str = "auto"
    validate_every: int = 100
    validation_limit: int = 0
    checkpoint_every: int = 50
    log_every: int = 10
    start_from: str = ""

    def __post_init__(self) -> None:
        one_of("run.precision", self.precision, PRECISIONS)
        for name in (
            "steps",
            "batch",
            "pairs_at_once",
            "validate_every",
            "checkpoint_every",
            "log_every",
        ):
            at_least(f"run.{name}", getattr(self, name), 1)
        for name in ("seed", "validation_limit"):
            at_least(f"run.{name}", getattr(self, name), 0)
        if self.batch % self.pairs_at_once:
            raise InputError(
                f"run.batch is {self.batch}; a multiple of run.pairs_at_once ({self.pairs_at_once}) is needed"
            )


@dataclass(frozen=True)
class Recipe:
    """One training run. name, about: what it is; trained_on, licence, restricted (some use is forbidden): what the
    weights will say of themselves. symmetric: they are to be run both ways, and the mean taken (`predict.BothWays`);
    training and its validation run them one way. mirrored: likewise, on the mirror images as well
    (`predict.Mirrored`). synthesis: where the set is one of label maps, how images are made of
    them; None for a set of images.

    >>> Recipe().with_changes(["model.clusters=11", "model.sacb_levels=[5, 4]"]).model.sacb_levels
    (4, 5)
    """

    name: str = "recipe"
    about: str = ""
    trained_on: str = ""
    licence: str = ""
    restricted: bool = False
    symmetric: bool = False
    mirrored: bool = False
    model: NetworkOptions = field(default_factory=SACBNetConfig)
    data: DataOptions = field(default_factory=DataOptions)
    augment: Augmentation = field(default_factory=Augmentation)
    synthesis: SynthesisOptions | None = None
    loss: LossOptions = field(default_factory=LossOptions)
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)
    run: RunOptions = field(default_factory=RunOptions)

    def to_dict(self) -> Tree:
        """Plain nested values; tuples become lists; without a section that is None."""
        tree = {
            name: value
            for name, value in json.loads(json.dumps(asdict(self))).items()
            if value is not None
        }
        return tree | {"model": _model_tree(self.model)}

    def to_toml(self) -> str:
        """The recipe as `read_recipe` takes it. JSON's strings, numbers, booleans and lists are TOML's as well."""
        tree = self.to_dict()
        lines = [
            f"{k} = {json.dumps(v, ensure_ascii=False)}"
            for k, v in tree.items()
            if not isinstance(v, dict)
        ]
        for section, values in tree.items():
            if isinstance(values, dict):
                lines += [
                    "",
                    f"[{section}]",
                    *(f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in values.items()),
                ]
        return "\n".join(lines) + "\n"

    def with_changes(self, changes: Iterable[str]) -> Recipe:
        """With overrides "section.option=value", values as in TOML, text with or without quotes. InputError else."""
        tree = self.to_dict()
        for change in changes:
            path, equals, text = change.partition("=")
            if (
                path.strip() == ARCHITECTURE
            ):  # another network: its own options, as they are by default
                tree["model"] = _model_tree(options_of(str(_value(text.strip())))())
            *sections, option = path.strip().split(".")
            place = tree
            for section in sections:
                place = place.get(section, {}) if isinstance(place, dict) else {}
            if not equals or option not in place or isinstance(place[option], dict):
                known = ", ".join(".".join([*sections, name]) for name in place) or ", ".join(tree)
                raise InputError(
                    f"--set {change}: section.option=value was expected, an option of {known}"
                )
            place[option] = _value(text.strip())
        return recipe_from_dict(tree)


def read_recipe(path: str | Path) -> Recipe:
    """A recipe from TOML; options that are left out have their defaults. InputError names the option that is wrong."""
    try:
        tree = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the recipe {path} cannot be read ({error}); give a TOML file, or a name: see recipes/"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the recipe {path} is no TOML: {error}") from error
    return recipe_from_dict(tree)


def recipe_from_dict(tree: Mapping[str, Any]) -> Recipe:
    """From to_dict's form. One number for model.clusters counts at every level."""
    tree = dict(tree)
    if isinstance(model := tree.get("model"), dict) and isinstance(model.get("clusters"), int):
        tree["model"] = model | {"clusters": [model["clusters"]] * len(LEVELS)}
    return _build(Recipe, tree, "")


def same_training(a: Recipe, b: Recipe) -> list[str]:
    """The options by which two recipes differ, of those that change what is learnt."""
    free = {
        "name",
        "about",
        "trained_on",
        "licence",
        "restricted",
        "symmetric",
        "mirrored",
        "data.source",
    }
    free |= {
        "run.device",
        "run.steps",
        "run.checkpoint_every",
        "run.log_every",
        "run.pairs_at_once",
    }
    flat_a, flat_b = _flat(a.to_dict()), _flat(b.to_dict())
    return [
        key for key in flat_a | flat_b if key not in free and flat_a.get(key) != flat_b.get(key)
    ]


def _flat(tree: Tree, prefix: str = "") -> Tree:
    out: Tree = {}
    for key, value in tree.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out


def _build(kind: type, tree: Mapping[str, Any], prefix: str) -> Any:
    """A dataclass from a table, its values checked against the annotations."""
    hints = get_type_hints(kind)
    if unknown := sorted(set(tree) - set(hints)):
        raise InputError(
            f"the recipe has no option {prefix}{unknown[0]}; known are {', '.join(hints)}"
        )
    values = {}
    for name, value in tree.items():
        hint = next(
            (h for h in get_args(hints[name]) if is_dataclass(h)), hints[name]
        )  # of an optional section
        if is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise InputError(f"{prefix}{name} is {value!r}; a section of options was expected")
            if hint is NetworkOptions:
                value = dict(value)
                hint = options_of(value.pop("architecture", SACBNetConfig.architecture))
            values[name] = _build(hint, value, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            values[name] = checked(f"{prefix}{name}", value, hint)
    return kind(**values)


def _model_tree(options: NetworkOptions) -> Tree:
    return {"architecture": options.architecture} | options.to_dict()


def checked(name: str, value: Any, hint: Any) -> Any:
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        if not isinstance(value, list | tuple):
            raise InputError(f"{name} is {value!r}; a list was expected")
        return tuple(checked(name, v, inner) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        raise InputError(f"{name} is {value!r}; {words[hint]} was expected")
    return value


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def one_of(name: str, value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} is {value!r}; one of {', '.join(map(str, known))} was expected")


def at_least(name: str, value: float, least: float) -> None:
    if not least <= value < float("inf"):
        raise InputError(f"{name} is {value}; a number of at least {least} was expected")
