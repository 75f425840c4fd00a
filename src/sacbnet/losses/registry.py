"""The losses by name, with their parameters.

This is the one table for recipes, training, validation and refinement.

A loss is a dataclass here, whose fields are its parameters, and a function elsewhere. So recipes
can be read and checked without torch. Someone's own loss joins by an entry point. An installed
package adds it with these lines in its pyproject.toml::

    [project.entry-points."sacbnet.losses"]
    huber = "mypackage.options:Huber"

``mypackage/options.py`` declares the loss, and imports no torch::

    @dataclass(frozen=True)
    class Huber(Similarity):
        name: ClassVar[str] = "huber"
        implementation: ClassVar[str] = "mypackage.losses:huber"

        delta: float = 0.1

``mypackage/losses.py`` holds the function ``huber(moved, fixed, delta)``, which returns a scalar. A
recipe chooses it by ``similarity = "huber"`` in its section [loss], and its parameters in
[loss.similarity_parameters].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Self, TypeVar

from sacbnet.errors import InputError

ENTRY_POINTS = "sacbnet.losses"


@dataclass(frozen=True)
class Loss:
    """What all losses have in common: a name, a function, and fields that are parameters.

    Attributes
    ----------
    name : str
        The name in recipes.
    implementation : str
        The function, as "package.module:function".
    """

    name: ClassVar[str]
    implementation: ClassVar[str]

    def arguments(self) -> dict[str, Any]:
        """Give the keyword arguments of the function.

        Returns
        -------
        dict
            By default the parameters as they are.
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Similarity(Loss):
    """A loss of two images: ``function(moved, fixed, **arguments)`` -> scalar, smaller if alike.

    Images are (b, 1, i, j, k), float32, in [0, 1].

    Attributes
    ----------
    masked : bool
        The function takes a keyword ``mask``, (b, 1, i, j, k) or None: where the images count.
        Default False.
    """

    masked: ClassVar[bool] = False

    def at_scale(self, scale: int) -> Self:
        """Give the loss for images that are halved.

        Parameters
        ----------
        scale : int
            How often they are halved.

        Returns
        -------
        Similarity
            By default the same loss. A loss with lengths in voxels adapts them.
        """
        return self


@dataclass(frozen=True)
class Smoothness(Loss):
    """A loss of a displacement: ``function(displacement_vox, **arguments)`` -> scalar.

    The displacement is (b, 3, i, j, k), in voxels.
    """


@dataclass(frozen=True)
class NCC(Similarity):
    """Local correlation (`ncc_loss`).

    Parameters
    ----------
    window : int, default 9
        Side of the box, in voxels; odd.
    noise : float, default 0
        Standard deviation of intensity at and below which a box counts as noise; 0 means
        VoxelMorph's constant, as in the paper.
    """

    name: ClassVar[str] = "ncc"
    implementation: ClassVar[str] = "sacbnet.losses.similarity:ncc_loss"
    masked: ClassVar[bool] = True

    window: int = 9
    noise: float = 0.0

    def arguments(self) -> dict[str, Any]:
        """Give the keyword arguments of `ncc_loss`.

        Returns
        -------
        dict
            The window; with noise also ε, which is the product of the summed squared deviations of
            two boxes whose standard deviation is `noise`.
        """
        epsilon = {"epsilon": self.noise**4 * self.window**6} if self.noise else {}
        return {"window": self.window} | epsilon

    def at_scale(self, scale: int) -> Self:
        """Halve the box with the images, but not below 5 voxels.

        Parameters
        ----------
        scale : int
            How often the images are halved.

        Returns
        -------
        NCC
            The loss with the smaller box.
        """
        if scale == 0:
            return self
        side = 2 * (self.window >> (scale + 1)) + 1
        return replace(self, window=max(side, min(5, self.window)))


@dataclass(frozen=True)
class MSE(Similarity):
    """Mean squared difference (`mse_loss`); it has no parameters."""

    name: ClassVar[str] = "mse"
    implementation: ClassVar[str] = "sacbnet.losses.similarity:mse_loss"
    masked: ClassVar[bool] = True


