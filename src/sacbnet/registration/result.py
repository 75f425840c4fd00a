"""What a registration returns, and how it is written: all files, or none."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sacbnet.errors import InputError, OutputError
from sacbnet.files import keep_inputs, staged_folder, sweep
from sacbnet.imaging.image import Image
from sacbnet.io.images import save_image
from sacbnet.io.transforms import save_affine, save_displacement
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

from .inputs import Inputs
from .report import ImageFacts, RunReport
from .uncertainty import ErrorMap

MOVED, MOVED_LABELS = "moved.nii.gz", "moved_labels.nii.gz"
TRANSFORM, INVERSE, AFFINE = "transform.nii.gz", "inverse_transform.nii.gz", "affine.mat"
RUN, PAGE = "run.json", "report.html"
CLUSTERS, UNCERTAINTY = "clusters_{side}_level{level}.nii.gz", "uncertainty_mm.nii.gz"
LOG_JACOBIAN, WARPED_GRID = "log_jacobian.nii.gz", "warped_grid.nii.gz"
MAPS = (
    LOG_JACOBIAN,
    WARPED_GRID,
    *(CLUSTERS.format(side=s, level=n) for s in ("fixed", "moving") for n in (2, 3, 4, 5)),
    UNCERTAINTY,
)
FILES = (MOVED, MOVED_LABELS, TRANSFORM, INVERSE, AFFINE, PAGE, RUN)


@dataclass(frozen=True, eq=False)
class Registration:
    """Two images, registered.

    Parameters
    ----------
    moved : Image
        The moving image on the fixed image's grid, interpolated once.
    transform : DisplacementField
        World coordinates of the fixed image -> world coordinates of the moving image, mm, on the
        fixed grid, affine included.
    inverse : DisplacementField
        Moving -> fixed, on the moving image's grid, extended to all that the transform reaches.
    affine : Affine
        The affine part alone.
    fixed_grid, moving_grid : Grid
        Grids of the two images.
    report : RunReport
        What run.json holds.
    moved_labels : Image or None, default None
        The moving labels on the fixed image's grid, by nearest neighbour.
    maps : dict[str, Image], default empty
        What was asked for besides, by file name (`maps.maps_of`).
    errors : ErrorMap or None, default None
        The expected error of the transform, on a coarse lattice; None where no deformation was
        sought.
    inputs : Inputs or None, default None
        The images as they were read, for pictures. They share the memory of what was given.
    """

    moved: Image
    transform: DisplacementField
    inverse: DisplacementField
    affine: Affine
    fixed_grid: Grid
    moving_grid: Grid
    report: RunReport = field(repr=False)
    moved_labels: Image | None = None
    maps: dict[str, Image] = field(default_factory=dict, repr=False)
    errors: ErrorMap | None = field(default=None, repr=False)
    inputs: Inputs | None = field(default=None, repr=False)

    def save(
        self,
        folder: str | Path,
        *,
        overwrite: bool = False,
        started: float | None = None,
        command: tuple[str, ...] = (),
        page: Callable[[Registration], str] | None = None,
    ) -> dict[str, Path]:
        """Write everything into a folder.

        moved.nii.gz, moved_labels.nii.gz (where labels were given), transform.nii.gz,
        inverse_transform.nii.gz, affine.mat (ITK, LPS, mm), the maps, report.html (where `page` is
        given) and run.json appear all at once at the end. An earlier result of the same pair is
        replaced; its files that this run did not write are removed.

        Parameters
        ----------
        folder : str or Path
            The folder; made where it is absent.
        overwrite : bool, default False
            Whether the result of another pair may be replaced.
        started : float or None, default None
            When the run began, seconds since the epoch, for the wall time in run.json. None: the
            wall time is the sum of the stages.
        command : tuple[str, ...], default ()
            The command line, for run.json.
        page : callable or None, default None
            Makes the text of report.html from this result: `sacbnet.report`. None: no page.

        Returns
        -------
        dict[str, Path]
            What was written, by file name.

        Raises
        ------
        OutputError
            If the folder holds the result of another pair, or a file cannot be written; then none
            is, and an earlier result stays.
        """
        folder = Path(folder)
        sweep(folder)  # a run that was killed may have moved an earlier result aside

        def check() -> None:
            if not overwrite:
                refuse_another(folder, self.report.fixed, self.report.moving)

        check()
        began = time.perf_counter()
        # and once more at the end: another process may have written there meanwhile
        with staged_folder(folder, (*FILES, *MAPS), check) as stage:
            # compressing takes longer than a network, and lets other threads run
            with ThreadPoolExecutor() as pool:
                files = [
                    pool.submit(save_displacement, stage / TRANSFORM, self.transform),
                    pool.submit(save_displacement, stage / INVERSE, self.inverse),
                    pool.submit(save_image, stage / MOVED, self.moved.data, self.moved),
                ]
                if self.moved_labels is not None:
                    labels = self.moved_labels
                    files.append(
                        pool.submit(
                            save_image, stage / MOVED_LABELS, labels.data, labels, labels=True
                        )
                    )
                for name, image in self.maps.items():
                    is_labels = np.issubdtype(image.data.dtype, np.integer)
                    files.append(
                        pool.submit(save_image, stage / name, image.data, image, labels=is_labels)
                    )
            for file in files:
                file.result()
            save_affine(stage / AFFINE, self.affine)
            if page is not None:
                now = self._finished(time.perf_counter() - began, started, command)
                (stage / PAGE).write_text(page(replace(self, report=now)), encoding="utf-8")
            report = self._finished(time.perf_counter() - began, started, command)
            (stage / RUN).write_text(report.to_text(), encoding="utf-8")
            written = [path.name for path in stage.iterdir()]
        return {name: folder / name for name in (*FILES, *MAPS) if name in written}

    def save_dicom(self, folder: str | Path, *, overwrite: bool = False) -> dict[str, Path]:
        """Write the moved image as a DICOM series, and the transform as a DICOM object.

        Both images must have been read from DICOM series. The series lies on the fixed image's
        grid, in its patient, study and frame of reference. registration.dcm connects the frames of
        reference of the two images: a Spatial Registration if the transform is its affine part,
        else a Deformable Spatial Registration. The same registration gives the same bytes.

        Parameters
        ----------
        folder : str or Path
            The folder; made where it is absent.
        overwrite : bool, default False
            Whether the DICOM files of another result may be replaced.

        Returns
        -------
        dict[str, Path]
            What was written, by file name.

        Raises
        ------
        InputError
            If an image is no DICOM series.
        OutputError
            If the folder holds other DICOM files, or a file cannot be written; then none is.
        """
        from .dicom import write_dicom  # pydicom is imported when DICOM is written

        if self.inputs is None:
            raise InputError("this registration holds no images; a result of a run was expected")
        moved, moving = self.moved, self.inputs.moving
        fixed, maps = self.inputs.fixed.name, (self.transform, self.affine)
        return write_dicom(folder, moved, moving, *maps, fixed, overwrite)

    def _finished(
        self, writing: float, started: float | None, command: tuple[str, ...]
    ) -> RunReport:
        """The report with what is known only once everything else is written."""
        seconds = self.report.seconds | {"write": round(writing, 3)}
        total = sum(s for name, s in seconds.items() if name != "total")
        wall = total if started is None else time.time() - started
        return replace(self.report, seconds=seconds, wall_seconds=round(wall, 3), command=command)


def refuse_another(folder: str | Path, fixed: ImageFacts, moving: ImageFacts) -> None:
    """Refuse a folder that holds the result of another pair.

    Parameters
    ----------
    folder : str or Path
        The folder for the results.
    fixed, moving : ImageFacts
        The pair at hand.

    Raises
    ------
    OutputError
        If the folder has a run.json that is no account of this pair's registration.
    """
    run = Path(folder) / RUN
    if not run.is_file():
        return
    try:
        before = RunReport.from_text(run.read_text(encoding="utf-8"))
    except (InputError, OSError, UnicodeDecodeError) as error:
        raise OutputError(
            f"{folder} holds a {RUN} that is no account of a registration; choose another --out, or"
            " give --overwrite"
        ) from error
    if not (_same(before.fixed, fixed) and _same(before.moving, moving)):
        raise OutputError(
            f"{folder} holds the result of another pair ({before.moving.name} ->"
            f" {before.fixed.name}); choose another --out, or give --overwrite"
        )


def keep_result(file: str | Path, result: str | Path) -> None:
    """Refuse to write a single file over a file of a finished registration.

    Its run.json would then describe a file that is no longer there.

    Parameters
    ----------
    file : str or Path
        The file to write.
    result : str or Path
        The folder of a result.

    Raises
    ------
    OutputError
        If the file is, under any name, one of that result's files, or has the name of such a file
        in a folder with a result.
    """
    file = Path(file)
    names = (*FILES, *MAPS)
    keep_inputs([file], (Path(result) / name for name in names))
    if file.name in names and os.path.lexists(file.parent / RUN):
        raise OutputError(
            f"{file} is the name of a file of the registration in that folder; choose another --out"
        )


def _same(before: ImageFacts, now: ImageFacts) -> bool:
    """By the hashes; accounts of before hashes were kept, by the names."""
    return before.sha256 == now.sha256 if before.sha256 else before.name == now.name
