"""Register images: weights are loaded once, and serve one pair or thousands, files or arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self, Unpack

from sacbnet.config.choices import DEFAULT, AffineKind
from sacbnet.config.registration import Options, RegisterOptions
from sacbnet.io.images import ImageSource
from sacbnet.networks.weights import catalogue

from .account import Account, Progress, silent
from .displacement import UnsuitedError
from .engine import Engine, affine_of, load_engine
from .estimate import Estimate, estimate
from .finish import finish
from .given import InitialSource, read_initial
from .inputs import Inputs, image_facts, read_inputs
from .landmarks import PointSource
from .memory import shortage_told
from .pace import remember
from .report import TransformFacts
from .result import Registration
from .sizes import units_of
from .units import Units


class Registrar:
    """An engine that registers pairs: its weights are loaded once.

    Parameters
    ----------
    **options
        The fields of `Options`: weights, affine, preset, refine, metric, smoothness, device,
        spacing, box, fill, precision, repair, accept, save.

    Raises
    ------
    InputError
        If an option cannot be.
    WeightsError
        If the weights cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> ball = (np.linalg.norm(np.indices((24, 24, 24)) - 12, axis=0) < 8).astype("f4")
    >>> registrar = Registrar(weights="none", affine="none", refine=0)
    >>> pair = {"fixed": (ball, np.eye(4)), "moving": (ball, np.eye(4))}
    >>> registrar.register(**pair).transform.grid.shape
    (24, 24, 24)
    """

    def __init__(self, **options: Unpack[RegisterOptions]) -> None:
        self._begin(Options(**options))

    @classmethod
    def of(cls, options: Options) -> Self:
        """Make a registrar from options that stand together.

        Parameters
        ----------
        options : Options
            What is chosen.

        Returns
        -------
        Registrar
            The registrar.

        Raises
        ------
        InputError
            If the device is not there.
        WeightsError
            If the weights cannot be used.
        """
        self = cls.__new__(cls)
        self._begin(options)
        return self

    def _begin(self, options: Options) -> None:
        otherwise = None
        if options.weights == DEFAULT:
            options = replace(options, weights=catalogue.default())
            otherwise = catalogue.otherwise()
        self.engine = load_engine(options, otherwise)
        self._other: Engine | None = None  # loaded for the first pair that needs it

    @property
    def affine(self) -> AffineKind:
        """The alignment before the network: what was chosen, else what the weights need."""
        return affine_of(self.engine)

    def register(
        self,
        *,
        fixed: ImageSource,
        moving: ImageSource,
        fixed_mask: ImageSource | None = None,
        moving_mask: ImageSource | None = None,
        fixed_labels: ImageSource | None = None,
        moving_labels: ImageSource | None = None,
        fixed_points: PointSource | None = None,
        moving_points: PointSource | None = None,
        fixed_contrasts: Sequence[ImageSource] = (),
        moving_contrasts: Sequence[ImageSource] = (),
        initial: InitialSource | None = None,
        progress: Progress | None = None,
    ) -> Registration:
        """Register a moving image to a fixed one.

        Success means: ``moved(p) = moving(transform(p))`` on the fixed image's own grid, and moved
        is no less like fixed than moving was.

        Parameters
        ----------
        fixed, moving : ImageSource
            The images: paths, nibabel or SimpleITK images, or pairs (array (i, j, k), affine to mm
            RAS).
        fixed_mask, moving_mask : ImageSource or None, default None
            Where the images count: inside is where a mask is not 0. On the grid of their image.
        fixed_labels, moving_labels : ImageSource or None, default None
            Label maps on the grid of their image. The moving labels come with the result; of both
            the overlap is measured.
        fixed_points, moving_points : PointSource or None, default None
            Landmarks, as files or as coordinates (n, 3) in mm RAS: the same places in both images,
            by name. They pull the refinement towards them, and the distances that remain are
            measured.
        fixed_contrasts, moving_contrasts : sequence of ImageSource, default ()
            Further contrasts of the two images, such as T2 or fractional anisotropy, in one order,
            each on the grid of its image. The refinement compares all contrasts; the affine, the
            network and the measures look at `fixed` and `moving` alone.
        initial : transform, or sequence of transforms, or None, default None
            Where the registration starts, fixed -> moving: a file of any format, a result folder
            (behind both ",inverse" may stand), or a transform in memory; several are a chain in the
            order from the fixed to the moving image. It takes the place of the alignment, unless
            the option `affine` is "rigid" or "affine". The result contains it.
        progress : callable (str, float), or None, default None
            Called with a stage and the fraction of it that is done, as the work goes on.

        Returns
        -------
        Registration
            The moved image, the transform in both directions, and the account of the run.

        Raises
        ------
        InputError
            If an image cannot be used.
        GridError
            If a mask or label map does not lie on its image's grid.
        RegistrationError
            If the registration failed: the result would be worse than the start, or is no better
            than chance. The option `accept` returns it all the same.
        """
        account = Account(progress or silent)
        with account.stage("read", told=False):
            companions: dict[str, ImageSource | None] = {
                "fixed_mask": fixed_mask,
                "moving_mask": moving_mask,
                "fixed_labels": fixed_labels,
                "moving_labels": moving_labels,
            }
            inputs = read_inputs(
                fixed=fixed,
                moving=moving,
                fixed_points=fixed_points,
                moving_points=moving_points,
                fixed_contrasts=fixed_contrasts,
                moving_contrasts=moving_contrasts,
                **companions,
            )
            facts = {
                name: image_facts(source, getattr(inputs, name))
                for name, source in {"fixed": fixed, "moving": moving, **companions}.items()
                if source is not None
            }
            for n, (of_fixed, of_moving) in enumerate(inputs.contrasts):
                facts[f"fixed_contrast_{n + 1}"] = image_facts(fixed_contrasts[n], of_fixed)
                facts[f"moving_contrast_{n + 1}"] = image_facts(moving_contrasts[n], of_moving)
        account.warn(*inputs.fixed.warnings, *inputs.moving.warnings)
        known: tuple[TransformFacts, ...] = ()
        if initial is not None:
            with account.stage("read", told=False):
                grids = inputs.fixed.grid, inputs.moving.grid
                transform, known, said = read_initial(initial, *grids)
            inputs = replace(inputs, initial=transform)
            account.warn(*said)
        if notice := catalogue.licence_notice(self.engine.weights):
            account.warn(notice)
        units = self._units(inputs, account)
        worked = units.inputs(inputs)
        with shortage_told(inputs, self.engine.options.spacing):
            engine, found = self._estimate(worked, account, units)
            done = units.registration(finish(engine, worked, found, account, facts), inputs)
        remember(found.work, account.seconds)
        return replace(done, report=replace(done.report, initial=known))

    def estimate(self, inputs: Inputs, account: Account | None = None) -> Estimate:
        """Find the transform between two images, and nothing more.

        It is the transform that `register` delivers, to the last bit.

        Parameters
        ----------
        inputs : Inputs
            The images.
        account : Account or None, default None
            Collects seconds, notes and warnings.

        Returns
        -------
        Estimate
            The transform, and how it was found.

        Raises
        ------
        InputError
            If the images cannot be worked on.
        RegistrationError
            If a displacement is not finite.
        """
        account = account or Account()
        units = self._units(inputs, account)
        _, found = self._estimate(units.inputs(inputs), account, units)
        return replace(
            found, transform=units.transform(found.transform), affine=units.affine(found.affine)
        )

    def _estimate(self, worked: Inputs, account: Account, units: Units) -> tuple[Engine, Estimate]:
        """Find a transform, by other weights where the default ones do not suit the pair."""
        engine = self.engine
        if engine.otherwise is None:
            return engine, estimate(engine, worked, account, units)
        name, longest = engine.options.weights, catalogue.find(engine.options.weights).longest_mm
        if longest and units.length_mm and units.length_mm > longest * units.fixed_mm:
            account.note(
                f"the fixed image shows a body {units.length_mm:.3g} mm long, and the weights"
                f" {name} know up to {longest:g} mm: the weights {engine.otherwise.name} were taken"
            )
        else:
            try:
                return engine, estimate(engine, worked, account, units)
            except UnsuitedError:
                account.note(
                    f"the displacement of the weights {name} was worse than none: the weights"
                    f" {engine.otherwise.name} were taken"
                )
        if self._other is None:
            self._other = load_engine(replace(engine.options, weights=engine.otherwise.name))
        return self._other, estimate(self._other, worked, account, units)

    def _units(self, inputs: Inputs, account: Account) -> Units:
        """The units in which a pair is worked; a warning tells where its sizes differ."""
        with account.stage("prepare", told=False):
            kind = affine_of(self.engine, inputs.initial is not None)
            units, warning = units_of(inputs, kind)
        if warning is not None:
            account.doubt(warning)
        return units


def register(
    *,
    fixed: ImageSource,
    moving: ImageSource,
    fixed_mask: ImageSource | None = None,
    moving_mask: ImageSource | None = None,
    fixed_labels: ImageSource | None = None,
    moving_labels: ImageSource | None = None,
    fixed_points: PointSource | None = None,
    moving_points: PointSource | None = None,
    fixed_contrasts: Sequence[ImageSource] = (),
    moving_contrasts: Sequence[ImageSource] = (),
    initial: InitialSource | None = None,
    progress: Progress | None = None,
    **options: Unpack[RegisterOptions],
) -> Registration:
    """Register a moving image to a fixed one.

    The same as ``Registrar(**options).register(...)``. For many pairs make one `Registrar`.

    Parameters
    ----------
    fixed, moving : ImageSource
        The images: paths, nibabel or SimpleITK images, or pairs (array (i, j, k), affine to mm
        RAS).
    fixed_mask, moving_mask : ImageSource or None, default None
        Where the images count: inside is where a mask is not 0. On the grid of their image.
    fixed_labels, moving_labels : ImageSource or None, default None
        Label maps on the grid of their image. The moving labels come with the result; of both the
        overlap is measured.
    fixed_points, moving_points : PointSource or None, default None
        Landmarks, as files or as coordinates (n, 3) in mm RAS: the same places in both images, by
        name. They pull the refinement towards them, and the distances that remain are measured.
    fixed_contrasts, moving_contrasts : sequence of ImageSource, default ()
        Further contrasts of the two images, such as T2 or fractional anisotropy, in one order, each
        on the grid of its image. The refinement compares all contrasts; the affine, the network and
        the measures look at `fixed` and `moving` alone.
    initial : transform, or sequence of transforms, or None, default None
        Where the registration starts, fixed -> moving: a file of any format, a result folder
        (behind both ",inverse" may stand), or a transform in memory; several are a chain in the
        order from the fixed to the moving image. It takes the place of the alignment, unless the
        option `affine` is "rigid" or "affine". The result contains it.
    progress : callable (str, float), or None, default None
        Called with a stage and the fraction of it that is done, as the work goes on.
    **options
        The fields of `Options`: weights, affine, preset, refine, metric, smoothness, device,
        spacing, box, fill, precision, repair, accept, save.

    Returns
    -------
    Registration
        The moved image, the transform in both directions, and the account of the run.

    Raises
    ------
    InputError
        If an option or an image cannot be used.
    GridError
        If a mask or label map does not lie on its image's grid.
    WeightsError
        If the weights cannot be used.
    RegistrationError
        If the registration failed: the result would be worse than the start, or is no better than
        chance. The option `accept` returns it all the same.
    """
    return Registrar(**options).register(
        fixed=fixed,
        moving=moving,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        fixed_points=fixed_points,
        moving_points=moving_points,
        fixed_contrasts=fixed_contrasts,
        moving_contrasts=moving_contrasts,
        initial=initial,
        progress=progress,
    )