@dataclass(frozen=True)
class MutualInformation(Similarity):
    """Mutual information (`mutual_information_loss`).

    Parameters
    ----------
    bins : int, default 32
        Bins of the histogram along each axis.
    """

    name: ClassVar[str] = "mutual_information"
    implementation: ClassVar[str] = "sacbnet.losses.mutual_information:mutual_information_loss"
    masked: ClassVar[bool] = True

    bins: int = 32


@dataclass(frozen=True)
class MIND(Similarity):
    """MIND-SSC (`mind_loss`).

    Parameters
    ----------
    radius : int, default 2
        Radius of the patches, in voxels.
    dilation : int, default 2
        Distance of the neighbours, in voxels.
    """

    name: ClassVar[str] = "mind"
    implementation: ClassVar[str] = "sacbnet.losses.mind:mind_loss"
    masked: ClassVar[bool] = True

    radius: int = 2
    dilation: int = 2


@dataclass(frozen=True)
class Gradient(Smoothness):
    """Mean square gradient (`gradient_loss`); it has no parameters."""

    name: ClassVar[str] = "gradient"
    implementation: ClassVar[str] = "sacbnet.losses.smoothness:gradient_loss"


@dataclass(frozen=True)
class Bending(Smoothness):
    """Bending energy (`bending_energy_loss`); it has no parameters."""

    name: ClassVar[str] = "bending"
    implementation: ClassVar[str] = "sacbnet.losses.smoothness:bending_energy_loss"


BUILT_IN: tuple[type[Loss], ...] = (NCC, MSE, MutualInformation, MIND, Gradient, Bending)
Kind = TypeVar("Kind", bound=Loss)


@cache
def _points() -> tuple[EntryPoint, ...]:
    return tuple(sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name))


def names(kind: type[Loss]) -> tuple[str, ...]:
    """List the losses of a kind.

    Parameters
    ----------
    kind : type
        `Similarity` or `Smoothness`.

    Returns
    -------
    tuple of str
        The losses of this package, then those of entry points in alphabetic order. An entry point
        is not imported here, so it is listed for both kinds.
    """
    own = tuple(loss.name for loss in BUILT_IN if issubclass(loss, kind))
    known = {loss.name for loss in BUILT_IN}
    return own + tuple(point.name for point in _points() if point.name not in known)


def loss_named(name: str, kind: type[Kind]) -> type[Kind]:
    """Find a loss.

    Parameters
    ----------
    name : str
        The name in recipes.
    kind : type
        `Similarity` or `Smoothness`.

    Returns
    -------
    type
        The subclass of `kind`; its instances hold parameters.

    Raises
    ------
    InputError
        For a name that is not known, and for an entry point that cannot be used.
    """
    for loss in BUILT_IN:
        if loss.name == name and issubclass(loss, kind):
            return loss
    for point in _points():
        if point.name == name and name in names(kind):
            return _loaded(point, kind)
    raise InputError(
        f"the loss {name!r} is not known; one of {', '.join(names(kind))} was expected"
    )


def _loaded(point: EntryPoint, kind: type[Kind]) -> type[Kind]:
    about = f"the loss {point.name!r} ({point.value})"
    try:
        loss = point.load()
    except Exception as error:  # somebody else's module may raise anything
        raise InputError(f"{about} cannot be imported: {error}") from error
    fits = isinstance(loss, type) and issubclass(loss, kind)
    if not fits or getattr(loss, "name", None) != point.name:
        raise InputError(f"{about} is no {kind.__name__} of that name; correct its package")
    return loss


def function_of(loss: Loss) -> Callable[..., Any]:
    """Import the function of a loss.

    Parameters
    ----------
    loss : Loss
        The loss with its parameters.

    Returns
    -------
    callable
        The function that ``loss.implementation`` names.

    Raises
    ------
    InputError
        Where there is no such function.
    """
    return _function(loss.name, loss.implementation)


@cache
def _function(name: str, implementation: str) -> Callable[..., Any]:
    module, _, function = implementation.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"the loss {name!r} names {implementation!r}, which cannot be imported ({error});"
            ' "package.module:function" was expected'
        ) from error
