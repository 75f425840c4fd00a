"""Register images: weights are loaded once, and serve one pair or thousands, files or arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self, Unpack

from sacbnet.config.choices import DEFAULT, NONE, AffineKind
from sacbnet.config.registration import Options, RegisterOptions
from sacbnet.environment import environment, peak_memory_mb
from sacbnet.imaging.background import fill_value
from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import carry, carry_counted
from sacbnet.io.images import ImageSource
from sacbnet.kernels.dispatch import kernels_for, pick_device
from sacbnet.metrics.folding import Folding, folding
from sacbnet.networks.weights import catalogue
from sacbnet.networks.weights.load import load_weights
from sacbnet.spatial.invert import invert

from .account import Account, Progress, silent
from .deliver import RoundTrip, inverse_grid, round_trip
from .estimate import Engine, Estimate, affine_of, estimate
from .inputs import Inputs, hash_of, read_inputs
from .landmarks import PointSource
from .maps import maps
from .measure import calm_likeness_of, likeness_of, missed_of, overlap_of
from .memory import shortage_told
from .predict import as_meant
from .report import ImageFacts, RunReport, WorkingGrid
from .result import UNCERTAINTY, Registration
from .sizes import units_of
from .units import Units
from .verdict import refuse_worse


class Registrar:
    """An engine that registers pairs: its weights are loaded once.

    Parameters
    ----------
    **options
        The fields of `Options`: weights, affine, preset, refine, metric, smoothness, device,
        spacing, box, fill, precision, repair, save_clusters, save_uncertainty.

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
        if options.weights == DEFAULT:
            options = replace(options, weights=catalogue.default())
        device = pick_device(options.device)
        if options.weights == NONE:
            self.engine = Engine(options, device)
            return
        network, info = load_weights(options.weights, str(device))
        self.engine = Engine(options, device, as_meant(network, info), info)

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
            If the result would be worse than the start, or is not finite.
        """
        account = Account(progress or silent)
        with account.stage("read", told=False):
            companions = {
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
                **companions,
            )
            facts = {
                name: image_facts(source, getattr(inputs, name))
                for name, source in {"fixed": fixed, "moving": moving, **companions}.items()
                if source is not None
            }
        account.warn(*inputs.fixed.warnings, *inputs.moving.warnings)
        if notice := catalogue.licence_notice(self.engine.weights):
            account.warn(notice)
        units = self._units(inputs, account)
        worked = units.inputs(inputs)
        with shortage_told(inputs, self.engine.options.spacing):
            found = estimate(self.engine, worked, account, units)
            return units.registration(self._finish(worked, found, account, facts), inputs)

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
        units = self._units(inputs, account or Account())
        found = estimate(self.engine, units.inputs(inputs), account, units)
        return replace(
            found, transform=units.transform(found.transform), affine=units.affine(found.affine)
        )

    def _units(self, inputs: Inputs, account: Account) -> Units:
        """The units in which a pair is worked; a warning tells where its sizes differ."""
        with account.stage("prepare", told=False):
            units, warning = units_of(inputs, self.affine)
        if warning is not None:
            account.warn(warning)
        return units

    def _finish(
        self,
        inputs: Inputs,
        found: Estimate,
        account: Account,
        facts: dict[str, ImageFacts],
    ) -> Registration:
        """Measure, refuse what is worse, invert, resample, and write the account."""
        transform, affine, pair, o = found.transform, found.affine, found.pair, found.options
        with account.stage("measure"):
            similarity = likeness_of(pair, affine, transform)
            dice = overlap_of(inputs, affine, transform)
            missed = missed_of(inputs, affine, transform)
            refuse_worse(similarity, lambda: calm_likeness_of(pair, affine, transform))
        with account.stage("inverse"):
            lattice = inverse_grid(inputs.moving.grid, transform, pair.spacing)
            inverse = invert(transform, transform.grid, lattice, affine)
        with account.stage("resample"):
            outside = fill_value(inputs.moving.data, o.fill)
            moved, filled = carry_counted(inputs.moving, inputs.fixed, transform, "linear", outside)
            labels = inputs.moving_labels
            if labels is not None:
                labels = carry(labels, inputs.fixed, transform, "nearest")
            asked = {"clusters": o.save_clusters, "uncertainty": o.save_uncertainty}
            extra = maps(found.seen, pair, inputs.fixed, **asked)
        with account.stage("measure", told=False):
            folds, back = folding(transform), round_trip(transform, inverse)
        _warn(account, o, folds, back, extra)
        device = self.engine.device
        report = RunReport(
            environment=environment(device, kernels_for(device)),
            options=o,
            working_grid=WorkingGrid(
                pair.spacing,
                pair.grid.shape,
                None if self.engine.network is None else pair.spacing * pair.factor,
                pair.box,
            ),
            fixed=facts.pop("fixed"),
            moving=facts.pop("moving"),
            companions=facts,
            weights=self.engine.weights,
            similarity=similarity,
            folding=folds,
            repair=found.repair,
            inverse=back,
            filled=filled,
            dice=dice,
            landmarks=missed,
            clusters=found.seen.numbers(),
            refinement=found.levels,
            seconds=account.summary(),
            peak_memory_mb=peak_memory_mb(device),
            notes=tuple(account.notes),
            warnings=tuple(account.warnings),
            started=account.began(),
        )
        grids = inputs.fixed.grid, inputs.moving.grid
        return Registration(moved, transform, inverse.field, affine, *grids, report, labels, extra)


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
    progress : callable (str, float), or None, default None
        Called with a stage and the fraction of it that is done, as the work goes on.
    **options
        The fields of `Options`: weights, affine, preset, refine, metric, smoothness, device,
        spacing, box, fill, precision, repair, save_clusters, save_uncertainty.

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
        If the result would be worse than the start, or is not finite.
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
        progress=progress,
    )


def image_facts(source: ImageSource, image: Image) -> ImageFacts:
    """Describe an input for the account of a run.

    Parameters
    ----------
    source : ImageSource
        Where the image came from.
    image : Image
        The image as it was read.

    Returns
    -------
    ImageFacts
        Name, grid and hash.
    """
    grid = image.grid
    return ImageFacts(
        name=image.name,
        shape=grid.shape,
        spacing_mm=tuple(round(float(s), 6) for s in grid.spacing),  # type: ignore[arg-type]
        affine_ras=tuple(tuple(row) for row in grid.affine.tolist()),
        sha256=hash_of(source, image),
    )


def _warn(
    account: Account, o: Options, folds: Folding, back: RoundTrip, found: Mapping[str, Image]
) -> None:
    if o.save_clusters and not any(name.startswith("clusters") for name in found):
        account.warn(
            "there are no clusters to save: the network of these weights has none on the images"
        )
    if o.save_uncertainty and UNCERTAINTY not in found:
        account.warn(
            "there is no uncertainty to save: the network of these weights matches nothing on the"
            " images"
        )
    if o.weights == NONE:
        account.warn(
            "no network was used (weights: none): the result is affine alignment and per-pair"
            " refinement"
        )
    if folds.folded_voxels:
        account.warn(f"the transform folds in {folds.folded_voxels} voxels")
    if back.round_trip_mean_mm > 0.1:
        account.warn(f"the inverse returns points {back.round_trip_mean_mm:.2f} mm off on average")
